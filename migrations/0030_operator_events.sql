-- What the gateway has to tell a tenant of itself, written in one transaction with what it is about and removed once it
-- is published: so nothing of it is lost, and nothing is told twice but under the same id.
CREATE TABLE operator_events (
  created_at INTEGER NOT NULL,
  id TEXT NOT NULL, -- of the message: the same for the same fact
  tenant_id TEXT NOT NULL,
  topic TEXT NOT NULL,
  attributes TEXT NOT NULL, -- JSON object
  body TEXT NOT NULL, -- JSON
  PRIMARY KEY (created_at, id) -- published in the order of time
) STRICT, WITHOUT ROWID;
