-- Moments that matter to what is stored; Unix milliseconds.
CREATE TABLE marks (
  name TEXT PRIMARY KEY,
  at INTEGER NOT NULL
) STRICT;
-- Roll-ups by user alone are whole from the day on that begins after they were introduced; in a new database always.
INSERT INTO marks (name, at)
SELECT 'users_from', CASE WHEN EXISTS (SELECT 1 FROM requests) THEN (unixepoch() / 86400 + 1) * 86400000 ELSE 0 END;
