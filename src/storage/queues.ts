import { z } from "zod";
import { parseReceiver, type Receiver, STATUS_FOR_DELIVERY } from "./endpoints.ts";
import type { KeyedPattern } from "./subscriptions.ts";

/** A queue of a tenant, as its owner set it up. */
export type Queue = {
  readonly tenantId: string;
  readonly name: string;
  /** Receives after which a message is a dead letter. */
  readonly maxReceives: number;
  readonly retentionSeconds: number;
  /** The patterns bound to it by itself, in their order. */
  readonly topics: readonly string[];
  readonly createdAtMs: number;
  readonly updatedAtMs: number;
};

const Row = z.object({
  tenantId: z.string(),
  name: z.string(),
  maxReceives: z.number(),
  retentionSeconds: z.number(),
  topics: z.string().transform((text) => z.array(z.string()).parse(JSON.parse(text))),
  createdAtMs: z.number(),
  updatedAtMs: z.number(),
});

const SELECT = `SELECT q.tenant_id AS tenantId, q.name, q.max_receives AS maxReceives, q.retention_seconds AS retentionSeconds,
  (SELECT json_group_array(t.topic ORDER BY t.topic) FROM queue_topics t
   WHERE t.tenant_id = q.tenant_id AND t.queue = q.name) AS topics,
  q.created_at AS createdAtMs, q.updated_at AS updatedAtMs
  FROM queues q`;

/** Selects one queue; as the last statement of a batch it shows what the batch made of it. */
export function selectQueue(db: D1Database, tenantId: string, name: string): D1PreparedStatement {
  return db.prepare(`${SELECT} WHERE q.tenant_id = ? AND q.name = ?`).bind(tenantId, name);
}

/** A row of {@link selectQueue}; null when there is none. */
export function parseQueue(row: unknown): Queue | null {
  return row === undefined || row === null ? null : Row.parse(row);
}

export async function findQueue(db: D1Database, tenantId: string, name: string): Promise<Queue | null> {
  return parseQueue(await selectQueue(db, tenantId, name).first());
}

export async function queueExists(db: D1Database, tenantId: string, name: string): Promise<boolean> {
  const row = await db.prepare("SELECT 1 FROM queues WHERE tenant_id = ? AND name = ?").bind(tenantId, name).first();
  return row !== null;
}

/** The queues of a tenant by name, after `afterName`. */
export async function listQueues(
  db: D1Database,
  tenantId: string,
  options: { readonly limit: number; readonly afterName: string | null },
): Promise<Queue[]> {
  const { results } = await db
    .prepare(`${SELECT} WHERE q.tenant_id = ?1 AND q.name > ?2 ORDER BY q.name LIMIT ?3`)
    .bind(tenantId, options.afterName ?? "", options.limit)
    .all();
  return results.map((row) => Row.parse(row));
}

/** Makes the queue with the defaults unless there is one; part of a batch, before what refers to it. */
export function ensureQueue(db: D1Database, tenantId: string, name: string, nowMs: number): D1PreparedStatement {
  return db
    .prepare("INSERT INTO queues (tenant_id, name, created_at, updated_at) VALUES (?1, ?2, ?3, ?3) ON CONFLICT DO NOTHING")
    .bind(tenantId, name, nowMs);
}

/** What is left out stays as it is. */
export type QueueChange = {
  readonly topics?: readonly KeyedPattern[] | undefined;
  readonly maxReceives?: number | undefined;
  readonly retentionSeconds?: number | undefined;
};

/** Makes the queue or changes it; part of a batch. `topics` are all patterns it is to be bound to by itself. */
export function upsertQueue(
  db: D1Database,
  tenantId: string,
  name: string,
  { topics, maxReceives, retentionSeconds }: QueueChange,
  nowMs: number,
): D1PreparedStatement[] {
  const statements = [
    ensureQueue(db, tenantId, name, nowMs),
    db
      .prepare(
        `UPDATE queues SET max_receives = coalesce(?3, max_receives),
           retention_seconds = coalesce(?4, retention_seconds), updated_at = ?5
         WHERE tenant_id = ?1 AND name = ?2`,
      )
      .bind(tenantId, name, maxReceives ?? null, retentionSeconds ?? null, nowMs),
  ];
  if (topics === undefined) return statements;
  return [
    ...statements,
    db.prepare("DELETE FROM queue_topics WHERE tenant_id = ? AND queue = ?").bind(tenantId, name),
    db
      .prepare(
        `INSERT INTO queue_topics (tenant_id, queue, topic, topic_key)
         SELECT ?1, ?2, value ->> 'topic', value ->> 'topicKey' FROM json_each(?3)`,
      )
      .bind(tenantId, name, JSON.stringify(topics)),
  ];
}

/**
 * Deletes the queue with its bindings; part of a batch. While it has members the batch fails with what
 * {@link isQueueInUse} knows; with `withMemberships` their subscriptions end too.
 */
export function deleteQueue(
  db: D1Database,
  tenantId: string,
  name: string,
  { withMemberships }: { readonly withMemberships: boolean },
): D1PreparedStatement[] {
  const queue = db.prepare("DELETE FROM queues WHERE tenant_id = ? AND name = ?").bind(tenantId, name);
  if (!withMemberships) return [queue];
  return [db.prepare("DELETE FROM subscriptions WHERE tenant_id = ? AND queue = ?").bind(tenantId, name), queue];
}

/** Whether a batch with {@link deleteQueue} failed because the queue has members. */
export function isQueueInUse(error: unknown): boolean {
  return error instanceof Error && error.message.includes("FOREIGN KEY constraint failed");
}

