-- The validation handshake of the CloudEvents webhook specification: an endpoint that asks for it gets nothing before
-- its receiver has allowed it.

ALTER TABLE endpoints ADD COLUMN handshake TEXT CHECK (handshake IN ('waiting', 'allowed')); -- null: none is asked for
ALTER TABLE endpoints ADD COLUMN request_origin TEXT; -- what the gateway calls itself in it, and at each delivery
ALTER TABLE endpoints ADD COLUMN allowed_rate INTEGER; -- requests a minute; null: the receiver set no limit

CREATE TABLE handshakes (
  endpoint_id TEXT PRIMARY KEY REFERENCES endpoints (id) ON DELETE CASCADE,
  tenant_id TEXT NOT NULL,
  gateway_url TEXT NOT NULL, -- the origin that callbacks come to
  requests INTEGER NOT NULL DEFAULT 0,
  requested_at INTEGER,
  next_request_at INTEGER, -- null: no more by itself
  detail TEXT -- why the last request brought no permission
) STRICT, WITHOUT ROWID;
-- the cron asks for what is due
CREATE INDEX handshakes_due ON handshakes (next_request_at) WHERE next_request_at IS NOT NULL;

-- Where a receiver may still say yes, later: good once, and for the URL that was asked only.
CREATE TABLE handshake_callbacks (
  hash TEXT PRIMARY KEY, -- SHA-256 of what is in the callback's URL, hex
  endpoint_id TEXT NOT NULL REFERENCES endpoints (id) ON DELETE CASCADE,
  url TEXT NOT NULL,
  created_at INTEGER NOT NULL,
  expires_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX handshake_callbacks_by_endpoint ON handshake_callbacks (endpoint_id, created_at);
-- the cron removes what has expired
CREATE INDEX handshake_callbacks_by_age ON handshake_callbacks (expires_at);
