//! What must happen at once in Redis, as Lua.
//!
//! Each script keeps to the keys of one entry, or of one tenant's index, which share a hash slot: so they run in a cluster too. Times
//! are Redis's own.

/// Wakes the replicas that follow: `wake(watchers, channel, flight)`.
macro_rules! lua {
    ($body:literal) => {
        concat!(
            r"
local function now()
  local t = redis.call('TIME')
  return t[1] * 1000 + math.floor(t[2] / 1000)
end
local function wake(watchers, channel, flight)
  for _, replica in ipairs(redis.call('ZRANGEBYSCORE', watchers, now(), '+inf')) do
    redis.call('PUBLISH', channel .. replica, flight)
  end
end
",
            $body
        )
    };
}

/// Gives a lease. Keys: entry, lease, flight, events. Arguments: whether an entry is enough, token, its life, entry id, pending, the
/// flight's life.
pub(super) const GRANT: &str = lua!(
    r"
if ARGV[1] == '1' then
  local entry = redis.call('GET', KEYS[1])
  if entry then return {'known', entry} end
end
local flight = redis.call('GET', KEYS[3])
if flight then return {'held', flight} end
redis.call('SET', KEYS[2], ARGV[2], 'PX', ARGV[3])
redis.call('SET', KEYS[3], ARGV[4], 'PX', ARGV[6])
redis.call('XADD', KEYS[4], '*', 'pending', ARGV[5])
redis.call('PEXPIRE', KEYS[4], ARGV[6])
return {'given', ''}
"
);

/// Begins a fill, once: what comes after names the lease as `f` and its token. Keys: lease, flight. Arguments: token, its life. Gives the
/// flight.
pub(super) const CLAIM: &str = lua!(
    r"
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return false end
redis.call('SET', KEYS[1], 'f' .. ARGV[1], 'PX', ARGV[2])
return redis.call('GET', KEYS[2])
"
);

/// Adds to a recording. Keys: lease, flight, events, watchers. Arguments: token, its life, the flight's life, events, channel,
/// flight.
pub(super) const APPEND: &str = lua!(
    r"
if redis.call('GET', KEYS[1]) ~= 'f' .. ARGV[1] then return false end
redis.call('PEXPIRE', KEYS[1], ARGV[2])
redis.call('PEXPIRE', KEYS[2], ARGV[3])
local id = redis.call('XADD', KEYS[3], '*', 'events', ARGV[4])
redis.call('PEXPIRE', KEYS[3], ARGV[3])
wake(KEYS[4], ARGV[5], ARGV[6])
return id
"
);

/// Keeps an entry and ends its flight. Keys: lease, flight, events, watchers, entry, tombstone. Arguments: token, life of what is over,
/// cost, channel, flight, entry (empty: keep none), its life. Gives what became of it, and the id of the entry that it replaced.
pub(super) const COMMIT: &str = lua!(
    r"
if redis.call('GET', KEYS[1]) ~= 'f' .. ARGV[1] then return {'expired', ''} end
local kept = ARGV[6] ~= '' and redis.call('EXISTS', KEYS[6]) == 0
local before = kept and redis.call('GETRANGE', KEYS[5], 0, 15) or ''
if kept then redis.call('SET', KEYS[5], ARGV[6], 'PX', ARGV[7]) end
redis.call('XADD', KEYS[3], '*', 'done', ARGV[3])
redis.call('PEXPIRE', KEYS[3], ARGV[2])
redis.call('DEL', KEYS[1], KEYS[2])
wake(KEYS[4], ARGV[4], ARGV[5])
return {kept and 'kept' or 'invalidated', before}
"
);

