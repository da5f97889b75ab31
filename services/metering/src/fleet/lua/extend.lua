-- Raises a reservation or renews it: all of it, or nothing. Returns a verdict, then what is told, and the budgets' states.
local version, keep_ms = take(), take()
if (redis.call('GET', P .. 'v') or '0') ~= version then return {'stale'} end
expire(keep_ms)
local id, step, nano, output, pico, again, ttl = take(), number(), number(), number(), number(), take() == '1', number()
local key = P .. 'r:' .. id
local r = map(key)
if not r or r.gw then return {'gone'} end
if step <= num(r.ex) then return {'ok', told(id, r), {}} end
if pico < 0 then pico = num(r.op) end
if nano == 0 then nano = math.ceil(output * pico / 1000) end
local tokens = output + (again and num(r.it) or 0)
local held, mine, short = {}, {}, false
for budget_id in string.gmatch(r.bs, '(%d+)%a') do held[budget_id] = true end
for _, b in ipairs(budgets()) do
  if held[b.id] then
    mine[#mine + 1] = b
    local needed = b.unit == 'n' and nano or tokens
    if b.kind == 'r' and needed > 0 and needed > room(b) then short = true end
  end
end
if not short then
  for _, b in ipairs(mine) do b.rs = b.rs + (b.unit == 'n' and nano or tokens) b.dirty = true end
  refill(r, 0, tokens)
  r.hn, r.ht, r.ex = num(r.hn) + nano, num(r.ht) + tokens, step
  if num(r.go) > 0 and not again then r.go = num(r.go) + output end
  r.xp = math.max(num(r.xp), now + ttl)
  redis.call('HSET', key, 'hn', r.hn, 'ht', r.ht, 'ex', r.ex, 'go', r.go, 'xp', r.xp)
  redis.call('ZADD', P .. 'exp', r.xp, id)
end
for _, b in ipairs(mine) do if b.dirty or b.rolled then keep(b) end end
local ids = {}
for i, b in ipairs(mine) do ids[i] = b.id end
return {short and 'no' or 'ok', told(id, r), states(mine, {}), ids, {nano, tokens}}
