import type { Attributes, EventContext } from "../messages/message.ts";
import type { DeliveryStatus } from "../streams/history-records.ts";

// The tables are not ANALYZEd, so SQLite guesses, and prefers a primary key: INDEXED BY says which index a list is
// made for. In a condition, `+column` keeps SQLite from seeking by it where the cursor's bound is the tighter one.

/** A message of history, without its bytes. */
export type MessageEntry = {
  readonly id: string;
  /** `tenant/kind/name` */
  readonly stream: string;
  readonly topic: string;
  readonly offset: number;
  readonly timeMs: number;
  readonly contentType: string;
  readonly size: number;
  readonly attributes: Attributes;
  readonly event: EventContext | null;
  readonly matched: number;
  readonly expungedAtMs: number | null;
};

export type DeliveryEntry = {
  readonly stream: string;
  readonly offset: number;
  readonly endpointId: string;
  readonly messageId: string;
  readonly messageTimeMs: number;
  readonly topic: string;
  readonly status: DeliveryStatus;
  readonly reason: string | null;
  readonly nextAttemptAtMs: number | null;
  readonly updatedAtMs: number;
  /** Start times, ms, oldest first. */
  readonly attemptTimesMs: readonly number[];
};

export type AttemptEntry = {
  readonly id: string;
  readonly stream: string;
  readonly offset: number;
  readonly endpointId: string;
  readonly messageId: string;
  readonly topic: string;
  readonly timeMs: number;
  readonly durationMs: number;
  readonly statusCode: number | null;
  /** `code: detail`; null after a success. */
  readonly error: string | null;
  readonly responseBody: string;
};

/** A stretch of time, `sinceMs` within and `untilMs` without. */
export type Period = { readonly sinceMs?: number | undefined; readonly untilMs?: number | undefined };

/** Where the page before ended: the sort key of its last row. */
export type MessagePosition = readonly [timeMs: number, stream: string, offset: number];
export type DeliveryPosition = readonly [messageTimeMs: number, stream: string, offset: number, endpointId: string];
export type AttemptPosition = readonly [timeMs: number, id: string];

type MessageRow = {
  id: string; stream: string; topic: string; offset: number; time: number; content_type: string; size: number;
  attributes: string; event: string | null; matched: number; expunged_at: number | null;
};
type DeliveryRow = {
  stream: string; offset: number; endpoint_id: string; message_id: string; message_time: number; topic: string;
  status: DeliveryStatus; reason: string | null; next_attempt_at: number | null; updated_at: number; attempt_times: string;
};

const MESSAGE_COLUMNS =
  "id, stream, topic, offset, time, content_type, size, attributes, event, matched, expunged_at";
const DELIVERY_COLUMNS =
  "stream, offset, endpoint_id, message_id, message_time, topic, status, reason, next_attempt_at, updated_at, attempt_times";
const ATTEMPT_COLUMNS = `a.id, a.stream, a.offset, a.endpoint_id AS endpointId, a.message_id AS messageId, a.topic,
  a.time AS timeMs, a.duration_ms AS durationMs, a.status_code AS statusCode, a.error, a.response_body AS responseBody`;

/** The newest message of the tenant with this id, which several topics may have; `topic` narrows. */
export async function findMessage(
  db: D1Database,
  tenantId: string,
  id: string,
  topic: string | undefined,
): Promise<MessageEntry | null> {
  const row = await db
    .prepare(
      `SELECT ${MESSAGE_COLUMNS} FROM messages INDEXED BY messages_by_id
       WHERE tenant_id = ?1 AND id = ?2 AND (?3 IS NULL OR topic = ?3)
       ORDER BY time DESC, stream DESC, offset DESC LIMIT 1`,
    )
    .bind(tenantId, id, topic ?? null)
    .first<MessageRow>();
  return row === null ? null : messageEntry(row);
}

/** Messages of the tenant, newest first, after the position `after`. */
export async function listMessages(
  db: D1Database,
  tenantId: string,
  filter: Period & { readonly topic?: string | undefined },
  page: { readonly after: MessagePosition | undefined; readonly limit: number },
): Promise<MessageEntry[]> {
  const where = new Conditions("tenant_id = ?", tenantId);
  if (filter.topic !== undefined) where.add("topic = ?", filter.topic);
  if (filter.sinceMs !== undefined) where.add("time >= ?", filter.sinceMs);
  if (filter.untilMs !== undefined) where.add(page.after === undefined ? "time < ?" : "+time < ?", filter.untilMs);
  if (page.after !== undefined) where.add("(time, stream, offset) < (?, ?, ?)", ...page.after);
  const { results } = await db
    .prepare(
      `SELECT ${MESSAGE_COLUMNS} FROM messages ${filter.topic === undefined ? "" : "INDEXED BY messages_by_topic"}
       WHERE ${where.sql} ORDER BY time DESC, stream DESC, offset DESC LIMIT ?`,
    )
    .bind(...where.values, page.limit)
    .all<MessageRow>();
  return results.map(messageEntry);
}

