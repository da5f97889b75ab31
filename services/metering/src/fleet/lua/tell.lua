-- Notes that a threshold of a budget was told, if nobody did yet in this period.
local b, window, percent = state(number()), number(), number()
if not b or b.ws ~= window or b.tp >= percent then return 0 end
b.tp, b.ta, b.dirty = percent, now, true
flush()
return 1
