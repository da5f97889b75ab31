-- Notes that a threshold of a budget was told, if nobody did yet in this period.
local key, window, percent = P .. 'b:' .. take(), number(), number()
local s = redis.call('HMGET', key, 'ws', 'tp')
if not s[1] or num(s[1]) ~= window or num(s[2]) >= percent then return 0 end
redis.call('HSET', key, 'tp', percent, 'ta', now)
return 1
