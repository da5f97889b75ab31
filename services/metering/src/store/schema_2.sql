-- What a budget bounds is one JSON object, the same in every backend (terms.rs).
ALTER TABLE budgets ADD COLUMN terms TEXT NOT NULL DEFAULT '';
UPDATE budgets SET terms = json_object(
  'unit', unit, 'limit', amount, 'period', period, 'time_zone', time_zone,
  'hard', json(iif(hard, 'true', 'false')), 'shadow', json(iif(shadow, 'true', 'false')),
  'scope', json(iif(scope_dimension = '', '[]', json_array(json_array(
    CASE scope_dimension
      WHEN 'tag' THEN json_object('tag', scope_key)
      WHEN 'requested_model' THEN 'model'
      ELSE scope_dimension
    END, scope_value)))));
ALTER TABLE budgets DROP COLUMN unit;
ALTER TABLE budgets DROP COLUMN amount;
ALTER TABLE budgets DROP COLUMN period;
ALTER TABLE budgets DROP COLUMN time_zone;
ALTER TABLE budgets DROP COLUMN hard;
ALTER TABLE budgets DROP COLUMN shadow;
ALTER TABLE budgets DROP COLUMN scope_dimension;
ALTER TABLE budgets DROP COLUMN scope_value;
ALTER TABLE budgets DROP COLUMN scope_key;
ALTER TABLE budgets ADD COLUMN carried INTEGER NOT NULL DEFAULT 0;
ALTER TABLE budgets ADD COLUMN shadowed INTEGER NOT NULL DEFAULT 0;

-- A JSON array of the buckets of rate limits, each an id and a value.
ALTER TABLE reservations ADD COLUMN buckets TEXT NOT NULL DEFAULT '[]';
-- Up to where the grant may be extended; 0 where it is all.
ALTER TABLE reservations ADD COLUMN most_output_tokens INTEGER NOT NULL DEFAULT 0;

-- Rate limits. `rate` is a JSON object (limit.rs).
CREATE TABLE limits (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  tenant TEXT NOT NULL,
  name TEXT NOT NULL,
  configured INTEGER NOT NULL,
  rate TEXT NOT NULL,
  UNIQUE (tenant, name)
) STRICT;

-- How full the buckets of rate limits are, but for requests under way, which follow from `reservations`.
CREATE TABLE buckets (
  limit_id INTEGER NOT NULL,
  value TEXT NOT NULL,
  level INTEGER NOT NULL,
  at_unix_ms INTEGER NOT NULL,
  PRIMARY KEY (limit_id, value)
) WITHOUT ROWID, STRICT;

-- The secret before the last rotation, while it is good.
ALTER TABLE keys ADD COLUMN old_salt BLOB;
ALTER TABLE keys ADD COLUMN old_digest BLOB;
ALTER TABLE keys ADD COLUMN old_until_unix_ms INTEGER;

-- Every change of keys, budgets and limits. Rows are only ever added.
CREATE TABLE audit (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  at_unix_ms INTEGER NOT NULL,
  tenant TEXT NOT NULL,
  actor TEXT NOT NULL,
  action TEXT NOT NULL,
  subject TEXT NOT NULL,
  detail TEXT NOT NULL
) STRICT;

-- Sums of the ledger (rollup.rs): hours (0), hours by user and tag (1), days (2), days by user and tag (3).
CREATE TABLE rollups (
  grain INTEGER NOT NULL,
  at INTEGER NOT NULL,
  key TEXT NOT NULL,
  cell BLOB NOT NULL,
  PRIMARY KEY (grain, at, key)
) WITHOUT ROWID, STRICT;

-- Alerts that were told, until their period is over.
CREATE TABLE alerts (
  id TEXT PRIMARY KEY NOT NULL,
  until_unix_ms INTEGER NOT NULL,
  alert TEXT NOT NULL
) WITHOUT ROWID, STRICT;
