-- How deliveries flow to an endpoint: circuits that are open, how many may be under way, and what they are ordered by.

-- A stream whose attempts at an endpoint fail nearly always tries it now and then only. Told by the stream with every
-- probe, so that a row whose probe is long overdue is one that nobody could take back.
CREATE TABLE endpoint_circuits (
  endpoint_id TEXT NOT NULL REFERENCES endpoints (id) ON DELETE CASCADE,
  stream TEXT NOT NULL, -- tenant/kind/name
  tenant_id TEXT NOT NULL,
  opened_at INTEGER NOT NULL,
  probe_at INTEGER NOT NULL,
  PRIMARY KEY (endpoint_id, stream)
) STRICT, WITHOUT ROWID;

ALTER TABLE endpoints ADD COLUMN max_concurrency INTEGER; -- attempts under way at once; null: no limit of its own
ALTER TABLE endpoints ADD COLUMN ordering_key TEXT; -- of an ordered one: the attribute that makes lanes; null: one lane
