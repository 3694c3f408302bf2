-- History: a read model, written in bulk off the hot path and pruned by cron. If it is late or lost, no delivery is.

CREATE TABLE messages (
  tenant_id TEXT NOT NULL,
  id TEXT NOT NULL, -- a publisher may choose it, so it is unique in its stream only
  stream TEXT NOT NULL, -- tenant/kind/name
  topic TEXT NOT NULL,
  offset INTEGER NOT NULL,
  time INTEGER NOT NULL,
  content_type TEXT NOT NULL,
  size INTEGER NOT NULL,
  attributes TEXT NOT NULL, -- JSON object
  event TEXT, -- JSON object of CloudEvents context attributes
  matched INTEGER NOT NULL,
  expunged_at INTEGER,
  PRIMARY KEY (tenant_id, id, stream, offset)
) STRICT, WITHOUT ROWID;
-- lists are newest first, of all topics or of one
CREATE INDEX messages_by_time ON messages (tenant_id, time, id);
CREATE INDEX messages_by_topic ON messages (tenant_id, topic, time, id);

CREATE TABLE deliveries (
  id TEXT PRIMARY KEY, -- made of the stream, the offset and the endpoint, so that writing it again changes nothing
  tenant_id TEXT NOT NULL,
  message_id TEXT NOT NULL,
  stream TEXT NOT NULL,
  topic TEXT NOT NULL,
  offset INTEGER NOT NULL,
  endpoint_id TEXT NOT NULL,
  status TEXT NOT NULL CHECK (status IN ('open', 'delivered', 'dead', 'cancelled')),
  reason TEXT, -- why it is held, dead or cancelled
  next_attempt_at INTEGER,
  created_at INTEGER NOT NULL, -- the message's time
  updated_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX deliveries_by_message ON deliveries (tenant_id, message_id);
-- the few that are not delivered, for /v1/dead, for resuming an endpoint and for the gauges
CREATE INDEX deliveries_unfinished ON deliveries (tenant_id, status, updated_at) WHERE status IN ('open', 'dead');
CREATE INDEX deliveries_unfinished_by_endpoint ON deliveries (endpoint_id, status) WHERE status IN ('open', 'dead');

CREATE TABLE attempts (
  id TEXT NOT NULL, -- sorts by time
  tenant_id TEXT NOT NULL,
  endpoint_id TEXT NOT NULL,
  delivery_id TEXT NOT NULL,
  message_id TEXT NOT NULL,
  topic TEXT NOT NULL,
  time INTEGER NOT NULL,
  ok INTEGER NOT NULL,
  status_code INTEGER,
  duration_ms INTEGER NOT NULL,
  error TEXT,
  response_body TEXT NOT NULL,
  PRIMARY KEY (tenant_id, endpoint_id, id)
) STRICT, WITHOUT ROWID;
CREATE INDEX attempts_by_delivery ON attempts (delivery_id, id);
-- cron prunes by age
CREATE INDEX attempts_by_time ON attempts (time);
