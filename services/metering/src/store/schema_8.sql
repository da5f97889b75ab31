-- How good answers were, by those who got them: the last word on each request of the ledger. Apart from `requests`, because few are rated.
CREATE TABLE scores (
  request_id TEXT PRIMARY KEY NOT NULL,
  -- From -1 to 1.
  score REAL NOT NULL,
  -- The kind of signal; NULL for none.
  kind TEXT
) WITHOUT ROWID, STRICT;
