import type { StoredEvent } from "../operator-events/event.ts";
import type { HistoryBatch } from "../streams/history-records.ts";
import { parseStreamName } from "../streams/ref.ts";
import { PACK_SPAN_MS } from "./message-pack.ts";
import { insertOperatorEvents } from "./operator-events.ts";
import { rememberStream } from "./streams.ts";

/**
 * A bound value of D1 holds at most 2 MB; this many UTF-16 units are at most 1.8 MB of UTF-8, whatever they are. A
 * transaction is about as large.
 */
const MAX_PARAMETER_UNITS = 600_000;
/** D1 binds 100 values to a statement. */
const MESSAGE_PACKS_PER_STATEMENT = 16;
const ATTEMPT_PACKS_PER_STATEMENT = 10;
/** What an event is beside its body and attributes. */
const EVENT_UNITS = 300;

// `WHERE true` is needed: without it SQLite reads the ON of ON CONFLICT as a join's. A record that does not supersede
// what is there changes nothing but the attempts it knows of: a batch that is repeated must not undo a later one.
const SUPERSEDES = "(excluded.updated_at >= updated_at OR (status = 'open' AND excluded.status <> 'open'))";
const UPSERT_DELIVERIES = `
  INSERT INTO deliveries (tenant_id, stream, topic, message_time, offset, endpoint_id, message_id, status, reason,
    next_attempt_at, updated_at, attempt_times)
  SELECT ?2, ?3, ?4, value ->> 0, value ->> 1, value ->> 2, value ->> 3, value ->> 4, value ->> 5, value ->> 6,
    value ->> 7, value -> 8
  FROM json_each(?1) WHERE true
  ON CONFLICT DO UPDATE SET
    status = iif(${SUPERSEDES}, excluded.status, status),
    reason = iif(${SUPERSEDES}, excluded.reason, reason),
    next_attempt_at = iif(${SUPERSEDES}, excluded.next_attempt_at, next_attempt_at),
    updated_at = max(excluded.updated_at, updated_at),
    attempt_times = (SELECT json_group_array(value) FROM (
      SELECT value FROM json_each(deliveries.attempt_times)
      UNION SELECT value FROM json_each(excluded.attempt_times) ORDER BY 1))`;

const INSERT_IDS = `
  INSERT INTO message_ids (tenant_id, stream, id, time, offset)
  SELECT ?2, ?3, value ->> 0, value ->> 1, value ->> 2 FROM json_each(?1) WHERE true
  ON CONFLICT DO NOTHING`;

/** A statement, and how much it binds. */
type Sized = { readonly statement: D1PreparedStatement; readonly units: number };

/**
 * Writes what a stream reports, as one transaction for each megabyte or so. Idempotent by key, so a batch whose write was
 * cut off is simply written again. What is open comes before the messages it is of, for a message alone says that it was
 * delivered. Rejects with D1's error.
 * @param events what operators are to be told of it
 */
export async function writeHistory(db: D1Database, batch: HistoryBatch, events: readonly StoredEvent[] = []): Promise<void> {
  const statements = [
    ...eventStatements(db, events),
    ...deliveryStatements(db, batch),
    ...idStatements(db, batch),
    ...messageStatements(db, batch),
    ...attemptStatements(db, batch),
  ];
  // A stream is known from its first message on.
  if (batch.beganAtMs !== null) statements.unshift({ statement: rememberStream(db, parseStreamName(batch.stream), batch.beganAtMs), units: 0 });
  for (const part of partsOf(statements, ({ units }) => units)) await db.batch(part.map(({ statement }) => statement));
}

function eventStatements(db: D1Database, events: readonly StoredEvent[]): Sized[] {
  const unitsOf = ({ body, attributes }: StoredEvent): number => body.length + JSON.stringify(attributes).length + EVENT_UNITS;
  return partsOf(events, unitsOf).map((part) => ({
    statement: insertOperatorEvents(db, part),
    units: part.reduce((units, event) => units + unitsOf(event), 0),
  }));
}

function deliveryStatements(db: D1Database, { tenantId, stream, topic, deliveries }: HistoryBatch): Sized[] {
  const rows = deliveries.map((record) =>
    JSON.stringify([
      record.messageTimeMs,
      record.offset,
      record.endpointId,
      record.messageId,
      record.status,
      record.reason?.toWellFormed() ?? null,
      record.nextAttemptAtMs,
      record.updatedAtMs,
      record.attemptKeys,
    ]),
  );
  return jsonArrays(rows).map((json) => ({ statement: db.prepare(UPSERT_DELIVERIES).bind(json, tenantId, stream, topic), units: json.length }));
}

