-- What is known of streams beside their objects: which there are, how long they are kept, what works through them and
-- how far.

-- Every log of a tenant, written once by the first history of it.
CREATE TABLE streams (
  tenant_id TEXT NOT NULL REFERENCES tenants (id) ON DELETE CASCADE,
  number INTEGER NOT NULL, -- from 1, in the order they appeared: short, and says nothing of other tenants
  kind TEXT NOT NULL CHECK (kind IN ('topics', 'queues', 'nodes')),
  name TEXT NOT NULL,
  created_at INTEGER NOT NULL,
  PRIMARY KEY (tenant_id, number)
) STRICT, WITHOUT ROWID;
-- listed by name, and each is in it once
CREATE UNIQUE INDEX streams_by_name ON streams (tenant_id, kind, name);

-- How long a topic is kept, where that is not the default. Its object has a copy.
CREATE TABLE topics (
  tenant_id TEXT NOT NULL REFERENCES tenants (id) ON DELETE CASCADE,
  name TEXT NOT NULL,
  retention_seconds INTEGER NOT NULL,
  max_bytes INTEGER, -- null: unbounded
  updated_at INTEGER NOT NULL,
  PRIMARY KEY (tenant_id, name)
) STRICT, WITHOUT ROWID;

-- Work in the background. A stream's object does it and reports here how far it is.
CREATE TABLE jobs (
  tenant_id TEXT NOT NULL REFERENCES tenants (id) ON DELETE CASCADE,
  id TEXT NOT NULL, -- sorts by time
  kind TEXT NOT NULL CHECK (kind IN ('replay')),
  stream TEXT NOT NULL, -- tenant/kind/name
  endpoint_id TEXT NOT NULL,
  from_offset INTEGER NOT NULL,
  until_offset INTEGER NOT NULL, -- without it
  status TEXT NOT NULL CHECK (status IN ('running', 'done', 'stopped')),
  reason TEXT, -- why it was stopped
  total INTEGER NOT NULL,
  done INTEGER NOT NULL,
  created_at INTEGER NOT NULL,
  updated_at INTEGER NOT NULL,
  PRIMARY KEY (tenant_id, id)
) STRICT, WITHOUT ROWID;
-- cron removes those that ended long ago
CREATE INDEX jobs_by_age ON jobs (created_at);

-- Where a named consumer goes on reading a stream.
CREATE TABLE consumer_offsets (
  tenant_id TEXT NOT NULL REFERENCES tenants (id) ON DELETE CASCADE,
  consumer TEXT NOT NULL,
  stream TEXT NOT NULL, -- its path below /v1/stream/
  position INTEGER NOT NULL, -- what an offset stands for
  updated_at INTEGER NOT NULL,
  PRIMARY KEY (tenant_id, consumer, stream)
) STRICT, WITHOUT ROWID;
