-- Keys. Of the secret there is only a salted hash.
CREATE TABLE keys (
  id TEXT PRIMARY KEY NOT NULL,
  tenant TEXT NOT NULL,
  name TEXT NOT NULL,
  admin INTEGER NOT NULL,
  salt BLOB NOT NULL,
  digest BLOB NOT NULL,
  -- JSON arrays of text.
  models TEXT NOT NULL,
  features TEXT NOT NULL,
  networks TEXT NOT NULL,
  guard_policy TEXT,
  cache_policy TEXT,
  route_policy TEXT,
  team TEXT,
  created_unix_ms INTEGER NOT NULL,
  expires_unix_ms INTEGER,
  revoked_unix_ms INTEGER
) WITHOUT ROWID, STRICT;

-- Budgets and what is spent in their current period. What is reserved follows from `reservations`.
CREATE TABLE budgets (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  tenant TEXT NOT NULL,
  name TEXT NOT NULL,
  configured INTEGER NOT NULL,
  -- `nanousd` or `tokens`.
  unit TEXT NOT NULL,
  amount INTEGER NOT NULL,
  period TEXT NOT NULL,
  time_zone TEXT NOT NULL,
  hard INTEGER NOT NULL,
  shadow INTEGER NOT NULL,
  scope_dimension TEXT NOT NULL,
  scope_value TEXT NOT NULL,
  scope_key TEXT NOT NULL,
  window_start INTEGER NOT NULL,
  window_end INTEGER NOT NULL,
  spent INTEGER NOT NULL,
  uncovered INTEGER NOT NULL,
  told_percent INTEGER NOT NULL,
  told_unix_ms INTEGER NOT NULL,
  UNIQUE (tenant, name)
) STRICT;

-- Money held. Gone when it is settled or expired.
CREATE TABLE reservations (
  id TEXT PRIMARY KEY NOT NULL,
  -- The gateway of a standing allowance; NULL for a request's reservation.
  gateway TEXT,
  tenant TEXT NOT NULL,
  principal TEXT NOT NULL,
  team TEXT,
  user TEXT,
  feature TEXT,
  -- A JSON object of text; NULL for none.
  tags TEXT,
  requested_model TEXT NOT NULL,
  made_unix_ms INTEGER NOT NULL,
  held_nanousd INTEGER NOT NULL,
  held_tokens INTEGER NOT NULL,
  input_tokens INTEGER NOT NULL,
  granted_output_tokens INTEGER NOT NULL,
  output_picousd INTEGER NOT NULL,
  -- A JSON array of budget ids.
  budgets TEXT NOT NULL,
  extension INTEGER NOT NULL,
  expires_unix_ms INTEGER NOT NULL
) WITHOUT ROWID, STRICT;

-- The ledger: one row per request. `outcome` is metering.v1.RequestOutcome; 0 while the request is open.
CREATE TABLE requests (
  request_id TEXT PRIMARY KEY NOT NULL,
  tenant TEXT NOT NULL,
  principal TEXT NOT NULL,
  team TEXT,
  user TEXT,
  feature TEXT,
  tags TEXT,
  requested_model TEXT NOT NULL,
  -- The target that answered, else the last that was tried.
  target_id TEXT,
  outcome INTEGER NOT NULL,
  cache INTEGER NOT NULL,
  saved_nanousd INTEGER NOT NULL,
  hit_input_tokens INTEGER NOT NULL,
  hit_output_tokens INTEGER NOT NULL,
  started_unix_ms INTEGER NOT NULL,
  settled_unix_ms INTEGER NOT NULL,
  total_ms INTEGER NOT NULL,
  first_output_ms INTEGER,
  overhead_us INTEGER NOT NULL,
  error_reason TEXT,
  client_request_id TEXT,
  on_allowance INTEGER NOT NULL
) WITHOUT ROWID, STRICT;

CREATE INDEX requests_by_time ON requests (started_unix_ms, tenant);

-- The ledger: one immutable row per attempt at a provider. `outcome`, `kind` and `source` are of common.v1.
CREATE TABLE attempts (
  request_id TEXT NOT NULL,
  number INTEGER NOT NULL,
  target_id TEXT NOT NULL,
  outcome INTEGER NOT NULL,
  kind INTEGER NOT NULL,
  source INTEGER NOT NULL,
  input_tokens INTEGER NOT NULL,
  output_tokens INTEGER NOT NULL,
  cached_input_tokens INTEGER NOT NULL,
  cache_write_tokens INTEGER NOT NULL,
  reasoning_tokens INTEGER NOT NULL,
  audio_input_tokens INTEGER NOT NULL,
  audio_output_tokens INTEGER NOT NULL,
  cost_nanousd INTEGER NOT NULL,
  price_unknown INTEGER NOT NULL,
  price_version TEXT NOT NULL,
  started_unix_ms INTEGER NOT NULL,
  duration_ms INTEGER NOT NULL,
  first_output_ms INTEGER,
  http_status INTEGER,
  error TEXT,
  provider_request_id TEXT,
  recorded_unix_ms INTEGER NOT NULL,
  PRIMARY KEY (request_id, number)
) WITHOUT ROWID, STRICT;
