-- Days by all but the user (grain 5; days by user alone are 4) are whole from the day on that begins after they were introduced; in a new
-- database always. Sums outlive the records that they are of.
INSERT INTO marks (name, at)
SELECT 'tags_from', CASE WHEN EXISTS (SELECT 1 FROM requests) OR EXISTS (SELECT 1 FROM rollups)
  THEN (unixepoch() / 86400 + 1) * 86400000 ELSE 0 END;
