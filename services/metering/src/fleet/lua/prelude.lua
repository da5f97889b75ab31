-- What all scripts of metering share. ARGV: what the tenant's keys begin with, the time in Unix milliseconds, then each script's own.
--
-- A script reads, works in memory, and writes what changed at its end (flush): many calls at once cost little more than one, and
-- one that fails has changed nothing.
--
-- Numbers are doubles: exact up to 2^53, which is nine million dollars in nano-dollars.
--
-- Keys, all in one slot by the tenant in braces; values are in MessagePack where nothing else is said:
--   version  the version of the definitions        defs     budgets and limits by id, a hash of JSON
--   b:ID     a budget's state                      l:ID:X   how full a bucket of a limit is
--   r:ID     a reservation                         open     reservations by expiry, a sorted set
--   g:X      the newest allowance of a gateway and principal, its id
--   q:ID     what is recorded of a request         ledger   a stream of rows
--   f:ID     a score of its answer, in JSON; no script reads it
--   c:G:T    cells of a grain from a time on, a hash; cells has their names, rolled how far the ledger is counted into them,
--            users_from and tags_from since when days of less detail are whole, users_to and tags_to up to which entry (roll.lua)
--   old      that values of the first form may be left: hashes, which are read as they are and written anew when they change
--   v, s     of a type that the releases of the first form fail at, rather than write beside us (load.lua)
local P, now = ARGV[1], tonumber(ARGV[2])
local at = 2
local function take() at = at + 1 return ARGV[at] end
local function number() return tonumber(take()) end
local function num(x) return tonumber(x or 0) or 0 end