/** The endpoints subscribed with the queue, each once, oldest first. */
export async function listQueueMembers(db: D1Database, tenantId: string, queue: string): Promise<Receiver[]> {
  const members = await listMembersOf(db, tenantId, [queue]);
  return members.get(queue) ?? [];
}

/** The members of each of these queues; a queue without any is not in the map. */
export async function listMembersOf(
  db: D1Database,
  tenantId: string,
  queues: readonly string[],
): Promise<ReadonlyMap<string, Receiver[]>> {
  const { results } = await db
    .prepare(
      `SELECT DISTINCT s.queue, e.id AS endpointId, e.kind, ${STATUS_FOR_DELIVERY}
       FROM subscriptions s JOIN endpoints e ON e.id = s.endpoint_id AND e.tenant_id = s.tenant_id
       WHERE s.tenant_id = ? AND s.queue IN (SELECT value FROM json_each(?)) ORDER BY s.queue, e.id`,
    )
    .bind(tenantId, JSON.stringify(queues))
    .all();
  const members = new Map<string, Receiver[]>();
  for (const row of results) {
    const { queue } = z.object({ queue: z.string() }).parse(row);
    const known = members.get(queue);
    if (known === undefined) members.set(queue, [parseReceiver(row)]);
    else known.push(parseReceiver(row));
  }
  return members;
}

const QueueBoxRow = Row.pick({ tenantId: true, name: true, maxReceives: true, retentionSeconds: true });

/** What the mailbox of a queue needs to know of it. */
export type QueueBox = z.infer<typeof QueueBoxRow>;

/** Queues of all tenants, `limit` of them: turn after turn the next ones, and after the last the first again. */
export async function listQueuesInTurns(
  db: D1Database,
  { limit, turn }: { readonly limit: number; readonly turn: number },
): Promise<QueueBox[]> {
  const { results } = await db
    .prepare(
      `WITH pages AS (SELECT max(1, (count(*) + ?1 - 1) / ?1) AS n FROM queues)
       SELECT tenant_id AS tenantId, name, max_receives AS maxReceives, retention_seconds AS retentionSeconds
       FROM queues ORDER BY tenant_id, name LIMIT ?1 OFFSET (?2 % (SELECT n FROM pages)) * ?1`,
    )
    .bind(limit, turn)
    .all();
  return results.map((row) => QueueBoxRow.parse(row));
}

/**
 * Queues of all tenants that have an active push member, `limit` of them: turn after turn the next ones, and after the
 * last the first again. Reads the memberships alone, off their index.
 */
export async function listPushedQueues(
  db: D1Database,
  { limit, turn }: { readonly limit: number; readonly turn: number },
): Promise<QueueBox[]> {
  const { results } = await db
    .prepare(
      `WITH pushed AS MATERIALIZED (
         SELECT DISTINCT s.tenant_id, s.queue
         FROM subscriptions s CROSS JOIN endpoints e ON e.id = s.endpoint_id AND e.tenant_id = s.tenant_id
         WHERE s.queue IS NOT NULL AND e.kind = 'push' AND e.status = 'active' AND e.handshake IS NOT 'waiting'),
       pages AS (SELECT max(1, (count(*) + ?1 - 1) / ?1) AS n FROM pushed),
       page AS (
         SELECT tenant_id, queue FROM pushed ORDER BY tenant_id, queue LIMIT ?1 OFFSET (?2 % (SELECT n FROM pages)) * ?1)
       SELECT q.tenant_id AS tenantId, q.name, q.max_receives AS maxReceives, q.retention_seconds AS retentionSeconds
       FROM page CROSS JOIN queues q ON q.tenant_id = page.tenant_id AND q.name = page.queue`,
    )
    .bind(limit, turn)
    .all();
  return results.map((row) => QueueBoxRow.parse(row));
}

/** One target of one stream, as deliveries have it: for a queue's own messages `tenant/queues/name` and `member`. */
export type StreamTarget = { readonly stream: string; readonly endpointId: string };

const DEAD_OF_TARGET = `FROM deliveries d INDEXED BY deliveries_unfinished
  WHERE d.tenant_id = ?1 AND d.status = 'dead' AND d.endpoint_id = ?2 AND d.stream = ?3`;

/** How many dead deliveries history knows of a stream's target, at most `limit`. */
export async function countDead(db: D1Database, tenantId: string, of: StreamTarget, limit: number): Promise<number> {
  const count = await db
    .prepare(`SELECT count(*) AS n FROM (SELECT 1 ${DEAD_OF_TARGET} LIMIT ?4)`)
    .bind(tenantId, of.endpointId, of.stream, limit)
    .first();
  return z.object({ n: z.number() }).parse(count).n;
}

/** The dead deliveries of a stream's target whose bytes are still there, of the oldest messages first. */
export async function listDeadOf(
  db: D1Database,
  tenantId: string,
  of: StreamTarget,
  limit: number,
): Promise<(StreamTarget & { readonly offset: number })[]> {
  const { results } = await db
    .prepare(
      `SELECT d.offset ${DEAD_OF_TARGET}
         AND NOT EXISTS (SELECT 1 FROM history_expunged x WHERE x.tenant_id = d.tenant_id AND x.time = d.message_time
           AND x.stream = d.stream AND x.offset = d.offset)
       ORDER BY d.message_time, d.offset LIMIT ?4`,
    )
    .bind(tenantId, of.endpointId, of.stream, limit)
    .all();
  return results.map((row) => ({ ...of, offset: z.object({ offset: z.number() }).parse(row).offset }));
}
