import { z } from "zod";
import { deliveryEntry, DELIVERY_COLUMNS, type DeliveryRow, MESSAGE_COLUMNS, type MessageEntry, messageEntry, type MessageRow } from "./history-row.ts";

/** A message in one stream: an event, or what it became in a queue. */
export type MessageRef = { readonly id: string; readonly stream: string; readonly offset: number; readonly timeMs: number };

/** An endpoint that may have the message in its mailbox. */
export type BoxOwner = { readonly id: string; readonly ordered: boolean };

const ROWS_PER_QUERY = 500;

/** Notes that nobody is to be given the content any more; part of a batch. */
export function rememberExpunged(db: D1Database, tenantId: string, { id, stream, offset }: MessageRef, nowMs: number): D1PreparedStatement {
  return db
    .prepare(
      `INSERT INTO expunged_messages (tenant_id, message_id, stream, offset, expunged_at)
       SELECT id, ?2, ?3, ?4, ?5 FROM tenants WHERE id = ?1 ON CONFLICT DO NOTHING`,
    )
    .bind(tenantId, id, stream, offset, nowMs);
}

/** Whether the tenant has expunged anything that a mailbox may still have. */
export async function hasExpunged(db: D1Database, tenantId: string): Promise<boolean> {
  return (await db.prepare("SELECT 1 FROM expunged_messages WHERE tenant_id = ? LIMIT 1").bind(tenantId).first()) !== null;
}

/** Those of the messages that were expunged, as `<id> <offset>`. */
export async function findExpunged(db: D1Database, tenantId: string, ids: readonly string[]): Promise<ReadonlySet<string>> {
  const { results } = await db
    .prepare("SELECT message_id AS id, offset FROM expunged_messages WHERE tenant_id = ? AND message_id IN (SELECT value FROM json_each(?))")
    .bind(tenantId, JSON.stringify(ids))
    .all();
  return new Set(results.map((row) => z.object({ id: z.string(), offset: z.number() }).parse(row)).map(({ id, offset }) => `${id} ${offset}`));
}

/** Removes what was expunged before; returns how many. */
export async function pruneExpunged(db: D1Database, olderThanMs: number): Promise<number> {
  const { results } = await db.prepare("DELETE FROM expunged_messages WHERE expunged_at < ? RETURNING 1").bind(olderThanMs).all();
  return results.length;
}

/** What an event has become in the queues that are bound to its topic, as far as history knows: one in each. */
export async function findCopies(db: D1Database, tenantId: string, message: MessageRef): Promise<MessageEntry[]> {
  const { results } = await db
    .prepare(
      `SELECT ${MESSAGE_COLUMNS} FROM messages m INDEXED BY messages_by_id
       WHERE m.tenant_id = ?1 AND m.id = ?2 AND m.time >= ?3 AND m.stream IN (
         SELECT ?1 || '/queues/' || substr(d.endpoint_id, 7) FROM deliveries d
         WHERE d.tenant_id = ?1 AND d.message_time = ?3 AND d.stream = ?4 AND d.offset = ?5 AND d.endpoint_id GLOB 'queue:*')
       ORDER BY m.time`,
    )
    .bind(tenantId, message.id, message.timeMs, message.stream, message.offset)
    .all<MessageRow>();
  const copies = new Map<string, MessageEntry>();
  // a later one in the same queue is another message, whose publisher chose the same id again
  for (const row of results) if (!copies.has(row.stream)) copies.set(row.stream, messageEntry(row));
  return [...copies.values()];
}

/** The queues an event goes to. */
export async function findQueueTargets(db: D1Database, tenantId: string, message: MessageRef): Promise<string[]> {
  const { results } = await db
    .prepare(
      `SELECT substr(endpoint_id, 7) AS queue FROM deliveries
       WHERE tenant_id = ? AND message_time = ? AND stream = ? AND offset = ? AND endpoint_id GLOB 'queue:*'`,
    )
    .bind(tenantId, message.timeMs, message.stream, message.offset)
    .all();
  return results.map((row) => z.object({ queue: z.string() }).parse(row).queue);
}

/** Endpoints with a mailbox that the message may be in, after the id `after`. */
export async function listBoxOwners(db: D1Database, tenantId: string, message: MessageRef, after: string): Promise<BoxOwner[]> {
  const { results } = await db
    .prepare(
      `SELECT e.id, e.ordered FROM endpoints e
       WHERE e.tenant_id = ?1 AND e.id > ?5 AND (e.kind = 'pull' OR e.fallback = 'pull') AND (
         EXISTS (SELECT 1 FROM deliveries d WHERE d.tenant_id = ?1 AND d.message_time = ?2 AND d.stream = ?3 AND d.offset = ?4 AND d.endpoint_id = e.id)
         OR ?3 = ?1 || '/nodes/' || e.node)
       ORDER BY e.id LIMIT ${ROWS_PER_QUERY}`,
    )
    .bind(tenantId, message.timeMs, message.stream, message.offset, after)
    .all();
  return results.map((row) => z.object({ id: z.string(), ordered: z.number() }).parse(row)).map(({ id, ordered }) => ({ id, ordered: ordered === 1 }));
}

/** Forgets what receivers answered to attempts at the message: some answer with what they were sent. */
export async function clearResponses(db: D1Database, tenantId: string, message: MessageRef): Promise<void> {
  for (let after = ""; ; ) {
    const { results } = await db
      .prepare(
        `SELECT ${DELIVERY_COLUMNS} FROM deliveries d
         WHERE d.tenant_id = ? AND d.message_time = ? AND d.stream = ? AND d.offset = ? AND d.endpoint_id > ?
         ORDER BY d.endpoint_id LIMIT ${ROWS_PER_QUERY}`,
      )
      .bind(tenantId, message.timeMs, message.stream, message.offset, after)
      .all<DeliveryRow>();
    const keys = results.flatMap((row) => deliveryEntry(row).attemptKeys.map(({ endpointId, timeMs }) => [endpointId, timeMs]));
    await db
      .prepare(
        `UPDATE attempts SET response_body = '' WHERE message_id = ?1 AND (tenant_id, endpoint_id, time) IN (
           SELECT ?2, value ->> 0, value ->> 1 FROM json_each(?3))`,
      )
      .bind(message.id, tenantId, JSON.stringify(keys))
      .run();
    const last = results.at(-1)?.endpoint_id;
    if (last === undefined || results.length < ROWS_PER_QUERY) return;
    after = last;
  }
}
