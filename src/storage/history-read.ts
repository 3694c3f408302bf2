import {
  ATTEMPT_COLUMNS, type AttemptEntry, DELIVERY_COLUMNS, type DeliveryEntry, deliveryEntry, type DeliveryRow,
  MESSAGE_COLUMNS, type MessageEntry, messageEntry, type MessageRow,
} from "./history-row.ts";

// The tables are not ANALYZEd, so SQLite guesses, and prefers a primary key: INDEXED BY says which index a list is
// made for. In a condition, `+column` keeps SQLite from seeking by it where the cursor's bound is the tighter one.

/** Of a delivery `d`: a target that is not an endpoint has no row to be gone. */
const TARGET_EXISTS = `(d.endpoint_id NOT GLOB 'ep_*'
  OR EXISTS (SELECT 1 FROM endpoints e WHERE e.id = d.endpoint_id AND e.tenant_id = d.tenant_id))`;

/** A stretch of time, `sinceMs` within and `untilMs` without. */
export type Period = { readonly sinceMs?: number | undefined; readonly untilMs?: number | undefined };

/** Where the page before ended: the sort key of its last row. */
export type MessagePosition = readonly [timeMs: number, stream: string, offset: number];
export type DeliveryPosition = readonly [messageTimeMs: number, stream: string, offset: number, target: string];
export type AttemptPosition = readonly [timeMs: number, id: string];

/**
 * The message of the tenant with this id. Of several, one of a topic comes before those of queues, for an event that
 * became a queue's message kept its id; then the newest counts. `topic` narrows.
 */
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
       ORDER BY instr(stream, '/topics/') > 0 DESC, time DESC, stream DESC, offset DESC LIMIT 1`,
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

/** Deliveries of all messages with this id, of the newest message first; `topic` narrows. */
export async function listDeliveries(
  db: D1Database,
  tenantId: string,
  of: { readonly messageId: string; readonly topic: string | undefined },
  page: { readonly after: DeliveryPosition | undefined; readonly limit: number },
): Promise<DeliveryEntry[]> {
  const message = new Conditions("m.tenant_id = ? AND m.id = ?", tenantId, of.messageId);
  if (of.topic !== undefined) message.add("m.topic = ?", of.topic);
  const target = new Conditions(
    "t.tenant_id = m.tenant_id AND t.message_time = m.time AND t.stream = m.stream AND t.offset = m.offset",
  );
  if (page.after !== undefined) {
    const [timeMs, stream, offset] = page.after;
    message.add("(m.time, m.stream, m.offset) <= (?, ?, ?)", timeMs, stream, offset);
    // x'' comes after every text: of an older message nothing was shown yet
    target.add("t.endpoint_id < iif((m.time, m.stream, m.offset) = (?, ?, ?), ?, x'')", ...page.after);
  }
  const { results } = await db
    .prepare(
      // the inner LIMIT keeps a page of a message with very many deliveries from reading, and sorting, all of them
      `SELECT ${DELIVERY_COLUMNS} FROM messages m INDEXED BY messages_by_id CROSS JOIN deliveries d
         ON d.tenant_id = m.tenant_id AND d.message_time = m.time AND d.stream = m.stream AND d.offset = m.offset
         AND d.endpoint_id IN (
           SELECT t.endpoint_id FROM deliveries t WHERE ${target.sql} ORDER BY t.endpoint_id DESC LIMIT ?)
       WHERE ${message.sql} ORDER BY m.time DESC, m.stream DESC, m.offset DESC, d.endpoint_id DESC LIMIT ?`,
    )
    .bind(...target.values, page.limit, ...message.values, page.limit)
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
       ORDER BY d.message_time DESC, d.stream DESC, d.offset DESC, d.endpoint_id DESC LIMIT ?`,
    )
    .bind(...where.values, page.limit)
    .all<DeliveryRow>();
  return results.map(deliveryEntry);
}

/** Which delivery, across streams. */
export type StreamDelivery = { readonly stream: string; readonly offset: number; readonly endpointId: string };