function idStatements(db: D1Database, { tenantId, stream, ids }: HistoryBatch): Sized[] {
  const rows = ids.map(({ id, timeMs, offset }) => JSON.stringify([id, timeMs, offset]));
  return jsonArrays(rows).map((json) => ({ statement: db.prepare(INSERT_IDS).bind(json, tenantId, stream), units: json.length }));
}

/** The packs, a few a statement, so that their JSON is bound as it is. */
function messageStatements(db: D1Database, batch: HistoryBatch): Sized[] {
  const { tenantId, stream, topic, messages } = batch;
  const statements = inGroups(messages, MESSAGE_PACKS_PER_STATEMENT).map((packs) => ({
    statement: db
      .prepare(
        `INSERT INTO message_packs (tenant_id, stream, topic, time, first_offset, first_time, count, indexed_ids, messages)
         VALUES ${tuples(packs.length, 6)} ON CONFLICT DO NOTHING`,
      )
      .bind(
        tenantId, stream, topic,
        ...packs.flatMap((pack) => [pack.timeMs, pack.firstOffset, pack.firstTimeMs, pack.count, pack.indexedIds, pack.json]),
      ),
    units: packs.reduce((units, { json }) => units + json.length, 0),
  }));
  const replacing = batch.replaces ? deleteReplaced(db, batch) : null;
  return replacing === null ? statements : [{ statement: replacing, units: 0 }, ...statements];
}

/** What a process before this one may have written of the same messages; none of its packs begins before them. */
function deleteReplaced(db: D1Database, { tenantId, stream, topic, messages }: HistoryBatch): D1PreparedStatement | null {
  const first = messages[0];
  const last = messages.at(-1);
  if (first === undefined || last === undefined) return null;
  return db
    .prepare(
      `DELETE FROM message_packs WHERE tenant_id = ? AND topic = ? AND time >= ? AND time <= ?
         AND stream = ? AND first_offset >= ? AND first_offset < ?`,
    )
    .bind(tenantId, topic, first.firstTimeMs, last.timeMs + PACK_SPAN_MS, stream, first.firstOffset, last.firstOffset + last.count);
}

function attemptStatements(db: D1Database, { tenantId, stream, topic, attempts }: HistoryBatch): Sized[] {
  return inGroups(attempts, ATTEMPT_PACKS_PER_STATEMENT).map((packs) => ({
    statement: db
      .prepare(
        `INSERT INTO attempt_packs (tenant_id, stream, topic, endpoint_id, time, number, first_offset, last_offset, count, failed,
           durations, attempts)
         VALUES ${tuples(packs.length, 9)} ON CONFLICT DO NOTHING`,
      )
      .bind(
        tenantId, stream, topic,
        ...packs.flatMap((pack) => [
          pack.endpointId, pack.timeMs, pack.number, pack.firstOffset, pack.lastOffset, pack.count, pack.failed, pack.durationsJson, pack.json,
        ]),
      ),
    units: packs.reduce((units, { json }) => units + json.length, 0),
  }));
}

/** `(?1, ?2, ?3, ?4, …)` for each row: tenant, stream and topic are the same in all. */
function tuples(rows: number, ownValues: number): string {
  return Array.from({ length: rows }, (_, row) => {
    const own = Array.from({ length: ownValues }, (_one, index) => `?${4 + row * ownValues + index}`);
    return `(?1, ?2, ?3, ${own.join(", ")})`;
  }).join(", ");
}

function inGroups<Item>(items: readonly Item[], size: number): Item[][] {
  return Array.from({ length: Math.ceil(items.length / size) }, (_, index) => items.slice(index * size, (index + 1) * size));
}

/** Joins rows to JSON arrays that each fit one bound value. */
function jsonArrays(rows: readonly string[]): string[] {
  return partsOf(rows, (row) => row.length + 1).map((part) => `[${part.join(",")}]`);
}

/** Cuts a list where its parts would become too large. */
function partsOf<Item>(items: readonly Item[], unitsOf: (item: Item) => number): Item[][] {
  const parts: Item[][] = [];
  let current: Item[] = [];
  let units = 0;
  for (const item of items) {
    if (current.length > 0 && units + unitsOf(item) > MAX_PARAMETER_UNITS) {
      parts.push(current);
      current = [];
      units = 0;
    }
    current.push(item);
    units += unitsOf(item);
  }
  if (current.length > 0) parts.push(current);
  return parts;
}
