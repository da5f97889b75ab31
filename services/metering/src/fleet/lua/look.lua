-- The states of budgets, after what has expired is given back. ARGV: how long records are kept, and the budgets.
local keep_ms = take()
while expire(keep_ms) == 100 do end
return states(budgets(), {})
