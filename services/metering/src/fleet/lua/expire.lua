-- ARGV: how long what is recorded of a request is kept. Returns how many reservations ended.
local ended = expire()
flush(take())
return ended
