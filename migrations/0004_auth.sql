-- Tokens that are rotated and bound, tenants that are suspended and limited.

ALTER TABLE tokens ADD COLUMN last_used_at INTEGER; -- at most a minute behind
ALTER TABLE tokens ADD COLUMN previous_hash TEXT; -- the value before the rotation, which works until previous_expires_at
ALTER TABLE tokens ADD COLUMN previous_expires_at INTEGER;
-- a bound token is good for one endpoint: this one, or whichever has the node name
ALTER TABLE tokens ADD COLUMN endpoint_id TEXT REFERENCES endpoints (id) ON DELETE CASCADE;
ALTER TABLE tokens ADD COLUMN node TEXT;
-- the other way a request may find its token
CREATE UNIQUE INDEX tokens_by_previous_hash ON tokens (previous_hash) WHERE previous_hash IS NOT NULL;
-- deleting an endpoint takes its tokens along
CREATE INDEX tokens_by_endpoint ON tokens (endpoint_id) WHERE endpoint_id IS NOT NULL;

ALTER TABLE tenants ADD COLUMN suspended_at INTEGER;
ALTER TABLE tenants ADD COLUMN limits TEXT NOT NULL DEFAULT '{}'; -- JSON object; what is not in it is the gateway's own
