/**
 * The tables of one mailbox. What a message costs is rows written, so there is no index: `seq` is the order, and
 * who holds what until when is also in memory (`Leases`).
 *
 * `messages`: what waits or is held. `envelope` is a JSON `BoxedMessage` without its bytes; `body` is null where they
 * stayed in the stream. `leases`: the messages that have been received at least once. `dead_letters`: received too often.
 */
const SCHEMA = `
CREATE TABLE IF NOT EXISTS messages (
  seq INTEGER PRIMARY KEY,
  sent_at INTEGER NOT NULL,
  group_key TEXT NOT NULL,
  envelope TEXT NOT NULL,
  body BLOB
) STRICT;
CREATE TABLE IF NOT EXISTS leases (
  seq INTEGER PRIMARY KEY,
  visible_at INTEGER NOT NULL,
  nonce TEXT NOT NULL, -- empty once it was given back: then no handle fits
  receive_count INTEGER NOT NULL
) STRICT;
CREATE TABLE IF NOT EXISTS dead_letters (
  seq INTEGER PRIMARY KEY,
  sent_at INTEGER NOT NULL,
  group_key TEXT NOT NULL,
  envelope TEXT NOT NULL,
  body BLOB
) STRICT;
`;

/** Makes the tables of a new mailbox. A mailbox that was never sent to, or was removed, has none and costs nothing. */
export function createTables(sql: SqlStorage): void {
  sql.exec(SCHEMA);
}

export function hasTables(sql: SqlStorage): boolean {
  return sql.exec("SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = 'messages'").toArray().length > 0;
}
