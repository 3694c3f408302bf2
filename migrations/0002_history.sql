-- History: a read model, written in bulk off the hot path and pruned by cron. If it is late or lost, no delivery is.
-- Each written row and each written index row is billed, so all three tables are clustered by time (which serves
-- the lists, and pruning, without an index), and a delivery names its attempts instead of an index finding them.
-- A message that is delivered at once costs five rows: three here, one in `deliveries`, one in `attempts`.

CREATE TABLE messages (
  tenant_id TEXT NOT NULL,
  time INTEGER NOT NULL,
  stream TEXT NOT NULL, -- tenant/kind/name
  offset INTEGER NOT NULL,
  id TEXT NOT NULL, -- a publisher may choose it: unique for 24 h in its stream, no further
  topic TEXT NOT NULL,
  content_type TEXT NOT NULL,
  size INTEGER NOT NULL,
  attributes TEXT NOT NULL, -- JSON object
  event TEXT, -- JSON object of CloudEvents context attributes
  matched INTEGER NOT NULL,
  expunged_at INTEGER,
  PRIMARY KEY (tenant_id, time, stream, offset)
) STRICT, WITHOUT ROWID;
-- GET /v1/messages/{id}
CREATE INDEX messages_by_id ON messages (tenant_id, id, time);
-- the list of one topic, newest first, however rare the topic is
CREATE INDEX messages_by_topic ON messages (tenant_id, topic, time);

CREATE TABLE deliveries (
  tenant_id TEXT NOT NULL,
  message_time INTEGER NOT NULL,
  stream TEXT NOT NULL,
  offset INTEGER NOT NULL,
  endpoint_id TEXT NOT NULL, -- the target: an endpoint, or `queue:<name>`, `member` or `node`
  message_id TEXT NOT NULL,
  topic TEXT NOT NULL,
  status TEXT NOT NULL CHECK (status IN ('open', 'delivered', 'dead', 'cancelled')),
  reason TEXT, -- why it is held, dead or cancelled
  next_attempt_at INTEGER,
  updated_at INTEGER NOT NULL,
  -- JSON array: the keys of its rows in `attempts`, each a time, or `<time> <endpoint id>` where that is not the target
  attempt_times TEXT NOT NULL DEFAULT '[]',
  PRIMARY KEY (tenant_id, message_time, stream, offset, endpoint_id)
) STRICT, WITHOUT ROWID;
-- GET /v1/dead, newest first
CREATE INDEX deliveries_dead ON deliveries (tenant_id, message_time) WHERE status = 'dead';
-- the dead of one endpoint, the streams that hold work for one that is resumed, and the gauges; OR, for SQLite does
-- not see that an equality implies an IN
CREATE INDEX deliveries_unfinished ON deliveries (tenant_id, status, endpoint_id, message_time)
  WHERE status = 'open' OR status = 'dead';

CREATE TABLE attempts (
  tenant_id TEXT NOT NULL,
  endpoint_id TEXT NOT NULL, -- the endpoint that was attempted
  time INTEGER NOT NULL,
  id TEXT NOT NULL,
  stream TEXT NOT NULL,
  offset INTEGER NOT NULL,
  message_id TEXT NOT NULL,
  topic TEXT NOT NULL,
  duration_ms INTEGER NOT NULL,
  status_code INTEGER,
  error TEXT, -- `code: detail`; null after a success
  response_body TEXT NOT NULL,
  target TEXT, -- that of the delivery, where it is not the endpoint itself
  PRIMARY KEY (tenant_id, endpoint_id, time, id)
) STRICT, WITHOUT ROWID;
-- the failures of an endpoint, which may be few among millions
CREATE INDEX attempts_failed ON attempts (tenant_id, endpoint_id, time) WHERE error IS NOT NULL;
