-- The control plane: who may do what, and who receives what. Every row but the operator's belongs to a tenant.

CREATE TABLE tenants (
  id TEXT PRIMARY KEY,
  name TEXT NOT NULL,
  created_at INTEGER NOT NULL,
  deleted_at INTEGER -- the row stays: its id must not name another tenant's streams
) STRICT, WITHOUT ROWID;

INSERT INTO tenants (id, name, created_at) VALUES ('default', 'default', unixepoch() * 1000);

CREATE TABLE tokens (
  id TEXT PRIMARY KEY,
  tenant_id TEXT REFERENCES tenants (id) ON DELETE CASCADE, -- null: an operator's
  name TEXT NOT NULL,
  hash TEXT NOT NULL, -- SHA-256 of the token, hex; the token itself is kept nowhere
  scopes TEXT NOT NULL, -- JSON array
  expires_at INTEGER,
  created_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
-- every request looks its token up by this
CREATE UNIQUE INDEX tokens_by_hash ON tokens (hash);
CREATE INDEX tokens_by_tenant ON tokens (tenant_id, id);

CREATE TABLE endpoints (
  id TEXT PRIMARY KEY,
  tenant_id TEXT NOT NULL REFERENCES tenants (id) ON DELETE CASCADE,
  kind TEXT NOT NULL CHECK (kind IN ('push', 'pull')),
  name TEXT,
  node TEXT,
  url TEXT,
  format TEXT NOT NULL DEFAULT 'raw',
  headers TEXT, -- sealed JSON object
  timeout_seconds INTEGER NOT NULL,
  retry_schedule TEXT NOT NULL, -- JSON array of seconds
  rate_limit REAL,
  ordered INTEGER NOT NULL DEFAULT 0,
  fallback TEXT CHECK (fallback = 'pull'),
  description TEXT,
  metadata TEXT NOT NULL DEFAULT '{}',
  status TEXT NOT NULL DEFAULT 'active' CHECK (status IN ('active', 'paused', 'disabled')),
  disabled_reason TEXT,
  failing_since INTEGER,
  created_at INTEGER NOT NULL,
  updated_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX endpoints_by_tenant ON endpoints (tenant_id, id);
-- a node name is an address: one endpoint of a tenant has it
CREATE UNIQUE INDEX endpoints_by_node ON endpoints (tenant_id, node) WHERE node IS NOT NULL;

CREATE TABLE endpoint_secrets (
  id TEXT PRIMARY KEY,
  endpoint_id TEXT NOT NULL REFERENCES endpoints (id) ON DELETE CASCADE,
  tenant_id TEXT NOT NULL,
  sealed TEXT NOT NULL, -- the signing secret, AES-256-GCM under the key ring
  created_at INTEGER NOT NULL,
  expires_at INTEGER -- null: the current one; else it still signs until then
) STRICT, WITHOUT ROWID;
CREATE INDEX endpoint_secrets_by_endpoint ON endpoint_secrets (endpoint_id, created_at);

-- Made by PUT, or with these defaults by the first subscription that names it.
CREATE TABLE queues (
  tenant_id TEXT NOT NULL REFERENCES tenants (id) ON DELETE CASCADE,
  name TEXT NOT NULL,
  max_receives INTEGER NOT NULL DEFAULT 5,
  retention_seconds INTEGER NOT NULL DEFAULT 1209600, -- 14 days, the longest of SQS
  created_at INTEGER NOT NULL,
  updated_at INTEGER NOT NULL,
  PRIMARY KEY (tenant_id, name)
) STRICT, WITHOUT ROWID;

-- The patterns a queue is bound to by itself, whoever its members are.
CREATE TABLE queue_topics (
  tenant_id TEXT NOT NULL,
  queue TEXT NOT NULL,
  topic TEXT NOT NULL, -- the pattern
  topic_key TEXT NOT NULL, -- as in subscriptions
  PRIMARY KEY (tenant_id, queue, topic),
  FOREIGN KEY (tenant_id, queue) REFERENCES queues (tenant_id, name) ON DELETE CASCADE
) STRICT, WITHOUT ROWID;
-- publishing asks for these together with the subscriptions
CREATE INDEX queue_topics_by_key ON queue_topics (tenant_id, topic_key);

-- With a queue, the endpoint is one of its members, and the pattern and filter say what the queue gets.
CREATE TABLE subscriptions (
  id TEXT PRIMARY KEY,
  tenant_id TEXT NOT NULL REFERENCES tenants (id) ON DELETE CASCADE,
  endpoint_id TEXT NOT NULL REFERENCES endpoints (id) ON DELETE CASCADE,
  topic TEXT, -- the pattern; null: a member of the queue that binds no topic to it
  topic_key TEXT, -- the pattern's literal head, see messages/topic.ts
  filter TEXT, -- SNS filter policy, JSON
  filter_scope TEXT NOT NULL DEFAULT 'attributes' CHECK (filter_scope IN ('attributes', 'body')),
  queue TEXT,
  created_at INTEGER NOT NULL,
  CHECK ((topic IS NULL) = (topic_key IS NULL)),
  CHECK (topic IS NOT NULL OR (queue IS NOT NULL AND filter IS NULL)),
  -- no cascade: a queue with members is not deleted by oversight
  FOREIGN KEY (tenant_id, queue) REFERENCES queues (tenant_id, name)
) STRICT, WITHOUT ROWID;
-- publishing asks for the few literal heads a topic can match: work grows with the matches, not with the tenant
CREATE INDEX subscriptions_by_key ON subscriptions (tenant_id, topic_key) WHERE topic_key IS NOT NULL;
CREATE INDEX subscriptions_by_endpoint ON subscriptions (endpoint_id);
-- the members of a queue, asked for at every delivery of one of its messages
CREATE INDEX subscriptions_by_queue ON subscriptions (tenant_id, queue, endpoint_id) WHERE queue IS NOT NULL;

CREATE TABLE sources (
  id TEXT PRIMARY KEY,
  tenant_id TEXT NOT NULL REFERENCES tenants (id) ON DELETE CASCADE,
  kind TEXT NOT NULL CHECK (kind IN ('sns')),
  name TEXT,
  topic_arns TEXT NOT NULL, -- JSON array, exact ARNs
  topic TEXT, -- null: the SNS topic's own name
  min_version INTEGER NOT NULL DEFAULT 1,
  created_at INTEGER NOT NULL,
  updated_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX sources_by_tenant ON sources (tenant_id, id);

-- What SNS told us about a subscription of ours: the last word for each topic of a source.
CREATE TABLE source_subscriptions (
  source_id TEXT NOT NULL REFERENCES sources (id) ON DELETE CASCADE,
  topic_arn TEXT NOT NULL,
  state TEXT NOT NULL CHECK (state IN ('confirmed', 'unsubscribed')),
  subscription_arn TEXT,
  updated_at INTEGER NOT NULL,
  PRIMARY KEY (source_id, topic_arn)
) STRICT, WITHOUT ROWID;

CREATE TABLE idempotency_keys (
  tenant_id TEXT NOT NULL,
  key_hash TEXT NOT NULL, -- SHA-256 of the Idempotency-Key, hex
  request_hash TEXT NOT NULL, -- SHA-256 of method, path, query, body and the asker's scopes
  state TEXT NOT NULL CHECK (state IN ('running', 'done')),
  response TEXT, -- sealed JSON of status, headers and body: it may hold a new secret
  started_at INTEGER NOT NULL,
  PRIMARY KEY (tenant_id, key_hash)
) STRICT, WITHOUT ROWID;
-- cron removes what is older than 24 h
CREATE INDEX idempotency_keys_by_age ON idempotency_keys (started_at);

CREATE TABLE audit (
  id TEXT PRIMARY KEY, -- sorts by time
  tenant_id TEXT, -- null: the operator's own plane
  time INTEGER NOT NULL,
  actor TEXT NOT NULL, -- token id, or 'operator'
  action TEXT NOT NULL, -- endpoint.create, secret.rotate, ...
  target TEXT NOT NULL, -- id of what changed
  change TEXT NOT NULL, -- JSON {before, after}, secrets masked
  request_id TEXT NOT NULL,
  ip TEXT
) STRICT, WITHOUT ROWID;
CREATE INDEX audit_by_tenant ON audit (tenant_id, id);
