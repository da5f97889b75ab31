-- Records one request, or a part of it, once, and takes what it cost from the budgets. Returns a verdict, whether anything was
-- new, the attempts that contradict what is known, whether the end does, and the budgets' states.
local version, keep_ms = take(), take()
if (redis.call('GET', P .. 'v') or '0') ~= version then return {'stale'} end
expire(keep_ms)
local id, named, principal, subject = take(), take(), take(), take()
local closing, details = take(), take()
local attempts = {}
for i = 1, number() do
  attempts[i] = {number = take(), print = take(), nano = number(), tokens = number(), json = take()}
end
local list, through = budgets(), buckets()

local own = map(P .. 'r:' .. id)
if own and own.gw then own = nil end
if own then subject = own.su end
if subject == '' then return {'who'} end
local from, from_id = own, id
if named ~= '' and named ~= id then
  local other = map(P .. 'r:' .. named)
  if other then
    if not other.gw or string.sub(other.gw, -#principal - 1) ~= ' ' .. principal then return {'theirs'} end
    from, from_id = other, named
  end
end

local q, new, nano, tokens, contradicting = P .. 'q:' .. id, false, 0, 0, {}
local row = {'id', id, 's', subject, 'c', '', 'o', '', 'w', '', 'd', details}
for _, a in ipairs(attempts) do
  local known = redis.call('HGET', q, 'a' .. a.number)
  if not known then
    redis.call('HSET', q, 'a' .. a.number, a.print)
    new, nano, tokens = true, nano + a.nano, tokens + a.tokens
    row[#row + 1] = 'a'
    row[#row + 1] = a.json
  elseif known ~= a.print then
    contradicting[#contradicting + 1] = a.number
  end
end
local outcome, differs = redis.call('HGET', q, 'o'), 0
local wanted = closing == '' and '0' or closing
if not outcome then
  redis.call('HSET', q, 'o', wanted)
  new, row[6], row[8] = true, wanted, wanted
elseif (outcome == '0' or outcome == '8') and wanted ~= '0' and wanted ~= outcome then
  redis.call('HSET', q, 'o', wanted)
  new, row[6], row[8], row[10] = true, wanted, wanted, outcome
  if outcome == '8' then
    row[#row + 1] = 'wm'
    row[#row + 1] = redis.call('HGET', q, 'm') or '0'
  end
else
  row[8] = outcome
  if closing ~= '' and closing ~= '8' and closing ~= outcome then differs = 1 end
end
redis.call('PEXPIRE', q, keep_ms)
if new then redis.call('XADD', P .. 's', '*', unpack(row)) end

local ends = closing ~= '' and own ~= nil
-- The budgets in which the request was held, and those in which what it is paid from is.
local mine, newest, held = {}, own and num(own.nb) or -1, {}
if own then for budget_id, unit in string.gmatch(own.bs, '(%d+)(%a)') do mine[budget_id] = unit end end
if nano ~= 0 or tokens ~= 0 then
  local covered_nano, covered_tokens, seen = 0, 0, {}
  if from then
    covered_nano, covered_tokens = math.min(num(from.hn), nano), math.min(num(from.ht), tokens)
    from.hn, from.ht = num(from.hn) - covered_nano, num(from.ht) - covered_tokens
    if not (ends and from == own) then redis.call('HSET', P .. 'r:' .. from_id, 'hn', from.hn, 'ht', from.ht) end
    for budget_id, unit in string.gmatch(from.bs, '(%d+)(%a)') do held[budget_id] = unit end
  end
  for _, b in ipairs(list) do
    local covered = b.unit == 'n' and covered_nano or covered_tokens
    local amount = b.unit == 'n' and nano or tokens
    if held[b.id] then
      b.rs, b.dirty = b.rs - covered, true
      if from.gw then b.st = b.st - covered end
    else
      covered = 0
    end
    -- Those that were made since count it too.
    if mine[b.id] or num(b.id) > newest then
      b.sp, b.un, b.dirty = b.sp + amount, b.un + math.max(0, amount - covered), true
    end
    seen[b.id] = true
  end
  -- Budgets that the record's own words do not name.
  local others = {}
  for budget_id, unit in pairs(mine) do if not seen[budget_id] then others[budget_id] = unit end end
  for budget_id, unit in pairs(held) do if not seen[budget_id] then others[budget_id] = unit end end
  for budget_id, unit in pairs(others) do
    local covered, key = unit == 'n' and covered_nano or covered_tokens, P .. 'b:' .. budget_id
    if redis.call('EXISTS', key) == 1 then
      if held[budget_id] then
        redis.call('HINCRBY', key, 'rs', 0 - covered)
        if from.gw then redis.call('HINCRBY', key, 'st', 0 - covered) end
      else
        covered = 0
      end
      if mine[budget_id] then
        local amount = unit == 'n' and nano or tokens
        redis.call('HINCRBY', key, 'sp', amount)
        redis.call('HINCRBY', key, 'un', math.max(0, amount - covered))
      end
    end
  end
  if from and not from.gw then
    refill(from, 0, tokens - covered_tokens)
  else
    for _, l in ipairs(through) do if l.metric == 't' then fill(l, tokens) end end
  end
end
if ends then
  local done = {}
  for _, b in ipairs(list) do
    if mine[b.id] then
      b.rs, b.dirty, done[b.id] = b.rs - (b.unit == 'n' and num(own.hn) or num(own.ht)), true, true
    end
  end
  close(id, own, done)
end
for _, b in ipairs(list) do if b.dirty or b.rolled then keep(b, true) end end
return {'ok', new and 1 or 0, contradicting, differs, states(list, {})}
