-- Input written to a provider's cache for an hour, which costs more; part of cache_write_tokens.
ALTER TABLE attempts ADD COLUMN cache_write_1h_tokens INTEGER NOT NULL DEFAULT 0;
