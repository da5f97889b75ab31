-- The definitions of a tenant, as they are at one moment. ARGV: how long what is recorded is kept.
--
-- In the first form values were hashes, `v` the version, `s` the ledger and `exp` what is `open`. A tenant of that form is moved: its
-- budgets at once; its reservations, buckets and records, of which there may be millions, are read as they are (old_form). The keys
-- that every script of the releases before begins with get another type: from here on those releases fail, and change nothing.
local keep_ms = number()
if redis.call('TYPE', P .. 'v').ok ~= 'hash' then
  local before = redis.call('GET', P .. 'v') or '0'
  if redis.call('EXISTS', P .. 'v', P .. 'defs', P .. 'exp', P .. 's') > 0 then
    for _, id in ipairs(redis.call('HKEYS', P .. 'defs')) do
      local key = P .. 'b:' .. id
      if redis.call('TYPE', key).ok == 'hash' then
        local s = redis.call('HMGET', key, 'sp', 'rs', 'st', 'un', 'ws', 'we', 'ca', 'sh', 'tp', 'ta')
        for i = 1, 10 do s[i] = num(s[i]) end
        redis.call('SET', key, cmsgpack.pack(unpack(s)))
      end
    end
    if redis.call('EXISTS', P .. 'exp') == 1 then redis.call('RENAME', P .. 'exp', P .. 'open') end
    if redis.call('EXISTS', P .. 's') == 1 then redis.call('RENAME', P .. 's', P .. 'ledger') end
    -- Buckets of a day live for two.
    redis.call('SET', P .. 'old', '1', 'PX', math.max(keep_ms, 2 * 86400000))
  end
  redis.call('DEL', P .. 'v')
  redis.call('HSET', P .. 'v', 'moved', 'version')
  redis.call('SET', P .. 's', 'moved')
  redis.call('SET', P .. 'version', before)
end
-- Where Redis lost a part of what it had.
redis.call('SETNX', P .. 'version', '0')
return {redis.call('GET', P .. 'version'), redis.call('HGETALL', P .. 'defs')}
