import {
  type HistoryAttempt, type HistoryBatch, type HistoryDelivery, type HistoryMessage, supersedes,
} from "../streams/history-records.ts";
import { parseStreamName } from "../streams/ref.ts";
import type { StoredEvent } from "../operator-events/event.ts";
import { insertOperatorEvents } from "./operator-events.ts";
import { rememberStream } from "./streams.ts";

/**
 * A bound value of D1 holds at most 2 MB; this many UTF-16 units are at most 1.8 MB of UTF-8, whatever they are.
 */
const MAX_PARAMETER_UNITS = 600_000;

// `WHERE true` is needed: without it SQLite reads the ON of ON CONFLICT as a join's.
const INSERT_MESSAGES = `
  INSERT INTO messages (tenant_id, stream, topic, time, offset, id, content_type, size, attributes, event, matched)
  SELECT ?2, ?3, ?4, value ->> 0, value ->> 1, value ->> 2, value ->> 3, value ->> 4, value ->> 5, value ->> 6, value ->> 7
  FROM json_each(?1) WHERE true
  ON CONFLICT DO NOTHING`;

// A record that does not supersede what is there changes nothing but the attempts it knows of: a batch that is repeated
// must not undo a later one.
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

const INSERT_ATTEMPTS = `
  INSERT INTO attempts (tenant_id, stream, topic, endpoint_id, time, id, offset, message_id, duration_ms, status_code,
    error, response_body, target)
  SELECT ?2, ?3, ?4, value ->> 0, value ->> 1, value ->> 2, value ->> 3, value ->> 4, value ->> 5, value ->> 6,
    value ->> 7, value ->> 8, value ->> 9
  FROM json_each(?1) WHERE true
  ON CONFLICT DO NOTHING`;

/**
 * Writes what a stream reports: one statement a table for each megabyte or so, the tables of one part as one
 * transaction. Idempotent by key, so a batch whose write was cut off is simply written again. Rejects with D1's error.
 * `events` is what operators are to be told of it.
 */
export async function writeHistory(db: D1Database, batch: HistoryBatch, events: readonly StoredEvent[] = []): Promise<void> {
  const tables = [
    { sql: INSERT_MESSAGES, parts: parts(batch.messages.map(messageRow)) },
    { sql: INSERT_ATTEMPTS, parts: parts(batch.attempts.map(attemptRow)) },
    { sql: UPSERT_DELIVERIES, parts: parts(deliveryRows(batch)) },
  ];
  const first = batch.messages.find(({ offset }) => offset === 0);
  const rounds = Math.max(...tables.map((table) => table.parts.length));
  for (let round = 0; round < rounds; round++) {
    const statements = tables.flatMap(({ sql, parts }) => {
      const rows = parts[round];
      return rows === undefined ? [] : [db.prepare(sql).bind(rows, batch.tenantId, batch.stream, batch.topic)];
    });
    // A stream is known from its first message on.
    if (round === 0 && first !== undefined) statements.push(rememberStream(db, parseStreamName(batch.stream), first.timeMs));
    if (round === 0 && events.length > 0) statements.push(insertOperatorEvents(db, events));
    await db.batch(statements);
  }
}

/** Joins rows to JSON arrays that each fit one bound value. */
function parts(rows: readonly string[]): readonly string[] {
  const result: string[] = [];
  let current: string[] = [];
  let units = 0;
  for (const row of rows) {
    if (current.length > 0 && units + row.length > MAX_PARAMETER_UNITS) {
      result.push(`[${current.join(",")}]`);
      current = [];
      units = 0;
    }
    current.push(row);
    units += row.length + 1;
  }
  if (current.length > 0) result.push(`[${current.join(",")}]`);
  return result;
}

function messageRow(message: HistoryMessage): string {
  return JSON.stringify([
    message.timeMs,
    message.offset,
    message.id,
    message.contentType,
    message.size,
    JSON.stringify(message.attributes),
    message.event === undefined ? null : JSON.stringify(message.event),
    message.matched,
  ]);
}

/** One row a delivery: its newest record, and the keys of all its attempts in the batch. */
function deliveryRows(batch: HistoryBatch): string[] {
  const newest = new Map<string, { record: HistoryDelivery; attemptTimes: (number | string)[] }>();
  for (const record of batch.deliveries) {
    const seen = newest.get(refKey(record));
    if (seen === undefined) newest.set(refKey(record), { record, attemptTimes: [] });
    else if (supersedes(record, seen.record)) seen.record = record;
  }
  for (const attempt of batch.attempts) {
    // one without is listed at its endpoint all the same: history that is not whole is better than none
    newest.get(refKey(attempt))?.attemptTimes.push(attemptKey(attempt));
  }
  return Array.from(newest.values(), ({ record, attemptTimes }) =>
    JSON.stringify([
      record.messageTimeMs,
      record.offset,
      record.endpointId,
      record.messageId,
      record.status,
      record.reason?.toWellFormed() ?? null,
      record.nextAttemptAtMs,
      record.updatedAtMs,
      attemptTimes,
    ]),
  );
}

function refKey(ref: { readonly offset: number; readonly endpointId: string }): string {
  return `${ref.offset} ${ref.endpointId}`;
}

/** How a delivery names an attempt; `deliveryEntry` reads it. */
function attemptKey({ endpointId: target, by = target, record }: HistoryAttempt): number | string {
  return by === target ? record.startedAtMs : `${record.startedAtMs} ${by}`;
}

function attemptRow({ endpointId: target, by = target, record, ...attempt }: HistoryAttempt): string {
  return JSON.stringify([
    by,
    record.startedAtMs,
    record.id,
    attempt.offset,
    attempt.messageId,
    Math.round(record.durationMs),
    record.statusCode,
    record.error === null ? null : `${record.error.code}: ${record.error.detail}`.toWellFormed(),
    record.responseBody.toWellFormed(),
    by === target ? null : target,
  ]);
}
