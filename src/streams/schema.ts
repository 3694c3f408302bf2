/**
 * The tables inside one stream's object.
 *
 * `segments`: the log. A row a commit (or a part of one that would pass 2 MB), not a row a message: rows written are
 * what a commit costs. `messages` is a JSON array of `LoggedMessage`, `bodies` their bytes one after the other. A row
 * also carries the checkpoint at its commit, so that in steady traffic settling costs no write of its own.
 *
 * `open_deliveries`: what is not closed by the checkpoint: deliveries that wait for a retry, are held, or are dead.
 * `next_at` is null for held and dead ones.
 */
const SCHEMA = `
CREATE TABLE IF NOT EXISTS segments (
  first_offset INTEGER PRIMARY KEY,
  count INTEGER NOT NULL,
  time INTEGER NOT NULL,
  bytes_before INTEGER NOT NULL, -- of all segments there ever were before it: the size of a stretch is a subtraction
  messages TEXT NOT NULL,
  bodies BLOB NOT NULL,
  settled_before INTEGER NOT NULL,
  history_before INTEGER NOT NULL
) STRICT;
-- messages whose bytes are gone: those of a stretch are counted without reading it
CREATE TABLE IF NOT EXISTS expunged (offset INTEGER PRIMARY KEY) STRICT;
CREATE TABLE IF NOT EXISTS checkpoint (
  id INTEGER PRIMARY KEY CHECK (id = 1),
  settled_before INTEGER NOT NULL,
  history_before INTEGER NOT NULL,
  next_offset INTEGER NOT NULL
) STRICT;
CREATE TABLE IF NOT EXISTS open_deliveries (
  offset INTEGER NOT NULL,
  endpoint_id TEXT NOT NULL,
  message_id TEXT NOT NULL,
  message_time INTEGER NOT NULL,
  status TEXT NOT NULL CHECK (status IN ('waiting', 'queued', 'held', 'dead')), -- queued: behind another in its lane
  attempts INTEGER NOT NULL,
  sweeps INTEGER NOT NULL DEFAULT 0, -- times its queue message was taken for lost
  ordered INTEGER NOT NULL DEFAULT 0, -- 1: in a lane of an endpoint that wants its deliveries in order
  attempting INTEGER NOT NULL DEFAULT 0, -- 1: next_at is when its first attempt, still under way, is given up
  next_at INTEGER,
  PRIMARY KEY (offset, endpoint_id)
) STRICT, WITHOUT ROWID;
-- the sweep asks for what is overdue
CREATE INDEX IF NOT EXISTS open_deliveries_due ON open_deliveries (next_at) WHERE next_at IS NOT NULL;
-- resuming or deleting an endpoint asks for all of its
CREATE INDEX IF NOT EXISTS open_deliveries_of_endpoint ON open_deliveries (endpoint_id, status);
-- how deliveries ended that had a row above, as long as history does not know it
CREATE TABLE IF NOT EXISTS untold_ends (
  offset INTEGER NOT NULL,
  endpoint_id TEXT NOT NULL,
  message_id TEXT NOT NULL,
  message_time INTEGER NOT NULL,
  status TEXT NOT NULL CHECK (status IN ('delivered', 'dead', 'cancelled')),
  reason TEXT,
  updated_at INTEGER NOT NULL,
  PRIMARY KEY (offset, endpoint_id)
) STRICT, WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS holds (
  endpoint_id TEXT PRIMARY KEY,
  next_probe_at INTEGER NOT NULL,
  probes INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
-- endpoints that fail nearly always, so that they are tried now and then only; closed: D1 has yet to be told
CREATE TABLE IF NOT EXISTS circuits (
  endpoint_id TEXT PRIMARY KEY,
  opened_at INTEGER NOT NULL,
  probe_at INTEGER NOT NULL,
  probes INTEGER NOT NULL,
  failures INTEGER NOT NULL,
  attempts INTEGER NOT NULL,
  closed INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
-- stretches of the log that are delivered again to one endpoint; finished ones stay until D1 knows
CREATE TABLE IF NOT EXISTS replays (
  job_id TEXT PRIMARY KEY,
  endpoint_id TEXT NOT NULL,
  from_offset INTEGER NOT NULL,
  next_offset INTEGER NOT NULL,
  until_offset INTEGER NOT NULL,
  total INTEGER NOT NULL,
  done INTEGER NOT NULL,
  status TEXT NOT NULL CHECK (status IN ('running', 'done', 'stopped')),
  reason TEXT,
  created_at INTEGER NOT NULL,
  updated_at INTEGER NOT NULL,
  reported_at INTEGER NOT NULL -- as of when D1 knows it; 0 when it does not
) STRICT, WITHOUT ROWID;
-- objects of a bucket that hold segments, whose rows then have a pointer there; 'uploading' is known before it is there,
-- 'garbage' is gone before it is forgotten
CREATE TABLE IF NOT EXISTS archives (
  id TEXT PRIMARY KEY,
  first_offset INTEGER NOT NULL,
  end_offset INTEGER NOT NULL,
  state TEXT NOT NULL CHECK (state IN ('uploading', 'stored', 'garbage'))
) STRICT, WITHOUT ROWID;
-- ids that publishers chose, for de-duplication
CREATE TABLE IF NOT EXISTS chosen_ids (
  id TEXT PRIMARY KEY,
  offset INTEGER NOT NULL,
  time INTEGER NOT NULL,
  matched INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS chosen_ids_by_age ON chosen_ids (time);
`;

/** Columns that tables got after their first version. */
const ADDED_COLUMNS = [
  { table: "open_deliveries", column: "lane_key", definition: "TEXT NOT NULL DEFAULT ''" }, // which lane of its endpoint
  { table: "open_deliveries", column: "reopened_at", definition: "INTEGER NOT NULL DEFAULT 0" }, // ms; 0: as at first
  { table: "replays", column: "ordered", definition: "INTEGER NOT NULL DEFAULT 0" },
  { table: "replays", column: "ordering_key", definition: "TEXT" },
] as const;

// a lane's head, and the next one
const ADDED_INDEXES = `
CREATE INDEX IF NOT EXISTS open_deliveries_of_lane ON open_deliveries (endpoint_id, lane_key, status, offset) WHERE ordered = 1;
`;

/** Makes the tables of a new object, or adds what they have got since; changes nothing in one that has all. */
export function createTables(sql: SqlStorage): void {
  sql.exec(SCHEMA);
  for (const { table, column, definition } of ADDED_COLUMNS) {
    const known = sql.exec("SELECT 1 FROM pragma_table_info(?) WHERE name = ?", table, column).toArray();
    if (known.length === 0) sql.exec(`ALTER TABLE ${table} ADD COLUMN ${column} ${definition}`);
  }
  sql.exec(ADDED_INDEXES);
}