/** Deliveries of one message, of the newest endpoint first. */
export async function listDeliveries(
  db: D1Database,
  tenantId: string,
  message: Pick<MessageEntry, "timeMs" | "stream" | "offset">,
  page: { readonly afterEndpointId: string | undefined; readonly limit: number },
): Promise<DeliveryEntry[]> {
  const where = new Conditions(
    "tenant_id = ? AND message_time = ? AND stream = ? AND offset = ?",
    tenantId, message.timeMs, message.stream, message.offset,
  );
  if (page.afterEndpointId !== undefined) where.add("endpoint_id < ?", page.afterEndpointId);
  const { results } = await db
    .prepare(`SELECT ${DELIVERY_COLUMNS} FROM deliveries WHERE ${where.sql} ORDER BY endpoint_id DESC LIMIT ?`)
    .bind(...where.values, page.limit)
    .all<DeliveryRow>();
  return results.map(deliveryEntry);
}

export type DeadFilter = Period & { readonly endpointId?: string | undefined; readonly topic?: string | undefined };

/** Dead deliveries of the tenant, those of the newest messages first; the period is that of the messages. */
export async function listDead(
  db: D1Database,
  tenantId: string,
  filter: DeadFilter,
  page: { readonly after: DeliveryPosition | undefined; readonly limit: number },
): Promise<DeliveryEntry[]> {
  const where = deadConditions(tenantId, filter, page.after);
  const { results } = await db
    .prepare(
      `SELECT ${DELIVERY_COLUMNS} FROM deliveries d INDEXED BY ${deadIndex(filter)} WHERE ${where.sql}
       ORDER BY message_time DESC, stream DESC, offset DESC, endpoint_id DESC LIMIT ?`,
    )
    .bind(...where.values, page.limit)
    .all<DeliveryRow>();
  return results.map(deliveryEntry);
}

/** Which delivery, across streams. */
export type StreamDelivery = { readonly stream: string; readonly offset: number; readonly endpointId: string };

/** Dead deliveries that can be opened again, of the oldest messages first: endpoint and bytes are still there. */
export async function listReplayable(
  db: D1Database,
  tenantId: string,
  filter: DeadFilter,
  limit: number,
): Promise<StreamDelivery[]> {
  const where = deadConditions(tenantId, filter, undefined);
  const { results } = await db
    .prepare(
      `SELECT d.stream, d.offset, d.endpoint_id AS endpointId FROM deliveries d INDEXED BY ${deadIndex(filter)}
       WHERE ${where.sql}
         AND EXISTS (SELECT 1 FROM endpoints e WHERE e.id = d.endpoint_id AND e.tenant_id = d.tenant_id)
         AND NOT EXISTS (SELECT 1 FROM messages m WHERE m.tenant_id = d.tenant_id AND m.time = d.message_time
           AND m.stream = d.stream AND m.offset = d.offset AND m.expunged_at IS NOT NULL)
       ORDER BY d.message_time, d.stream, d.offset, d.endpoint_id LIMIT ?`,
    )
    .bind(...where.values, limit)
    .all<StreamDelivery>();
  return results;
}

/** Ids of the endpoints a message has deliveries to and that still exist, at most `limit`, beginning after `afterId`. */
export async function listLivingRecipients(
  db: D1Database,
  tenantId: string,
  message: Pick<MessageEntry, "timeMs" | "stream" | "offset">,
  page: { readonly afterId: string; readonly limit: number },
): Promise<string[]> {
  const { results } = await db
    .prepare(
      `SELECT d.endpoint_id AS id FROM deliveries d CROSS JOIN endpoints e ON e.id = d.endpoint_id AND e.tenant_id = d.tenant_id
       WHERE d.tenant_id = ? AND d.message_time = ? AND d.stream = ? AND d.offset = ? AND d.endpoint_id > ?
       ORDER BY d.endpoint_id LIMIT ?`,
    )
    .bind(tenantId, message.timeMs, message.stream, message.offset, page.afterId, page.limit)
    .all<{ id: string }>();
  return results.map((row) => row.id);
}

/** All attempts of these deliveries, oldest first. */
export async function listAttemptsOf(
  db: D1Database,
  tenantId: string,
  deliveries: readonly DeliveryEntry[],
): Promise<AttemptEntry[]> {
  const keys = deliveries.flatMap((delivery) =>
    delivery.attemptTimesMs.map((timeMs) => [delivery.endpointId, timeMs, delivery.stream, delivery.offset]),
  );
  if (keys.length === 0) return [];
  const { results } = await db
    .prepare(
      `SELECT ${ATTEMPT_COLUMNS} FROM json_each(?1) k CROSS JOIN attempts a
         ON a.tenant_id = ?2 AND a.endpoint_id = k.value ->> 0 AND a.time = k.value ->> 1
         AND a.stream = k.value ->> 2 AND a.offset = k.value ->> 3
       ORDER BY a.time, a.id`,
    )
    .bind(JSON.stringify(keys), tenantId)
    .all<AttemptEntry>();
  return results;
}

