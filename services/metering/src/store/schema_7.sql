-- Days by all but the user are whole from the day on that begins after they were introduced; in a new database always.
INSERT INTO marks (name, at)
SELECT 'tags_from', CASE WHEN EXISTS (SELECT 1 FROM requests) THEN (unixepoch() / 86400 + 1) * 86400000 ELSE 0 END;
