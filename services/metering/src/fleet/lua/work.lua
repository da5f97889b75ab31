-- Calls of a tenant, one after the other. ARGV: in MessagePack, the version of the definitions, how long what is recorded is kept, the
-- newest budget, terms of grants and allowances, the terms of budgets and buckets, of how many of the former calls speak, groups of
-- them, and the calls. Returns a verdict, then the states of budgets and buckets at the end and an answer to each call.
local version, keep_ms, newest_budget, grants, budget_terms, bucket_terms, spoken_of, groups, calls = cmsgpack.unpack(ARGV[3])
local ttl, most_open, allow_ttl, allow_share, allow_total, allow_max, allow_unlimited = unpack(grants)
local ADMIT, EXTEND, SETTLE = 1, 2, 3

local keys = {P .. 'version', P .. 'old'}
for i = 1, spoken_of do keys[#keys + 1] = P .. 'b:' .. budget_terms[i][1] end
for _, terms in ipairs(bucket_terms) do keys[#keys + 1] = P .. 'l:' .. terms[1] end
for _, call in ipairs(calls) do
  keys[#keys + 1] = P .. 'r:' .. call[2]
  if call[1] == ADMIT and call[5] ~= '' then keys[#keys + 1] = P .. 'g:' .. call[5] end
  if call[1] == SETTLE then keys[#keys + 1] = P .. 'q:' .. call[2] end
end
look(keys)
if value(P .. 'version') ~= version then return {'stale'} end
expire()

-- Budgets and buckets that calls have in common.
for _, group in ipairs(groups) do
  local list, through, standing, marks, names = {}, {}, {}, {}, {}
  for i, place in ipairs(group[1]) do
    list[i] = budget(budget_terms[place])
    marks[i] = list[i].id .. list[i].unit
  end
  for i, place in ipairs(group[2]) do
    local name, metric, per, drain, full, shadow = unpack(bucket_terms[place])
    through[i] = {name = name, metric = metric, per = per, drain = drain, full = full, refuses = shadow == 0, level = level(name)}
    names[i] = {name, metric, per, drain}
  end
  for i, place in ipairs(group[3]) do standing[i] = budget(budget_terms[place]) end
  group.list, group.through, group.standing = list, through, standing
  group.bs, group.ls = table.concat(marks, ','), #names > 0 and cmsgpack.pack(names) or ''
end

local function cost(fixed, pico, tokens) return fixed + math.ceil(tokens * pico / 1000) end
local function told(r) return r.hn, r.go, r.mo, r.xp, r.op end

-- The allowance of the asking gateway: the one it has, or, when half of its life is over, a new one beside it. The old one
-- stays reserved until its end, because the gateway may have spent from it.
local function allowance(group, gateway, id)
  local key = P .. 'g:' .. gateway
  local current = value(key)
  local a = current and reservation(current)
  if a and a.xp - now > math.floor(allow_ttl / 2) then return current, a end
  local money, tokens, marks = nil, nil, {}
  for i, b in ipairs(group.standing) do
    marks[i] = b.id .. b.unit
    if b.kind == 'r' then
      local function percent(share) return math.floor(b.limit / 100) * share + math.floor(b.limit % 100 * share / 100) end
      local share = math.min(percent(allow_share), percent(allow_total) - b.st, room(b))
      if b.unit == 'n' then money = math.min(money or share, share) else tokens = math.min(tokens or share, share) end
    end
  end
  money = money and math.min(money, allow_max) or allow_unlimited
  local name = 'standing-' .. string.format('%.0f', now) .. '-' .. id
  if money <= 0 or tokens and tokens <= 0 or reservation(name) then return current, a end
  tokens = tokens or 0
  for _, b in ipairs(group.standing) do
    local held = b.unit == 'n' and money or tokens
    b.rs, b.st, b.dirty = b.rs + held, b.st + held, true
  end
  a = {gw = gateway, su = '', hn = money, ht = tokens, it = 0, go = 0, mo = 0, op = 0, bs = table.concat(marks, ','), ls = '',
       nb = newest_budget, ex = 0, xp = now + allow_ttl, md = now}
  make(name, a)
  set_newest(key, name, allow_ttl)
  return name, a
end

-- All budgets and limits are checked before any of them holds.
local already_open
local function admit(call)
  local _, id, place, subject, gateway, input, output, fixed, pico, least, slice = unpack(call)
  local group, r = groups[place], reservation(id)
  if r and r.gw then return {'taken'} end
  if not r then
    local bounded, short = false, false
    for _, l in ipairs(group.through) do
      if l.metric == 't' and l.refuses then
        output, bounded = math.min(output, math.max(l.full / l.per - input, least)), true
      end
    end
    for _, b in ipairs(group.list) do
      if b.kind ~= 'c' then
        local most, left = output, room(b)
        if b.unit == 't' then
          most = left - input
        elseif cost(fixed, pico, output) > left then
          most = left < fixed and -1 or (pico == 0 and output or math.floor((left - fixed) * 1000 / pico))
          while most >= 0 and cost(fixed, pico, most) > left do most = most - 1 end
        end
        if b.kind == 's' then
          if most < least then b.sh, b.dirty = b.sh + 1, true end
        elseif most < least then
          short = true
        else
          output, bounded = math.min(output, most), true
        end
      end
    end
    local most_output = 0
    if slice >= 0 and slice < output then most_output, output = output, math.max(slice, least) end
    local excess, tokens = false, input + output
    for _, l in ipairs(group.through) do
      local units = l.metric == 't' and tokens or 1
      if l.refuses and drained(l.level, l.drain) + units * l.per > l.full then excess = true end
    end
    already_open = already_open or redis.call('ZCARD', P .. 'open')
    if already_open + opened >= most_open then return {'full'} end
    if short or excess then
      local full = {}
      for i, l in ipairs(group.through) do
        full[2 * i - 1], full[2 * i] = drained(l.level, l.drain), math.max(l.level.at, now)
      end
      return {'no', states(group.list), full}
    end
    local money = cost(fixed, pico, output)
    for _, b in ipairs(group.list) do b.rs, b.dirty = b.rs + (b.unit == 'n' and money or tokens), true end
    for _, l in ipairs(group.through) do fill(l.name, l.per, l.drain, l.metric == 't' and tokens or 1) end
    r = {su = subject, hn = money, ht = tokens, it = input, go = bounded and output or 0, mo = bounded and most_output or 0, op = pico,
         bs = group.bs, ls = group.ls, nb = newest_budget, ex = 0, xp = now + ttl, md = now}
    make(id, r)
  end
  if gateway ~= '' and allow_ttl > 0 then
    local name, a = allowance(group, gateway, id)
    if a then return {'ok', {told(r)}, {name, told(a)}} end
  end
  return {'ok', {told(r)}}
end

-- Raises a reservation or renews it: all of it, or nothing.
local terms_of
local function extend(call)
  local _, id, step, nano, output, pico, again = unpack(call)
  local r = reservation(id)
  if not r or r.gw then return {'gone'} end
  if step <= r.ex then return {'ok', {told(r)}} end
  if pico < 0 then pico = r.op end
  if nano == 0 then nano = math.ceil(output * pico / 1000) end
  local tokens = output + again * r.it
  if not terms_of then
    terms_of = {}
    for _, terms in ipairs(budget_terms) do terms_of[terms[1]] = terms end
  end
  local mine, ids, short = {}, {}, false
  for _, mark in ipairs(held(r)) do
    local terms = terms_of[mark[1]]
    if terms then
      local b = budget(terms)
      local needed = b.unit == 'n' and nano or tokens
      mine[#mine + 1], ids[#ids + 1] = b, b.id
      if b.kind == 'r' and needed > 0 and needed > room(b) then short = true end
    end
  end
  if short then return {'no', states(mine), ids, {nano, tokens}} end
  for _, b in ipairs(mine) do b.rs, b.dirty = b.rs + (b.unit == 'n' and nano or tokens), true end
  refill(r, 0, tokens)
  r.hn, r.ht, r.ex = r.hn + nano, r.ht + tokens, step
  if r.go > 0 and again == 0 then r.go = r.go + output end
  r.xp, r.moved = math.max(r.xp, now + ttl), true
  touch(id)
  return {'ok', {told(r)}}
end

-- Takes what was used from budgets and limits, out of a reservation as far as it reaches.
local function spend(group, own, from, nano, tokens)
  local covered_nano, covered_tokens, covering = 0, 0, {}
  if from then
    covered_nano, covered_tokens = math.min(from.hn, nano), math.min(from.ht, tokens)
    from.hn, from.ht = from.hn - covered_nano, from.ht - covered_tokens
    for _, mark in ipairs(held(from)) do
      local b, covered = state(mark[1]), mark[2] == 'n' and covered_nano or covered_tokens
      if b then
        b.rs, b.dirty = b.rs - covered, true
        if from.gw then b.st = b.st - covered end
        covering[b] = covered
      end
    end
  end
  local function take_from(b, unit)
    local amount = unit == 'n' and nano or tokens
    b.sp, b.un, b.dirty = b.sp + amount, b.un + math.max(0, amount - (covering[b] or 0)), true
  end
  if own then
    for _, mark in ipairs(held(own)) do
      local b = state(mark[1])
      if b then take_from(b, mark[2]) end
    end
  end
  -- Budgets that were made since count it too; without a reservation all do.
  for _, b in ipairs(group.list) do
    if not own or b.id > own.nb then take_from(b, b.unit) end
  end
  if from and not from.gw then
    refill(from, 0, tokens - covered_tokens)
  else
    for _, l in ipairs(group.through) do
      if l.metric == 't' then fill(l.name, l.per, l.drain, tokens) end
    end
  end
end

-- Records one request, or a part of it, once.
local function settle(call)
  local _, id, place, named, principal, subject, closing, details, attempts = unpack(call)
  local own = reservation(id)
  if own and own.gw then own = false end
  if own then subject = own.su end
  if subject == '' then return {'who'} end
  local from, from_id = own, id
  if named ~= '' and named ~= id then
    local other = reservation(named)
    if other then
      if not other.gw or string.sub(other.gw, -#principal - 1) ~= ' ' .. principal then return {'theirs'} end
      from, from_id = other, named
    end
  end

  local q, new, nano, tokens = record(id), false, 0, 0
  if q.broken then return {'broken'} end
  local contradicting, added = {}, {}
  for i = 1, #attempts, 5 do
    local attempt, print = attempts[i], attempts[i + 1]
    local known = q.prints[attempt]
    if not known then
      q.prints[attempt], new = print, true
      nano, tokens = nano + attempts[i + 2], tokens + attempts[i + 3]
      added[#added + 1] = attempts[i + 4]
    elseif known ~= print then
      contradicting[#contradicting + 1] = attempt
    end
  end
  local outcome, differs, ending, made = q.outcome, 0, 0, 0
  if not outcome or (outcome == 0 or outcome == 8) and closing ~= 0 and closing ~= outcome then
    if outcome == 8 then made = q.made end
    new, q.outcome, ending = true, closing, closing
  elseif closing ~= 0 and closing ~= 8 and closing ~= outcome then
    differs = 1
  end
  q.dirty, q.again = q.dirty or new, true
  if new then write(id, subject, ending, q.outcome, made, details, added) end

  if nano ~= 0 or tokens ~= 0 then
    spend(groups[place], own, from, nano, tokens)
    if from then touch(from_id) end
  end
  if closing ~= 0 and own then close(id, own) end
  return {'ok', new and 1 or 0, differs, contradicting}
end

local answers = {}
for i, call in ipairs(calls) do
  answers[i] = (call[1] == ADMIT and admit or call[1] == EXTEND and extend or settle)(call)
end
flush(keep_ms)
local list, full = {}, {}
for i = 1, spoken_of do list[i] = budgets[budget_terms[i][1]] end
for i, terms in ipairs(bucket_terms) do
  local l = level(terms[1])
  full[2 * i - 1], full[2 * i] = drained(l, terms[4]), math.max(l.at, now)
end
return {'ok', states(list), full, answers}