export type AttemptFilter = Period & {
  readonly outcome?: "succeeded" | "failed" | undefined;
  readonly topic?: string | undefined;
};

/** Attempts at one endpoint, newest first. */
export async function listAttempts(
  db: D1Database,
  tenantId: string,
  endpointId: string,
  filter: AttemptFilter,
  page: { readonly after: AttemptPosition | undefined; readonly limit: number },
): Promise<AttemptEntry[]> {
  const where = new Conditions("a.tenant_id = ? AND a.endpoint_id = ?", tenantId, endpointId);
  if (filter.outcome !== undefined) where.add(`a.error IS ${filter.outcome === "failed" ? "NOT NULL" : "NULL"}`);
  if (filter.topic !== undefined) where.add("a.topic = ?", filter.topic);
  if (filter.sinceMs !== undefined) where.add("a.time >= ?", filter.sinceMs);
  if (filter.untilMs !== undefined) where.add(page.after === undefined ? "a.time < ?" : "+a.time < ?", filter.untilMs);
  if (page.after !== undefined) where.add("(a.time, a.id) < (?, ?)", ...page.after);
  const { results } = await db
    .prepare(
      `SELECT ${ATTEMPT_COLUMNS} FROM attempts a ${filter.outcome === "failed" ? "INDEXED BY attempts_failed" : ""}
       WHERE ${where.sql} ORDER BY a.time DESC, a.id DESC LIMIT ?`,
    )
    .bind(...where.values, page.limit)
    .all<AttemptEntry>();
  return results;
}

/** The streams with open deliveries to an endpoint: those that have to hear of its resumption. */
export async function openStreamsOfEndpoint(db: D1Database, tenantId: string, endpointId: string): Promise<string[]> {
  const { results } = await db
    .prepare(
      `SELECT DISTINCT stream FROM deliveries INDEXED BY deliveries_unfinished
       WHERE tenant_id = ? AND endpoint_id = ? AND status = 'open'`,
    )
    .bind(tenantId, endpointId)
    .all<{ stream: string }>();
  return results.map((row) => row.stream);
}

export async function endpointExists(db: D1Database, tenantId: string, endpointId: string): Promise<boolean> {
  const row = await db.prepare("SELECT 1 FROM endpoints WHERE id = ? AND tenant_id = ?").bind(endpointId, tenantId).first();
  return row !== null;
}

/** Records that the bytes of a message are gone; part of a batch. */
export function markExpunged(
  db: D1Database,
  tenantId: string,
  message: Pick<MessageEntry, "timeMs" | "stream" | "offset">,
  nowMs: number,
): D1PreparedStatement {
  return db
    .prepare(
      `UPDATE messages SET expunged_at = ?
       WHERE tenant_id = ? AND time = ? AND stream = ? AND offset = ? AND expunged_at IS NULL`,
    )
    .bind(nowMs, tenantId, message.timeMs, message.stream, message.offset);
}

/** Conditions joined by AND, with the values they bind, in order. */
class Conditions {
  sql: string;
  readonly values: (string | number)[];

  constructor(sql: string, ...values: readonly (string | number)[]) {
    this.sql = sql;
    this.values = [...values];
  }

  add(sql: string, ...values: readonly (string | number)[]): void {
    this.sql += ` AND ${sql}`;
    this.values.push(...values);
  }
}

function deadIndex(filter: DeadFilter): string {
  return filter.endpointId === undefined ? "deliveries_dead" : "deliveries_unfinished";
}

function deadConditions(tenantId: string, filter: DeadFilter, after: DeliveryPosition | undefined): Conditions {
  const where = new Conditions("d.tenant_id = ? AND d.status = 'dead'", tenantId);
  if (filter.endpointId !== undefined) where.add("d.endpoint_id = ?", filter.endpointId);
  if (filter.topic !== undefined) where.add("d.topic = ?", filter.topic);
  if (filter.sinceMs !== undefined) where.add("d.message_time >= ?", filter.sinceMs);
  if (filter.untilMs !== undefined) {
    where.add(after === undefined ? "d.message_time < ?" : "+d.message_time < ?", filter.untilMs);
  }
  if (after !== undefined) where.add("(d.message_time, d.stream, d.offset, d.endpoint_id) < (?, ?, ?, ?)", ...after);
  return where;
}

function messageEntry({ time, content_type, expunged_at, attributes, event, ...row }: MessageRow): MessageEntry {
  return {
    ...row,
    timeMs: time,
    contentType: content_type,
    attributes: JSON.parse(attributes),
    event: event === null ? null : JSON.parse(event),
    expungedAtMs: expunged_at,
  };
}

function deliveryEntry(row: DeliveryRow): DeliveryEntry {
  return {
    stream: row.stream,
    offset: row.offset,
    endpointId: row.endpoint_id,
    messageId: row.message_id,
    messageTimeMs: row.message_time,
    topic: row.topic,
    status: row.status,
    reason: row.reason,
    nextAttemptAtMs: row.next_attempt_at,
    updatedAtMs: row.updated_at,
    attemptTimesMs: JSON.parse(row.attempt_times),
  };
}
