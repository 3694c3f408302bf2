-- Portal sessions: a tenant's own customers look after their endpoints with a token that lives for hours, which their
-- browser gets for a code that works once.

ALTER TABLE tokens ADD COLUMN portal INTEGER NOT NULL DEFAULT 0;
-- the token whose code was exchanged: a session does not outlive it
ALTER TABLE tokens ADD COLUMN made_by TEXT REFERENCES tokens (id) ON DELETE CASCADE;
CREATE INDEX tokens_by_maker ON tokens (made_by) WHERE made_by IS NOT NULL;
-- the cron removes those that are over
CREATE INDEX tokens_of_portals ON tokens (expires_at) WHERE portal = 1;

CREATE TABLE portal_codes (
  id TEXT PRIMARY KEY,
  tenant_id TEXT NOT NULL REFERENCES tenants (id) ON DELETE CASCADE,
  hash TEXT NOT NULL, -- SHA-256 of the code, hex; the code itself is kept nowhere
  name TEXT NOT NULL,
  scopes TEXT NOT NULL, -- JSON array: those of the session
  session_seconds INTEGER NOT NULL,
  made_by TEXT REFERENCES tokens (id) ON DELETE CASCADE, -- null: by an operator's secret, or with a JWT
  created_at INTEGER NOT NULL,
  expires_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE UNIQUE INDEX portal_codes_by_hash ON portal_codes (hash);
-- revoking a token takes its codes along
CREATE INDEX portal_codes_by_maker ON portal_codes (made_by) WHERE made_by IS NOT NULL;
CREATE INDEX portal_codes_by_age ON portal_codes (expires_at);
