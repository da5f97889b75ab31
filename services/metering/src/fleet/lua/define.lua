-- Writes a definition, or removes one, if the tenant's definitions are still those that the caller knows. Of a budget's
-- state: what is given is set, as a list of names and values; the rest stays.
local version, id, definition = take(), take(), take()
if (redis.call('GET', P .. 'v') or '0') ~= version then return {'stale'} end
if definition == '' then
  redis.call('HDEL', P .. 'defs', id)
  redis.call('DEL', P .. 'b:' .. id)
else
  redis.call('HSET', P .. 'defs', id, definition)
end
local state = {}
for i = 1, number() do state[i] = take() end
if #state > 0 then redis.call('HSET', P .. 'b:' .. id, unpack(state)) end
redis.call('INCR', P .. 'v')
return {'ok'}
