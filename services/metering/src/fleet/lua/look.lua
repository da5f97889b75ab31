-- The states of budgets, after what has expired is given back. ARGV: in MessagePack, how long what is recorded is kept, and the budgets.
local keep_ms, list = cmsgpack.unpack(ARGV[3])
repeat
  local ended = expire()
  flush(keep_ms)
until ended < 100
for i, terms in ipairs(list) do list[i] = budget(terms) end
return states(list)