/** The streams that dead deliveries are of, at most `limit`. */
export async function deadStreams(db: D1Database, tenantId: string, filter: DeadFilter, limit: number): Promise<string[]> {
  const where = deadConditions(tenantId, filter, undefined);
  const { results } = await db
    .prepare(`SELECT DISTINCT d.stream FROM deliveries d INDEXED BY ${deadIndex(filter)} WHERE ${where.sql} LIMIT ?`)
    .bind(...where.values, limit)
    .all<{ stream: string }>();
  return results.map(({ stream }) => stream);
}

/**
 * Dead deliveries that can be opened again, of the oldest messages first: the bytes are still there, and the endpoint
 * where the target is one.
 *
 * @param earliest of streams whose oldest messages are gone, the first offset left
 */
export async function listReplayable(
  db: D1Database,
  tenantId: string,
  filter: DeadFilter,
  limit: number,
  earliest: ReadonlyMap<string, number> = new Map(),
): Promise<StreamDelivery[]> {
  const where = deadConditions(tenantId, filter, undefined);
  const { results } = await db
    .prepare(
      `SELECT d.stream, d.offset, d.endpoint_id AS endpointId FROM deliveries d INDEXED BY ${deadIndex(filter)}
       WHERE ${where.sql}
         AND d.offset >= coalesce(? ->> d.stream, 0)
         AND ${TARGET_EXISTS}
         AND NOT EXISTS (SELECT 1 FROM messages m WHERE m.tenant_id = d.tenant_id AND m.time = d.message_time
           AND m.stream = d.stream AND m.offset = d.offset AND m.expunged_at IS NOT NULL)
       ORDER BY d.message_time, d.stream, d.offset, d.endpoint_id LIMIT ?`,
    )
    .bind(...where.values, JSON.stringify(Object.fromEntries(earliest)), limit)
    .all<StreamDelivery>();
  return results;
}

/** The targets of a message's deliveries, without endpoints that are gone: at most `limit`, beginning after `after`. */
export async function listLivingTargets(
  db: D1Database,
  tenantId: string,
  message: Pick<MessageEntry, "timeMs" | "stream" | "offset">,
  page: { readonly after: string; readonly limit: number },
): Promise<string[]> {
  const { results } = await db
    .prepare(
      `SELECT d.endpoint_id AS target FROM deliveries d
       WHERE d.tenant_id = ? AND d.message_time = ? AND d.stream = ? AND d.offset = ? AND d.endpoint_id > ?
         AND ${TARGET_EXISTS}
       ORDER BY d.endpoint_id LIMIT ?`,
    )
    .bind(tenantId, message.timeMs, message.stream, message.offset, page.after, page.limit)
    .all<{ target: string }>();
  return results.map((row) => row.target);
}

/** Whether the message can go to this target: any endpoint of the tenant, or a target it has that is no endpoint. */
export async function canSendTo(
  db: D1Database,
  tenantId: string,
  message: Pick<MessageEntry, "timeMs" | "stream" | "offset">,
  target: string,
): Promise<boolean> {
  const row = await db
    .prepare(
      `SELECT 1 FROM endpoints WHERE id = ?1 AND tenant_id = ?2
       UNION ALL
       SELECT 1 FROM deliveries WHERE tenant_id = ?2 AND message_time = ?3 AND stream = ?4 AND offset = ?5
         AND endpoint_id = ?1 AND endpoint_id NOT GLOB 'ep_*'`,
    )
    .bind(target, tenantId, message.timeMs, message.stream, message.offset)
    .first();
  return row !== null;
}

/** All attempts of these deliveries, oldest first. */
export async function listAttemptsOf(
  db: D1Database,
  tenantId: string,
  deliveries: readonly DeliveryEntry[],
): Promise<AttemptEntry[]> {
  const keys = deliveries.flatMap((delivery) =>
    delivery.attemptKeys.map(({ timeMs, endpointId }) => {
      const target = endpointId === delivery.target ? null : delivery.target;
      return [endpointId, timeMs, delivery.stream, delivery.offset, target];
    }),
  );
  if (keys.length === 0) return [];
  const { results } = await db
    .prepare(
      `SELECT ${ATTEMPT_COLUMNS} FROM json_each(?1) k CROSS JOIN attempts a
         ON a.tenant_id = ?2 AND a.endpoint_id = k.value ->> 0 AND a.time = k.value ->> 1
         AND a.stream = k.value ->> 2 AND a.offset = k.value ->> 3 AND a.target IS k.value ->> 4
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
