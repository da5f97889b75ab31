-- Writes a definition, or removes one, if the tenant's definitions are still those that the caller knows. Of a budget's
-- state: what is given is set, as a list of names and values; the rest stays.
local version, id, definition = take(), take(), take()
if redis.call('GET', P .. 'version') ~= version then return {'stale'} end
if definition == '' then
  redis.call('HDEL', P .. 'defs', id)
  redis.call('DEL', P .. 'b:' .. id)
else
  redis.call('HSET', P .. 'defs', id, definition)
end
local given = number()
if given > 0 then
  local b = state(tonumber(id)) or {sp = 0, rs = 0, st = 0, un = 0, ws = 0, we = 0, ca = 0, sh = 0, tp = 0, ta = 0}
  for _ = 1, given do
    local name = take()
    b[name] = number()
  end
  budgets[tonumber(id)], b.dirty = b, true
  flush()
end
redis.call('INCR', P .. 'version')
return {'ok'}
