-- What a deleted tenant owned outside of this database, until that is gone as well.

-- Streams of tenants' own: their objects know nothing of each other.
CREATE TABLE own_streams (
  tenant_id TEXT NOT NULL REFERENCES tenants (id) ON DELETE CASCADE,
  path TEXT NOT NULL, -- below /v1/stream/, as its object is named
  created_at INTEGER NOT NULL,
  PRIMARY KEY (tenant_id, path)
) STRICT, WITHOUT ROWID;

CREATE TABLE purges (
  tenant_id TEXT NOT NULL,
  kind TEXT NOT NULL CHECK (kind IN ('stream', 'own-stream', 'endpoint-box', 'queue-box')),
  name TEXT NOT NULL, -- of the object, or the id of what the mailbox is of
  next_at INTEGER NOT NULL,
  last_at INTEGER NOT NULL, -- what was under way when the tenant was deleted may make it anew until then
  failures INTEGER NOT NULL DEFAULT 0,
  PRIMARY KEY (tenant_id, kind, name)
) STRICT, WITHOUT ROWID;
CREATE INDEX purges_due ON purges (next_at);

ALTER TABLE tenants ADD COLUMN next_purge_at INTEGER; -- of a deleted one, while something of it may turn up
UPDATE tenants SET next_purge_at = deleted_at WHERE deleted_at IS NOT NULL;
CREATE INDEX tenants_to_purge ON tenants (next_purge_at) WHERE next_purge_at IS NOT NULL;