-- A call takes only so many arguments.
local PART = 1000
-- Values as they were read; false where there is none.
local seen = {}
local function look(keys)
  for from = 1, #keys, PART do
    local to = math.min(from + PART - 1, #keys)
    local values = redis.call('MGET', unpack(keys, from, to))
    for i = from, to do seen[keys[i]] = values[i - from + 1] end
  end
end
local function value(key)
  if seen[key] == nil then look({key}) end
  return seen[key]
end
-- A value of the first form.
local function old_form(key)
  if not value(P .. 'old') then return end
  local flat, found = redis.call('HGETALL', key), {}
  for i = 1, #flat, 2 do found[flat[i]] = flat[i + 1] end
  return next(flat) and found
end

-- Whether a value was read: `last`, one of its last parts, is of a kind. What somebody broke by hand must not stop the tenant's other calls.
local function whole(key, read, last, kind)
  if read and type(last) == kind then return true end
  redis.log(redis.LOG_WARNING, 'signalbox metering: the value at ' .. key .. ' cannot be read')
  return false
end

-- A budget's state; false where there is none, or none that can be read.
local budgets, broken = {}, {}
local function state(id)
  local b = budgets[id]
  if b == nil then
    local key = P .. 'b:' .. id
    local packed = value(key)
    b = packed and {}
    if b then
      local read
      read, b.sp, b.rs, b.st, b.un, b.ws, b.we, b.ca, b.sh, b.tp, b.ta = pcall(cmsgpack.unpack, packed)
      if not whole(key, read, b.ta, 'number') then b, broken[id] = false, true end
    end
    budgets[id] = b
  end
  return b
end
-- The state of a budget as the caller defines it, rolled to the present period.
local function budget(terms)
  local id, unit, limit, kind, ws, we, carry = unpack(terms)
  local b = state(id)
  if not b then
    -- One that cannot be read is taken for spent until its period ends, twice, for something of it may be reserved and come back.
    b = {sp = broken[id] and 2 * limit or 0, rs = 0, st = 0, un = 0, ws = ws, we = we, ca = 0, sh = 0, tp = 0, ta = 0, dirty = true}
    budgets[id] = b
  elseif we > b.we then
    if carry == 0 then b.ca = 0
    elseif ws == b.we then b.ca = math.max(0, math.min(limit, limit + b.ca - b.sp))
    else b.ca = limit end
    b.sp, b.sh, b.tp, b.ta, b.ws, b.we, b.dirty = 0, 0, 0, 0, ws, we, true
    b.un = math.max(0, b.rs - limit - b.ca)
  end
  -- Else it is the same period, or a clock went back, which changes nothing.
  b.id, b.unit, b.limit, b.kind = id, unit, limit, kind
  return b
end
local function room(b) return b.limit + b.ca - b.sp - b.rs end
local function states(list)
  local out = {}
  for i, b in ipairs(list) do
    local n = (i - 1) * 10
    out[n + 1], out[n + 2], out[n + 3], out[n + 4], out[n + 5] = b.sp, b.rs, b.st, b.un, b.ws
    out[n + 6], out[n + 7], out[n + 8], out[n + 9], out[n + 10] = b.we, b.ca, b.sh, b.tp, b.ta
  end
  return out
end

-- How full a bucket of a limit was, and when.
local levels = {}
local function level(name)
  local l = levels[name]
  if not l then
    local key = P .. 'l:' .. name
    local packed = value(key)
    l = {lv = 0, at = 0}
    if packed then
      local read, lv, at = pcall(cmsgpack.unpack, packed)
      if whole(key, read, at, 'number') then l.lv, l.at = lv, at end
    else
      local before = old_form(key)
      if before then l.lv, l.at = num(before.lv), num(before.at) end
    end
    levels[name] = l
  end
  return l
end
local function drained(l, drain) return math.max(0, l.lv - math.max(0, now - l.at) * drain) end
-- Adds units to a bucket, or takes them back.
local function fill(name, per, drain, units)
  if units == 0 then return end
  local l = level(name)
  l.lv = math.max(0, drained(l, drain) + units * per)
  l.at, l.drain, l.dirty = math.max(l.at, now), drain, true
end

-- A reservation; false where there is none, or none that can be read. `gw` is there in an allowance alone.
local reservations, touched, opened = {}, {}, 0
local function reservation(id)
  local r = reservations[id]
  if r == nil then
    local key = P .. 'r:' .. id
    local packed = value(key)
    r = false
    if packed then
      local read
      r = {}
      read, r.xp, r.hn, r.ht, r.it, r.go, r.mo, r.op, r.ex, r.nb, r.md, r.bs, r.ls, r.su, r.gw = pcall(cmsgpack.unpack, packed)
      r = whole(key, read, r.su, 'string') and r
    else
      local b = old_form(key)
      if b then
        r = {xp = num(b.xp), hn = num(b.hn), ht = num(b.ht), it = num(b.it), go = num(b.go), mo = num(b.mo), op = num(b.op),
             ex = num(b.ex), nb = num(b.nb), md = num(b.md), bs = b.bs, ls = b.ls or '', su = b.su, gw = b.gw}
      end
    end
    reservations[id] = r
  end
  return r
end
local function touch(id) touched[id] = true end
local function make(id, r)
  reservations[id], r.moved, opened = r, true, opened + 1
  touch(id)
end
-- The budgets in which something is held: id and unit. Most reservations have the same ones.
local marks = {}
local function held(r)
  local list = marks[r.bs]
  if not list then
    list = {}
    for id, unit in string.gmatch(r.bs, '(%d+)(%a)') do list[#list + 1] = {tonumber(id), unit} end
    marks[r.bs] = list
  end
  return list
end
-- Adds to the buckets that a reservation went through, by their terms of then.
local passed = {}
local function refill(r, concurrent, tokens)
  if r.ls == '' then return end
  local list = passed[r.ls]
  if not list then
    list = cmsgpack.unpack(r.ls)
    passed[r.ls] = list
  end
  for _, known in ipairs(list) do
    local name, metric, per, drain = unpack(known)
    fill(name, per, drain, metric == 'c' and concurrent or metric == 't' and tokens or 0)
  end
end
-- The newest allowances that changed.
local newest = {}
local function set_newest(key, id, ttl)
  seen[key], newest[key] = id, ttl or false
end
-- Gives back what a reservation holds and forgets it.
local function close(id, r)
  for _, mark in ipairs(held(r)) do
    local b, amount = state(mark[1]), mark[2] == 'n' and r.hn or r.ht
    if b and amount ~= 0 then
      b.rs, b.dirty = b.rs - amount, true
      if r.gw then b.st = b.st - amount end
    end
  end
  refill(r, -1, -r.ht)
  if r.gw then
    local key = P .. 'g:' .. r.gw
    if value(key) == id then set_newest(key, false) end
  end
  reservations[id], opened = false, opened - 1
  touch(id)
end

-- What is recorded of a request: how it ended, when it was made if it was abandoned, and what each attempt came to.
local records = {}
local function record(id)
  local q = records[id]
  if not q then
    local key = P .. 'q:' .. id
    local packed = value(key)
    q = {prints = {}}
    if packed then
      local read, list = pcall(cmsgpack.unpack, packed)
      if whole(key, read, list, 'table') then
        q.outcome, q.made = list[1], list[2]
        for i = 3, #list, 2 do q.prints[list[i]] = list[i + 1] end
      else
        q.broken = true
      end
    else
      local before = old_form(key)
      if before then
        q.outcome, q.made = before.o and num(before.o), num(before.m)
        for name, print in pairs(before) do
          local attempt = string.match(name, '^a(%d+)$')
          if attempt then q.prints[tonumber(attempt)] = print end
        end
      end
    end
    records[id] = q
  end
  return q
end
-- A row of the ledger: lines, the last of which is the request's id and may be of any form.
local rows = {}
local function write(id, subject, closing, outcome, made, details, attempts)
  rows[#rows + 1] = closing .. ' ' .. outcome .. ' ' .. string.format('%.0f', made) .. ' ' .. #attempts .. '\n' .. subject .. '\n' ..
    details .. '\n' .. (#attempts > 0 and table.concat(attempts, '\n') .. '\n' or '') .. id
end

-- Ends what has expired, some of it. Of a request that nobody settled until then it is recorded.
local function expire()
  local due = redis.call('ZRANGEBYSCORE', P .. 'open', '-inf', now, 'LIMIT', 0, 100)
  for _, id in ipairs(due) do
    local r = reservation(id)
    if not r then
      touch(id)
    else
      close(id, r)
      local q = not r.gw and record(id)
      if q and not q.broken and (q.outcome or 0) == 0 then
        q.outcome, q.made, q.dirty = 8, r.md, true
        write(id, r.su, 8, 8, 0, '{"started_unix_ms":' .. string.format('%.0f', r.md) .. '}', {})
      end
    end
  end
  return #due
end

local function many(list, command, key)
  for from = 1, #list, PART do
    local to = math.min(from + PART - 1, #list)
    if key then redis.call(command, key, unpack(list, from, to)) else redis.call(command, unpack(list, from, to)) end
  end
end
-- Writes what changed.
local function flush(keep_ms)
  local set, gone, due, over = {}, {}, {}, {}
  local function put(key, packed) set[#set + 1], set[#set + 2] = key, packed end
  for id, b in pairs(budgets) do
    if b and b.dirty then
      put(P .. 'b:' .. id, cmsgpack.pack(b.sp, b.rs, b.st, b.un, b.ws, b.we, b.ca, b.sh, b.tp, b.ta))
      b.dirty = false
    end
  end
  for id in pairs(touched) do
    local r, key = reservations[id], P .. 'r:' .. id
    if r then
      put(key, cmsgpack.pack(r.xp, r.hn, r.ht, r.it, r.go, r.mo, r.op, r.ex, r.nb, r.md, r.bs, r.ls, r.su, r.gw))
      if r.moved then due[#due + 1], due[#due + 2], r.moved = r.xp, id, false end
    else
      gone[#gone + 1], over[#over + 1] = key, id
    end
  end
  for name, l in pairs(levels) do
    local key = P .. 'l:' .. name
    if l.dirty and l.lv == 0 then
      gone[#gone + 1] = key
    elseif l.dirty and l.drain == 0 then
      put(key, cmsgpack.pack(l.lv, l.at))
    elseif l.dirty then
      redis.call('SET', key, cmsgpack.pack(l.lv, l.at), 'PX', math.ceil(l.lv / l.drain) + 60000)
    end
    l.dirty = false
  end
  for key, ttl in pairs(newest) do
    if ttl then redis.call('SET', key, seen[key], 'PX', ttl) else gone[#gone + 1] = key end
  end
  for id, q in pairs(records) do
    local key = P .. 'q:' .. id
    if q.dirty then
      local list = {q.outcome, q.made or 0}
      for attempt, print in pairs(q.prints) do list[#list + 1], list[#list + 2] = attempt, print end
      redis.call('SET', key, cmsgpack.pack(list), 'PX', keep_ms)
    elseif q.again then
      redis.call('PEXPIRE', key, keep_ms)
    end
    q.dirty, q.again = false, false
  end
  many(set, 'MSET')
  many(gone, 'DEL')
  many(due, 'ZADD', P .. 'open')
  many(over, 'ZREM', P .. 'open')
  for _, row in ipairs(rows) do redis.call('XADD', P .. 'ledger', '*', 'e', row) end
  touched, newest, rows, opened = {}, {}, {}, 0
end
