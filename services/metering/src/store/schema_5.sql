-- Requests that are in the ledger but not yet in `rollups`: a JSON array of their ids for each commit.
CREATE TABLE unsummed (
  id INTEGER PRIMARY KEY,
  requests TEXT NOT NULL
) STRICT;
