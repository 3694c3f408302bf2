-- Stream subscriptions, and the directory that finds them, are objects of a tenant as well: they go with it.
CREATE TABLE new_purges (
  tenant_id TEXT NOT NULL,
  kind TEXT NOT NULL CHECK (kind IN ('stream', 'own-stream', 'endpoint-box', 'queue-box', 'stream-subscriptions')),
  name TEXT NOT NULL, -- of the object, or the id of what the mailbox is of; of stream subscriptions the tenant's
  next_at INTEGER NOT NULL,
  last_at INTEGER NOT NULL, -- what was under way when the tenant was deleted may make it anew until then
  failures INTEGER NOT NULL DEFAULT 0,
  PRIMARY KEY (tenant_id, kind, name)
) STRICT, WITHOUT ROWID;
INSERT INTO new_purges (tenant_id, kind, name, next_at, last_at, failures)
  SELECT tenant_id, kind, name, next_at, last_at, failures FROM purges;
DROP TABLE purges;
ALTER TABLE new_purges RENAME TO purges;
CREATE INDEX purges_due ON purges (next_at);

-- Those of tenants that were deleted before: a row costs one empty object where there are none.
INSERT INTO purges (tenant_id, kind, name, next_at, last_at)
  SELECT id, 'stream-subscriptions', id, 0, 0 FROM tenants WHERE deleted_at IS NOT NULL;
