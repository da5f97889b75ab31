-- Adds cells of roll-ups, if the ledger was counted up to where the caller thinks it was.
local before, after, whole_from = take(), take(), take()
if (redis.call('GET', P .. 'rolled') or '0') ~= before then return 0 end
for _ = 1, number() do
  local name, field, cell = take(), take(), take()
  redis.call('HSET', P .. 'c:' .. name, field, cell)
  redis.call('SADD', P .. 'cells', name)
end
-- Days by user alone and by all but the user are whole from here on: of who has none yet always, else from the day after all
-- replicas make them. Where one counted that makes none, a release before, they are whole anew from such a day on.
for _, days in ipairs({'users', 'tags'}) do
  if (redis.call('GET', P .. days .. '_to') or '0') ~= before then
    redis.call('SET', P .. days .. '_from', whole_from)
  else
    redis.call('SET', P .. days .. '_from', '0', 'NX')
  end
  redis.call('SET', P .. days .. '_to', after)
end
redis.call('SET', P .. 'rolled', after)
return 1
