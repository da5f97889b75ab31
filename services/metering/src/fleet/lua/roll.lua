-- Adds cells of roll-ups, if the ledger was counted up to where the caller thinks it was.
local before, after = take(), take()
if (redis.call('GET', P .. 'rolled') or '0') ~= before then return 0 end
for _ = 1, number() do
  local name, field, cell = take(), take(), take()
  redis.call('HSET', P .. 'c:' .. name, field, cell)
  redis.call('SADD', P .. 'cells', name)
end
redis.call('SET', P .. 'rolled', after)
return 1
