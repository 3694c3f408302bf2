import type { DatabaseSync } from "node:sqlite";
import { columnsOf, copyRows, countRows, hasTable, withDatabase } from "./database.ts";

/** Adds subscriptions, each of an endpoint of its own and to a topic of its own, like the endpoint `templateId`'s. */
export function addSubscriptions(dataDir: string, templateId: string, count: number): void {
  withDatabase(dataDir, "subscriptions", (db) => {
    db.exec("BEGIN");
    copyRows(db, "endpoints", { where: `id = '${templateId}'`, copies: count, changes: { id: "'ep_other' || n.i" } });
    const topic = "'bench.other.t' || n.i";
    copyRows(db, "subscriptions", {
      where: `endpoint_id = '${templateId}'`,
      copies: count,
      changes: { id: "'sub_other' || n.i", endpoint_id: "'ep_other' || n.i", topic, topic_key: topic },
    });
    db.exec("COMMIT");
  });
}

const RETRY_IN_MS = 60 * 60 * 1000;
const RETRY_SPREAD_MS = 12 * 60 * 60 * 1000;

/**
 * Gives the stream `count` open retries, due in an hour and later: its log, which has some messages, is copied over and
 * over, and each of its messages waits for each of the endpoints.
 */
export function addOpenRetries(dataDir: string, stream: string, endpointIds: readonly string[], count: number): void {
  const isStream = (db: DatabaseSync): boolean =>
    db.prepare("SELECT 1 FROM _cf_KV WHERE key = 'name' AND instr(value, CAST(? AS BLOB)) > 0").get(stream) !== undefined;
  withDatabase(dataDir, "open_deliveries", (db) => {
    const { messages, bytes } = db
      .prepare("SELECT sum(count) AS messages, sum(length(messages) + length(bodies)) AS bytes FROM segments")
      .get() ?? {};
    const [perCopy, bytesPerCopy] = [Number(messages), Number(bytes)];
    const copies = Math.ceil(count / endpointIds.length / perCopy);
    db.exec("BEGIN");
    copyRows(db, "segments", {
      where: "true",
      copies: copies - 1,
      changes: {
        first_offset: `t.first_offset + ${perCopy} * n.i`,
        bytes_before: `t.bytes_before + ${bytesPerCopy} * n.i`,
        settled_before: `t.first_offset + ${perCopy} * n.i`,
        history_before: `t.first_offset + ${perCopy} * n.i`,
      },
    });
    db.prepare("INSERT OR REPLACE INTO checkpoint (id, settled_before, history_before, next_offset) VALUES (1, ?1, ?1, ?1)").run(perCopy * copies);
    db.prepare(
      `INSERT INTO open_deliveries (offset, endpoint_id, message_id, message_time, status, attempts, next_at)
       SELECT s.first_offset + m.key, e.value, m.value ->> 'id', s.time, 'waiting', 4,
         ?2 + (s.first_offset + m.key) * 7919 % ${RETRY_SPREAD_MS}
       FROM segments s, json_each(s.messages) m, json_each(?1) e`,
    ).run(JSON.stringify(endpointIds), Date.now() + RETRY_IN_MS);
    db.exec("COMMIT");
    const made = countRows(db, "open_deliveries");
    if (made < count) throw new Error(`${made} open retries were made, not ${count}`);
  }, isStream);
}

/** History's tables, as rows a message or as packs of many, with how many records a row holds. */
const HISTORY_TABLES = [
  { table: "messages", records: "count(*)" },
  { table: "deliveries", records: "count(*)" },
  { table: "attempts", records: "count(*)" },
  { table: "message_packs", records: "sum(count)" },
  { table: "attempt_packs", records: "sum(count)" },
] as const;
/** Copies lie this far apart in time: further than what is copied spans. */
const COPY_SPAN_MS = 10 * 60 * 1000;
const COPIES_AT_ONCE = 50;

export type HistorySize = { readonly records: number; readonly rows: number };

/** Copies the history there is into the past until it holds so many records, or the time is over; what it holds then. */
export function addHistory(dataDir: string, records: number, deadlineMs: number): HistorySize {
  const untilMs = Date.now() + deadlineMs;
  return withDatabase(dataDir, "subscriptions", (db) => {
    const tables = HISTORY_TABLES.filter(({ table }) => hasTable(db, table) && countRows(db, table) > 0);
    const template = sizeOf(db, tables);
    if (template.records === 0) throw new Error("there is no history to copy");
    for (const { table } of tables) db.exec(`CREATE TEMP TABLE copy_of_${table} AS SELECT * FROM ${table}`);
    for (let copied = 0; template.records * (copied + 1) < records && Date.now() < untilMs; copied += COPIES_AT_ONCE) {
      db.exec("BEGIN");
      for (const { table } of tables) copyIntoPast(db, table, copied);
      db.exec("COMMIT");
    }
    return sizeOf(db, tables);
  });
}

function sizeOf(db: DatabaseSync, tables: readonly { readonly table: string; readonly records: string }[]): HistorySize {
  const sums = tables.map(({ table, records }) => db.prepare(`SELECT ${records} AS records, count(*) AS rows FROM ${table}`).get() ?? {});
  const sum = (name: "records" | "rows"): number => sums.reduce((total, counted) => total + Number(counted[name]), 0);
  return { records: sum("records"), rows: sum("rows") };
}

function copyIntoPast(db: DatabaseSync, table: string, alreadyCopied: number): void {
  const names = columnsOf(db, table);
  const values = names.map((name) => (/(^|_)time$/.test(name) ? `t.${name} - ${COPY_SPAN_MS} * (n.i + ${alreadyCopied})` : `t.${name}`));
  db.exec(
    `WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ${COPIES_AT_ONCE})
     INSERT INTO ${table} (${names.join(", ")}) SELECT ${values.join(", ")} FROM n, copy_of_${table} t`,
  );
}
