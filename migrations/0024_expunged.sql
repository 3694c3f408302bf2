-- Messages whose content is to be given to nobody any more, as long as a mailbox may have a copy of it.
CREATE TABLE expunged_messages (
  tenant_id TEXT NOT NULL REFERENCES tenants (id) ON DELETE CASCADE,
  message_id TEXT NOT NULL,
  stream TEXT NOT NULL, -- tenant/kind/name
  offset INTEGER NOT NULL,
  expunged_at INTEGER NOT NULL,
  PRIMARY KEY (tenant_id, message_id, stream, offset)
) STRICT, WITHOUT ROWID;
-- the cron removes what no mailbox can have any more
CREATE INDEX expunged_messages_by_age ON expunged_messages (expunged_at);
