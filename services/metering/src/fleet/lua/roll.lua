-- Adds cells of roll-ups, if the ledger was counted up to where the caller thinks it was.
local before, after, whole_from = take(), take(), take()
if (redis.call('GET', P .. 'rolled') or '0') ~= before then return 0 end
for _ = 1, number() do
  local name, field, cell = take(), take(), take()
  redis.call('HSET', P .. 'c:' .. name, field, cell)
  redis.call('SADD', P .. 'cells', name)
end
-- Days by user alone and by all but the user are whole from here on: of who has none yet always, else from the day after all
-- replicas make them.
for _, mark in ipairs({'users_from', 'tags_from'}) do
  redis.call('SET', P .. mark, before == '0' and '0' or whole_from, 'NX')
end
redis.call('SET', P .. 'rolled', after)
return 1
