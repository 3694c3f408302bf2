import { z } from "zod";
import { clearResponsesOf } from "./history-attempts.ts";
import { messagesWithId } from "./history-messages.ts";
import { deliveriesOf } from "./history-read.ts";
import type { DeliveredMessage, DeliveryEntry, MessageEntry } from "./history-row.ts";

/** A message in one stream: an event, or what it became in a queue. */
export type MessageRef = DeliveredMessage;

/** An endpoint that may have the message in its mailbox. */
export type BoxOwner = { readonly id: string; readonly ordered: boolean };

const ROWS_PER_QUERY = 500;
/** The clocks of the machines that two streams are on differ: what comes later may bear a time that is earlier. */
export const CLOCK_SKEW_MS = 1_000;

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

/** What an event has become in a queue, `queueStream`, as far as history knows. */
export async function findCopy(db: D1Database, tenantId: string, { id, timeMs }: MessageRef, queueStream: string): Promise<MessageEntry | null> {
  let copy: MessageEntry | null = null;
  // newest first: a later one in the same queue is another message, whose publisher chose the same id again
  for await (const messages of messagesWithId(db, tenantId, { id, topic: undefined }, undefined)) {
    for (const message of messages) if (message.stream === queueStream && message.timeMs >= timeMs - CLOCK_SKEW_MS) copy = message;
  }
  return copy;
}

/** The queues an event goes to. */
export async function findQueueTargets(db: D1Database, tenantId: string, message: MessageRef): Promise<string[]> {
  const { results } = await db
    .prepare(
      `SELECT substr(target, 7) AS queue FROM (
         SELECT value AS target FROM json_each(?5)
         UNION SELECT endpoint_id FROM deliveries WHERE tenant_id = ?1 AND message_time = ?2 AND stream = ?3 AND offset = ?4)
       WHERE target GLOB 'queue:*'`,
    )
    .bind(tenantId, message.timeMs, message.stream, message.offset, JSON.stringify(message.targets))
    .all();
  return results.map((row) => z.object({ queue: z.string() }).parse(row).queue);
}

/** Endpoints with a mailbox that the message may be in, after the id `after`. */
export async function listBoxOwners(db: D1Database, tenantId: string, message: MessageRef, after: string): Promise<BoxOwner[]> {
  const { results } = await db
    .prepare(
      `SELECT e.id, e.ordered FROM endpoints e
       WHERE e.tenant_id = ?1 AND e.id > ?5 AND (e.kind = 'pull' OR e.fallback = 'pull') AND (
         e.id IN (SELECT value FROM json_each(?6))
         OR EXISTS (SELECT 1 FROM deliveries d WHERE d.tenant_id = ?1 AND d.message_time = ?2 AND d.stream = ?3 AND d.offset = ?4 AND d.endpoint_id = e.id)
         OR ?3 = ?1 || '/nodes/' || e.node)
       ORDER BY e.id LIMIT ${ROWS_PER_QUERY}`,
    )
    .bind(tenantId, message.timeMs, message.stream, message.offset, after, JSON.stringify(message.targets))
    .all();
  return results.map((row) => z.object({ id: z.string(), ordered: z.number() }).parse(row)).map(({ id, ordered }) => ({ id, ordered: ordered === 1 }));
}

/** Forgets what receivers answered to attempts at the message: some answer with what they were sent. */
export async function clearResponses(db: D1Database, tenantId: string, message: MessageRef): Promise<void> {
  for (let before: string | null = null; ; ) {
    const deliveries: readonly DeliveryEntry[] = (await deliveriesOf(db, tenantId, [{ message, before }], ROWS_PER_QUERY)).flat();
    await clearResponsesOf(db, tenantId, deliveries);
    before = deliveries.at(-1)?.target ?? null;
    if (before === null || deliveries.length < ROWS_PER_QUERY) return;
  }
}
