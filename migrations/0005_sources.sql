-- Sources of other kinds than SNS, the secrets they verify with, and how requests to endpoints are authenticated.

-- SQLite can not change a CHECK: both tables are made anew. The child goes first, for dropping the parent would
-- cascade to it; the renames take the reference along.
CREATE TABLE new_sources (
  id TEXT PRIMARY KEY,
  tenant_id TEXT NOT NULL REFERENCES tenants (id) ON DELETE CASCADE,
  kind TEXT NOT NULL CHECK (kind IN ('sns', 'standard-webhooks', 'github', 'stripe', 'slack', 'shopify', 'hmac')),
  name TEXT,
  topic_arns TEXT NOT NULL, -- JSON array, exact ARNs; of SNS
  topic TEXT, -- null: the SNS topic's own name
  min_version INTEGER NOT NULL DEFAULT 1, -- of SNS
  scheme TEXT, -- JSON object: what `hmac` was told about the sender
  deduplicate_by TEXT NOT NULL DEFAULT 'delivery' CHECK (deduplicate_by IN ('delivery', 'content')),
  created_at INTEGER NOT NULL,
  updated_at INTEGER NOT NULL,
  CHECK (kind = 'sns' OR topic IS NOT NULL),
  CHECK ((kind = 'hmac') = (scheme IS NOT NULL))
) STRICT, WITHOUT ROWID;

CREATE TABLE new_source_subscriptions (
  source_id TEXT NOT NULL REFERENCES new_sources (id) ON DELETE CASCADE,
  topic_arn TEXT NOT NULL,
  state TEXT NOT NULL CHECK (state IN ('confirmed', 'unsubscribed')),
  subscription_arn TEXT,
  updated_at INTEGER NOT NULL,
  PRIMARY KEY (source_id, topic_arn)
) STRICT, WITHOUT ROWID;

INSERT INTO new_sources (id, tenant_id, kind, name, topic_arns, topic, min_version, created_at, updated_at)
  SELECT id, tenant_id, kind, name, topic_arns, topic, min_version, created_at, updated_at FROM sources;
INSERT INTO new_source_subscriptions (source_id, topic_arn, state, subscription_arn, updated_at)
  SELECT source_id, topic_arn, state, subscription_arn, updated_at FROM source_subscriptions;
DROP TABLE source_subscriptions;
DROP TABLE sources;
ALTER TABLE new_sources RENAME TO sources;
ALTER TABLE new_source_subscriptions RENAME TO source_subscriptions;
CREATE INDEX sources_by_tenant ON sources (tenant_id, id);

CREATE TABLE source_secrets (
  id TEXT PRIMARY KEY,
  source_id TEXT NOT NULL REFERENCES sources (id) ON DELETE CASCADE,
  tenant_id TEXT NOT NULL,
  sealed TEXT NOT NULL, -- what the sender signs with, AES-256-GCM under the key ring
  created_at INTEGER NOT NULL,
  expires_at INTEGER -- null: the current one; else it still verifies until then
) STRICT, WITHOUT ROWID;
CREATE INDEX source_secrets_by_source ON source_secrets (source_id, created_at);

-- The Ed25519 key pair of a tenant, made when the first of its endpoints asks for `v1a` signatures.
CREATE TABLE tenant_signing_keys (
  id TEXT PRIMARY KEY, -- the `kid` of the JWKS
  tenant_id TEXT NOT NULL REFERENCES tenants (id) ON DELETE CASCADE,
  public_key TEXT NOT NULL, -- 32 bytes, base64url
  sealed TEXT NOT NULL, -- the private key, PKCS #8 in base 64
  created_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
-- one a tenant, also when two endpoints ask for the first one at once
CREATE UNIQUE INDEX tenant_signing_keys_by_tenant ON tenant_signing_keys (tenant_id);

ALTER TABLE endpoints ADD COLUMN asymmetric INTEGER NOT NULL DEFAULT 0;
ALTER TABLE endpoints ADD COLUMN auth TEXT; -- sealed JSON object of credentials
