-- Writes a key, if it is still what the caller knows. ARGV: its id, what it was (nothing: it is new), what it is, how many
-- there may be. The version and the list of changes tell all replicas.
local id, before, after, most = take(), take(), take(), number()
local known = redis.call('HGET', P .. 'keys', id) or ''
if known ~= before then return 'stale' end
if known == '' and redis.call('HLEN', P .. 'keys') >= most then return 'full' end
local version = redis.call('INCR', P .. 'keys-version')
redis.call('HSET', P .. 'keys', id, after)
redis.call('ZADD', P .. 'keys-changed', version, id)
return 'ok'
