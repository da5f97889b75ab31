-- Admits a request: all budgets and limits are checked before any of them holds. Returns a verdict, then what is told of the
-- reservation, the allowance, the budgets and the buckets.
local version, keep_ms = take(), take()
if (redis.call('GET', P .. 'v') or '0') ~= version then return {'stale'} end
expire(keep_ms)
local id, subject, gateway = take(), take(), take()
local q = {input = number(), output = number(), fixed = number(), pico = number(), least = number(), slice = number(), newest = take()}
local ttl, most_open = number(), number()
local allow = {ttl = number(), share = number(), total = number(), max = number(), unlimited = number()}
local list, through = budgets(), buckets()
local function cost(tokens) return q.fixed + math.ceil(tokens * q.pico / 1000) end

local r = map(P .. 'r:' .. id)
local verdict = 'ok'
if r and r.gw then return {'taken'} end
if not r then
  local output, bounded, short = q.output, false, false
  for _, l in ipairs(through) do
    if l.metric == 't' and not l.shadow then
      output, bounded = math.min(output, math.max(l.full / l.per - q.input, q.least)), true
    end
  end
  for _, b in ipairs(list) do
    if b.kind ~= 'c' then
      local most
      if b.unit == 't' then
        most = room(b) - q.input
      elseif cost(output) <= room(b) then
        most = output
      else
        most = room(b) < q.fixed and -1 or (q.pico == 0 and output or math.floor((room(b) - q.fixed) * 1000 / q.pico))
        while most >= 0 and cost(most) > room(b) do most = most - 1 end
      end
      if b.kind == 's' then
        if most < q.least then b.sh, b.dirty = b.sh + 1, true end
      elseif most < q.least then
        short = true
      else
        output, bounded = math.min(output, most), true
      end
    end
  end
  local most_output = 0
  if q.slice >= 0 and q.slice < output then
    most_output, output = output, math.max(q.slice, q.least)
  end
  local excess, tokens = false, q.input + output
  for _, l in ipairs(through) do
    local units = l.metric == 't' and tokens or 1
    if not l.shadow and l.lv + units * l.per > l.full then excess = true end
  end
  local open = redis.call('ZCARD', P .. 'exp')
  if open >= most_open then verdict = 'full'
  elseif short or excess then verdict = 'no' end
  if verdict == 'ok' then
    local held, names, marks = cost(output), {}, {}
    for i, b in ipairs(list) do
      b.rs = b.rs + (b.unit == 'n' and held or tokens)
      b.dirty = true
      marks[i] = b.id .. b.unit
    end
    for i, l in ipairs(through) do
      fill(l, l.metric == 't' and tokens or 1)
      names[i] = {l.name, l.metric, l.per, l.drain}
    end
    r = {su = subject, hn = held, ht = tokens, it = q.input, go = bounded and output or 0,
         mo = bounded and most_output or 0, op = q.pico, bs = table.concat(marks, ','), nb = q.newest,
         ex = '0', xp = now + ttl, md = now}
    redis.call('HSET', P .. 'r:' .. id, 'su', r.su, 'hn', r.hn, 'ht', r.ht, 'it', r.it, 'go', r.go, 'mo', r.mo, 'op', r.op,
      'bs', r.bs, 'nb', r.nb, 'ex', r.ex, 'xp', r.xp, 'md', r.md)
    if #names > 0 then redis.call('HSET', P .. 'r:' .. id, 'ls', cmsgpack.pack(names)) end
    redis.call('ZADD', P .. 'exp', r.xp, id)
  end
end

-- The allowance of the asking gateway: the one it has, or, when half of its life is over, a new one beside it. The old one
-- stays reserved until its end, because the gateway may have spent from it.
local allowance = {}
if verdict == 'ok' and gateway ~= '' and allow.ttl > 0 then
  local newest = P .. 'g:' .. gateway
  local current = redis.call('GET', newest)
  local a = current and map(P .. 'r:' .. current)
  if a then allowance = told(current, a) end
  if not (a and num(a.xp) - now > math.floor(allow.ttl / 2)) then
    local money, tokens, marks = nil, nil, {}
    for _, b in ipairs(list) do
      if b.standing then
        marks[#marks + 1] = b.id .. b.unit
        if b.kind == 'r' then
          local function percent(share) return math.floor(b.limit / 100) * share + math.floor(b.limit % 100 * share / 100) end
          local share = math.min(percent(allow.share), percent(allow.total) - b.st, room(b))
          if b.unit == 'n' then money = math.min(money or share, share) else tokens = math.min(tokens or share, share) end
        end
      end
    end
    money = money and math.min(money, allow.max) or allow.unlimited
    if money > 0 and not (tokens and tokens <= 0) then
      tokens = tokens or 0
      local name = 'standing-' .. string.format('%.0f', now) .. '-' .. id
      if redis.call('EXISTS', P .. 'r:' .. name) == 0 then
        for _, b in ipairs(list) do
          if b.standing then
            local held = b.unit == 'n' and money or tokens
            b.rs, b.st, b.dirty = b.rs + held, b.st + held, true
          end
        end
        a = {hn = money, ht = tokens, go = '0', mo = '0', xp = now + allow.ttl}
        redis.call('HSET', P .. 'r:' .. name, 'gw', gateway, 'su', '', 'hn', a.hn, 'ht', a.ht, 'it', '0', 'go', '0', 'mo', '0',
          'op', '0', 'bs', table.concat(marks, ','), 'nb', q.newest, 'ex', '0', 'xp', a.xp, 'md', now)
        redis.call('ZADD', P .. 'exp', a.xp, name)
        redis.call('SET', newest, name, 'PX', allow.ttl)
        allowance = told(name, a)
      end
    end
  end
end
for _, b in ipairs(list) do if b.dirty or b.rolled then keep(b) end end
local levels = {}
for _, l in ipairs(through) do
  levels[#levels + 1] = l.lv
  levels[#levels + 1] = math.max(l.at, now)
end
return {verdict, r and told(id, r) or {}, allowance, states(list, {}), levels}
