-- What a request's model was chosen by: a JSON object (common/v1/route.proto); NULL where none was chosen.
ALTER TABLE requests ADD COLUMN route TEXT;
