import { Conditions } from "./conditions.ts";
import { messagesWithId, type Period, positionOf } from "./history-messages.ts";
import {
  type DeliveredMessage, deliveredEntry, DELIVERY_COLUMNS, type DeliveryEntry, deliveryEntry, type DeliveryRow, isEndpoint, type MessageEntry,
} from "./history-row.ts";
import { descending } from "./newest-items.ts";

// The tables are not ANALYZEd, so SQLite guesses, and prefers a primary key: INDEXED BY says which index a list is
// made for. In a condition, `+column` keeps SQLite from seeking by it where the cursor's bound is the tighter one.

/** Of a delivery `d`: a target that is not an endpoint has no row to be gone. */
const TARGET_EXISTS = `(d.endpoint_id NOT GLOB 'ep_*'
  OR EXISTS (SELECT 1 FROM endpoints e WHERE e.id = d.endpoint_id AND e.tenant_id = d.tenant_id))`;

/** Where the page before ended: the sort key of its last row. */
export type DeliveryPosition = readonly [messageTimeMs: number, stream: string, offset: number, target: string];

/** Deliveries of all messages with this id, of the newest message first; `topic` narrows. */
export async function listDeliveries(
  db: D1Database,
  tenantId: string,
  of: { readonly messageId: string; readonly topic: string | undefined },
  page: { readonly after: DeliveryPosition | undefined; readonly limit: number },
): Promise<DeliveryEntry[]> {
  const { after, limit } = page;
  const found: DeliveryEntry[] = [];
  const from = after === undefined ? undefined : ([after[0], after[1], after[2]] as const);
  for await (const messages of messagesWithId(db, tenantId, { id: of.messageId, topic: of.topic }, from)) {
    const listed = messages.map((message) => ({
      message,
      // of an older message than the one the page before ended with nothing was shown yet
      before: after !== undefined && descending(positionOf(message), after.slice(0, 3)) === 0 ? after[3] : null,
    }));
    for (const deliveries of await deliveriesOf(db, tenantId, listed, limit)) found.push(...deliveries);
    if (found.length >= limit) break;
  }
  return found.slice(0, limit);
}

/** For each message its deliveries by target, the last in the alphabet first, at most `limit`; `before` without it. */
export async function deliveriesOf(
  db: D1Database,
  tenantId: string,
  messages: readonly { readonly message: DeliveredMessage; readonly before: string | null }[],
  limit: number,
): Promise<DeliveryEntry[][]> {
  if (messages.length === 0) return [];
  const results = await db.batch<DeliveryRow>(
    messages.map(({ message: { timeMs, stream, offset }, before }) =>
      db
        .prepare(
          `SELECT ${DELIVERY_COLUMNS} FROM deliveries d
           WHERE d.tenant_id = ? AND d.message_time = ? AND d.stream = ? AND d.offset = ? ${before === null ? "" : "AND d.endpoint_id < ?"}
           ORDER BY d.endpoint_id DESC LIMIT ?`,
        )
        .bind(tenantId, timeMs, stream, offset, ...(before === null ? [] : [before]), limit),
    ),
  );
  return messages.map(({ message, before }, index) => {
    const rows = (results[index]?.results ?? []).map((row) => deliveryEntry(row, message.takers));
    const known = new Set(rows.map(({ target }) => target));
    const others = message.targets.filter((target) => !known.has(target) && (before === null || target < before));
    return [...rows, ...others.map((target) => deliveredEntry(message, target))]
      .sort((left, right) => descending([left.target], [right.target]))
      .slice(0, limit);
  });
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
  return results.map((row) => deliveryEntry(row));
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
         AND NOT EXISTS (SELECT 1 FROM history_expunged x WHERE x.tenant_id = d.tenant_id AND x.time = d.message_time
           AND x.stream = d.stream AND x.offset = d.offset)
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
  message: MessageRef & Pick<MessageEntry, "targets">,
  page: { readonly after: string; readonly limit: number },
): Promise<string[]> {
  const { results } = await db
    .prepare(
      `SELECT d.endpoint_id AS target FROM (
         SELECT ?1 AS tenant_id, value AS endpoint_id FROM json_each(?2) WHERE value > ?3
         UNION
         SELECT tenant_id, endpoint_id FROM deliveries
         WHERE tenant_id = ?1 AND message_time = ?4 AND stream = ?5 AND offset = ?6 AND endpoint_id > ?3) d
       WHERE ${TARGET_EXISTS} ORDER BY d.endpoint_id LIMIT ?7`,
    )
    .bind(tenantId, JSON.stringify(message.targets), page.after, message.timeMs, message.stream, message.offset, page.limit)
    .all<{ target: string }>();
  return results.map((row) => row.target);
}

/** Whether the message can go to this target: any endpoint of the tenant, or a target it has that is no endpoint. */
export async function canSendTo(
  db: D1Database,
  tenantId: string,
  message: MessageRef & Pick<MessageEntry, "targets">,
  target: string,
): Promise<boolean> {
  if (!isEndpoint(target) && message.targets.includes(target)) return true;
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

type MessageRef = Pick<MessageEntry, "timeMs" | "stream" | "offset">;

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
