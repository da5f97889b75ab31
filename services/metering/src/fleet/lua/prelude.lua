-- What all scripts of metering share. ARGV: what the tenant's keys begin with, the time in Unix milliseconds, then each script's own.
--
-- Numbers are doubles: exact up to 2^53, which is nine million dollars in nano-dollars. Redis writes whole ones without loss.
--
-- Keys, all in one slot by the tenant in braces:
--   v        the version of the definitions        defs     budgets and limits by id, as JSON
--   b:ID     a budget's state                      l:ID:X   how full a bucket of a limit is
--   r:ID     a reservation                         exp      reservations by expiry
--   g:X      the newest allowance of a gateway and principal
--   q:ID     what is recorded of a request         s        the ledger, a stream
local P, now = ARGV[1], tonumber(ARGV[2])
local at = 2
local function take() at = at + 1 return ARGV[at] end
local function number() return tonumber(take()) end
local function num(x) return tonumber(x or 0) or 0 end
local function map(key)
  local flat, found = redis.call('HGETALL', key), {}
  for i = 1, #flat, 2 do found[flat[i]] = flat[i + 1] end
  return next(flat) and found or nil
end

-- A budget as the caller defines it, with its state, rolled to the present period.
local function budget()
  local b = {id = take(), unit = take(), limit = number(), kind = take(), ws = number(), we = number(),
             carry = take() == '1', standing = take() == '1'}
  b.key = P .. 'b:' .. b.id
  local s = redis.call('HMGET', b.key, 'sp', 'rs', 'st', 'un', 'we', 'ca', 'sh', 'tp', 'ta', 'ws')
  b.sp, b.rs, b.st, b.un, b.ca, b.sh, b.tp, b.ta =
    num(s[1]), num(s[2]), num(s[3]), num(s[4]), num(s[6]), num(s[7]), num(s[8]), num(s[9])
  local ended = s[5] and num(s[5])
  if ended and b.we <= ended then
    -- A clock that went back changes nothing.
    b.we = ended
    b.ws = num(s[10])
  elseif ended then
    if not b.carry then b.ca = 0
    elseif b.ws == ended then b.ca = math.max(0, math.min(b.limit, b.limit + b.ca - b.sp))
    else b.ca = b.limit end
    b.sp, b.sh, b.tp, b.ta = 0, 0, 0, 0
    b.un = math.max(0, b.rs - b.limit - b.ca)
    b.rolled = true
  else
    b.rolled = true
  end
  return b
end
local function room(b) return b.limit + b.ca - b.sp - b.rs end
-- Writes what holding changes of a budget, and what spending changes; all of it in a new period.
local function keep(b, spent)
  if b.rolled then
    redis.call('HSET', b.key, 'sp', b.sp, 'rs', b.rs, 'st', b.st, 'un', b.un, 'ws', b.ws, 'we', b.we, 'ca', b.ca, 'sh', b.sh,
      'tp', b.tp, 'ta', b.ta)
  elseif spent then
    redis.call('HSET', b.key, 'sp', b.sp, 'rs', b.rs, 'st', b.st, 'un', b.un)
  else
    redis.call('HSET', b.key, 'rs', b.rs, 'st', b.st, 'sh', b.sh)
  end
end
local function budgets()
  local list = {}
  for i = 1, number() do list[i] = budget() end
  return list
end
local function states(list, out)
  local n = #out
  for _, b in ipairs(list) do
    out[n + 1], out[n + 2], out[n + 3], out[n + 4], out[n + 5] = b.sp, b.rs, b.st, b.un, b.ws
    out[n + 6], out[n + 7], out[n + 8], out[n + 9], out[n + 10] = b.we, b.ca, b.sh, b.tp, b.ta
    n = n + 10
  end
  return out
end

-- A bucket of a limit as the caller defines it, drained to now.
local function drained(l, level, since)
  return math.max(0, level - math.max(0, now - since) * l.drain)
end
local function bucket()
  local l = {name = take(), metric = take(), per = number(), drain = number(), full = number(), shadow = take() == '1'}
  local s = redis.call('HMGET', P .. 'l:' .. l.name, 'lv', 'at')
  l.at = num(s[2])
  l.lv = drained(l, num(s[1]), l.at)
  return l
end
local function buckets()
  local list = {}
  for i = 1, number() do list[i] = bucket() end
  return list
end
-- Adds units to a bucket, or takes them back.
local function fill(l, units)
  if units == 0 then return end
  local key = P .. 'l:' .. l.name
  l.lv, l.at = math.max(0, l.lv + units * l.per), math.max(l.at, now)
  if l.lv == 0 then return redis.call('DEL', key) end
  redis.call('HSET', key, 'lv', l.lv, 'at', l.at)
  if l.drain > 0 then redis.call('PEXPIRE', key, math.ceil(l.lv / l.drain) + 60000) end
end
-- The same for the buckets that a reservation went through: it remembers their terms.
local function refill(r, concurrent, tokens)
  if not r.ls then return end
  for _, known in ipairs(cmsgpack.unpack(r.ls)) do
    local l = {name = known[1], metric = known[2], per = known[3], drain = known[4]}
    local units = l.metric == 'c' and concurrent or l.metric == 't' and tokens or 0
    if units ~= 0 then
      local s = redis.call('HMGET', P .. 'l:' .. l.name, 'lv', 'at')
      l.at = num(s[2])
      l.lv = drained(l, num(s[1]), l.at)
      fill(l, units)
    end
  end
end

-- Gives back what a reservation holds, but in the budgets that the caller looks after, and forgets it.
local function close(id, r, done)
  for budget_id, unit in string.gmatch(r.bs, '(%d+)(%a)') do
    local held, key = unit == 'n' and num(r.hn) or num(r.ht), P .. 'b:' .. budget_id
    if held ~= 0 and not (done and done[budget_id]) and redis.call('EXISTS', key) == 1 then
      redis.call('HINCRBY', key, 'rs', -held)
      if r.gw then redis.call('HINCRBY', key, 'st', -held) end
    end
  end
  refill(r, -1, -num(r.ht))
  if r.gw then
    local newest = P .. 'g:' .. r.gw
    if redis.call('GET', newest) == id then redis.call('DEL', newest) end
  end
  redis.call('DEL', P .. 'r:' .. id)
  redis.call('ZREM', P .. 'exp', id)
end

-- Records that nobody settled a request until its reservation expired.
local function abandon(id, r, keep_ms)
  local q = P .. 'q:' .. id
  local known = redis.call('HGET', q, 'o')
  if known and known ~= '0' then return end
  redis.call('HSET', q, 'o', '8', 'm', r.md)
  redis.call('PEXPIRE', q, keep_ms)
  redis.call('XADD', P .. 's', '*', 'id', id, 's', r.su, 'c', '8', 'o', '8', 'w', known or '', 'd',
    '{"started_unix_ms":' .. r.md .. '}')
end

-- Gives back what has expired, some of it.
local function expire(keep_ms)
  local due = redis.call('ZRANGEBYSCORE', P .. 'exp', '-inf', now, 'LIMIT', 0, 100)
  for _, id in ipairs(due) do
    local r = map(P .. 'r:' .. id)
    if r then
      close(id, r)
      if not r.gw then abandon(id, r, keep_ms) end
    else
      redis.call('ZREM', P .. 'exp', id)
    end
  end
  return #due
end

local function told(id, r)
  return {id, num(r.hn), num(r.go), num(r.mo), num(r.xp), num(r.op)}
end