/// Keeps a judgement on a hit for as long as its entry. Keys: entry, judgements. Arguments: entry id, request, the probability that was
/// seen, whether it was wrong, how many are kept. Gives their number.
pub(super) const JUDGE: &str = lua!(
    r"
if redis.call('GETRANGE', KEYS[1], 0, 15) ~= ARGV[1] then return 0 end
local known, kept = redis.pcall('GET', KEYS[2]), {}
if type(known) == 'string' and string.sub(known, 1, 16) == ARGV[1] then
  -- What nobody can read is begun anew.
  local read, hits = pcall(cjson.decode, string.sub(known, 17))
  for _, hit in ipairs(read and type(hits) == 'table' and hits or {}) do
    if type(hit) == 'table' and hit[1] ~= ARGV[2] then kept[#kept + 1] = hit end
  end
end
kept[#kept + 1] = {ARGV[2], tonumber(ARGV[3]), ARGV[4] == '1'}
while #kept > tonumber(ARGV[5]) do table.remove(kept, 1) end
redis.call('SET', KEYS[2], ARGV[1] .. cjson.encode(kept), 'PX', math.max(1, redis.call('PTTL', KEYS[1])))
return #kept
"
);

/// Gives a lease back. Keys: lease, flight, events, watchers. Arguments: token, life of what is over, reason, whether somebody could
/// go on, whether somebody here follows, channel, flight.
pub(super) const RELEASE: &str = lua!(
    r"
if redis.call('GET', KEYS[1]) ~= 'f' .. ARGV[1] then return 0 end
redis.call('DEL', KEYS[1])
local followed = ARGV[5] == '1' or redis.call('ZCOUNT', KEYS[4], now(), '+inf') > 0
if ARGV[4] == '1' and followed then
  redis.call('XADD', KEYS[3], '*', 'orphaned', ARGV[3])
else
  redis.call('XADD', KEYS[3], '*', 'lost', ARGV[3])
  redis.call('DEL', KEYS[2])
  redis.call('PEXPIRE', KEYS[3], ARGV[2])
end
wake(KEYS[4], ARGV[6], ARGV[7])
return 1
"
);

/// Takes over. Keys: lease, flight, events, watchers. Arguments: entry id, token, its life, the flight's life, channel, flight.
pub(super) const TAKE_OVER: &str = lua!(
    r"
if redis.call('GET', KEYS[2]) ~= ARGV[1] then return 'gone' end
if not redis.call('SET', KEYS[1], ARGV[2], 'NX', 'PX', ARGV[3]) then return 'led' end
redis.call('PEXPIRE', KEYS[2], ARGV[4])
redis.call('XADD', KEYS[3], '*', 'led', '')
redis.call('PEXPIRE', KEYS[3], ARGV[4])
wake(KEYS[4], ARGV[5], ARGV[6])
return 'given'
"
);

/// Reads on, and says that this replica does. Keys: lease, flight, events, watchers. Arguments: from (exclusive), how many, replica
/// (empty: only reads), for how long. Gives the lease's remaining life, the flight, and what was recorded.
pub(super) const READ: &str = lua!(
    r"
if ARGV[3] ~= '' then
  redis.call('ZADD', KEYS[4], now() + tonumber(ARGV[4]), ARGV[3])
  redis.call('PEXPIRE', KEYS[4], ARGV[4])
end
local from = ARGV[1] == '' and '-' or '(' .. ARGV[1]
local recorded = redis.call('XRANGE', KEYS[3], from, '+', 'COUNT', ARGV[2])
return {redis.call('PTTL', KEYS[1]), redis.call('GET', KEYS[2]) or '', recorded}
"
);

/// Counts those who follow a lease. Keys: lease, watchers, flight. Arguments: token, this replica. Gives how many other replicas, and
/// the flight.
pub(super) const FOLLOWERS: &str = lua!(
    r"
local held = redis.call('GET', KEYS[1])
if held ~= ARGV[1] and held ~= 'f' .. ARGV[1] then return {-1, ''} end
local others = 0
for _, replica in ipairs(redis.call('ZRANGEBYSCORE', KEYS[2], now(), '+inf')) do
  if replica ~= ARGV[2] then others = others + 1 end
end
return {others, redis.call('GET', KEYS[3]) or ''}
"
);

/// Removes an entry for good, also one that is still to come. Keys: entry, tombstone, judgements. Arguments: entry id, the tombstone's life.
pub(super) const KILL: &str = lua!(
    r"
redis.call('SET', KEYS[2], '', 'PX', ARGV[2])
if redis.call('GETRANGE', KEYS[1], 0, 15) == ARGV[1] then redis.call('DEL', KEYS[1], KEYS[3]) end
return 1
"
);

/// Writes an entry into its tenant's index and makes room. Keys: ids, ends, labels, about, covers. Arguments: epoch, entry id, key, life,
/// weight, most entries, most bytes, labels. Gives `{'added', id, key, …}` with what had to go, or `{'changed', epoch, cover, …}` with
/// the invalidations since.
pub(super) const ADD: &str = lua!(
    r"
local epoch = redis.call('HGET', KEYS[4], 'epoch') or '0'
if epoch ~= ARGV[1] then
  local changed = redis.call('LRANGE', KEYS[5], 0, -1)
  return {'changed', epoch, unpack(changed)}
end
local t = now()
local life, weight = tonumber(ARGV[4]), tonumber(ARGV[5])
local gone = {'added'}
local function drop(id)
  local packed = redis.call('HGET', KEYS[1], id)
  redis.call('ZREM', KEYS[2], id)
  if not packed then return end
  local known = cmsgpack.unpack(packed)
  redis.call('HDEL', KEYS[1], id)
  for _, label in ipairs(known.l) do redis.call('ZREM', KEYS[3], label .. id) end
  redis.call('HINCRBY', KEYS[4], 'bytes', -known.w)
  table.insert(gone, id)
  table.insert(gone, known.k)
end
for _, id in ipairs(redis.call('ZRANGEBYSCORE', KEYS[2], '-inf', t, 'LIMIT', 0, 64)) do drop(id) end
if redis.call('EXISTS', KEYS[1]) == 0 then redis.call('HSET', KEYS[4], 'bytes', 0) end
local labels = {}
for i = 8, #ARGV do
  labels[#labels + 1] = ARGV[i]
  redis.call('ZADD', KEYS[3], 0, ARGV[i] .. ARGV[2])
end
redis.call('HSET', KEYS[1], ARGV[2], cmsgpack.pack({k = ARGV[3], w = weight, l = labels}))
redis.call('ZADD', KEYS[2], t + life, ARGV[2])
local bytes = redis.call('HINCRBY', KEYS[4], 'bytes', weight)
for _ = 1, 256 do
  if redis.call('ZCARD', KEYS[2]) <= tonumber(ARGV[6]) and bytes <= tonumber(ARGV[7]) then break end
  local first = redis.call('ZRANGE', KEYS[2], 0, 0)[1]
  if not first then break end
  drop(first)
  bytes = tonumber(redis.call('HGET', KEYS[4], 'bytes'))
end
for i = 1, 4 do
  if redis.call('PTTL', KEYS[i]) < life + 60000 then redis.call('PEXPIRE', KEYS[i], life + 60000) end
end
return gone
"
);

/// Notes an invalidation. Keys: about, covers. Arguments: cover, how many are remembered, for how long.
pub(super) const NOTE: &str = lua!(
    r"
local epoch = tonumber(redis.call('HGET', KEYS[1], 'epoch') or '0')
epoch = string.format('%.0f', math.max(epoch + 1, now()))
redis.call('HSET', KEYS[1], 'epoch', epoch)
redis.call('LPUSH', KEYS[2], epoch .. ' ' .. ARGV[1])
redis.call('LTRIM', KEYS[2], 0, tonumber(ARGV[2]) - 1)
if redis.call('PTTL', KEYS[1]) < tonumber(ARGV[3]) then redis.call('PEXPIRE', KEYS[1], ARGV[3]) end
redis.call('PEXPIRE', KEYS[2], ARGV[3])
return epoch
"
);

/// Takes entries out of the index, some at a time. Keys: ids, ends, labels, about. Arguments: `all`, `label` with a label (it ends in a colon), or `ids` with
/// ids. Gives `{id, key, …}`.
pub(super) const TAKE: &str = lua!(
    r"
local ids = {}
if ARGV[1] == 'all' then
  ids = redis.call('ZRANGE', KEYS[2], 0, 499)
elseif ARGV[1] == 'label' then
  for _, member in ipairs(redis.call('ZRANGEBYLEX', KEYS[3], '[' .. ARGV[2], '(' .. string.sub(ARGV[2], 1, -2) .. ';', 'LIMIT', 0, 500)) do
    ids[#ids + 1] = string.sub(member, #ARGV[2] + 1)
  end
else
  for i = 2, #ARGV do ids[#ids + 1] = ARGV[i] end
end
local taken = {}
for _, id in ipairs(ids) do
  redis.call('ZREM', KEYS[2], id)
  local packed = redis.call('HGET', KEYS[1], id)
  if packed then
    local known = cmsgpack.unpack(packed)
    redis.call('HDEL', KEYS[1], id)
    for _, label in ipairs(known.l) do redis.call('ZREM', KEYS[3], label .. id) end
    redis.call('HINCRBY', KEYS[4], 'bytes', -known.w)
    taken[#taken + 1] = id
    taken[#taken + 1] = known.k
  elseif ARGV[1] == 'label' then
    redis.call('ZREM', KEYS[3], ARGV[2] .. id)
  end
end
return taken
"
);

/// What a tenant has. Keys: ends, about. Gives entries and bytes.
pub(super) const EXTENT: &str = lua!(
    r"
return {redis.call('ZCOUNT', KEYS[1], now(), '+inf'), tonumber(redis.call('HGET', KEYS[2], 'bytes') or '0')}
"
);

/// Where an entry is. Keys: ids. Arguments: entry id. Gives its key.
pub(super) const FIND: &str = lua!(
    r"
local packed = redis.call('HGET', KEYS[1], ARGV[1])
return packed and cmsgpack.unpack(packed).k
"
);
