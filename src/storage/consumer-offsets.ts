import { z } from "zod";

/** Where a named consumer goes on: `position` is what an offset of the stream at `stream` (its path) stands for. */
export type Checkpoint = {
  readonly consumer: string;
  readonly stream: string;
  readonly position: number;
  readonly updatedAtMs: number;
};

const Row = z.object({ consumer: z.string(), stream: z.string(), position: z.number(), updatedAtMs: z.number() });
const COLUMNS = "consumer, stream, position, updated_at AS updatedAtMs";

export async function findCheckpoint(db: D1Database, tenantId: string, consumer: string, stream: string): Promise<Checkpoint | null> {
  const row = await db
    .prepare(`SELECT ${COLUMNS} FROM consumer_offsets WHERE tenant_id = ? AND consumer = ? AND stream = ?`)
    .bind(tenantId, consumer, stream)
    .first();
  return row === null ? null : Row.parse(row);
}

/** Checkpoints of the tenant by consumer and stream, after that position. */
export async function listCheckpoints(
  db: D1Database,
  tenantId: string,
  page: { readonly after: readonly [consumer: string, stream: string]; readonly limit: number },
): Promise<Checkpoint[]> {
  const { results } = await db
    .prepare(
      `SELECT ${COLUMNS} FROM consumer_offsets WHERE tenant_id = ? AND (consumer, stream) > (?, ?)
       ORDER BY consumer, stream LIMIT ?`,
    )
    .bind(tenantId, ...page.after, page.limit)
    .all();
  return results.map((row) => Row.parse(row));
}

/** Checkpoints of one consumer by stream, after `afterStream`. */
export async function listCheckpointsOf(
  db: D1Database,
  tenantId: string,
  consumer: string,
  page: { readonly afterStream: string; readonly limit: number },
): Promise<Checkpoint[]> {
  const { results } = await db
    .prepare(
      `SELECT ${COLUMNS} FROM consumer_offsets WHERE tenant_id = ? AND consumer = ? AND stream > ?
       ORDER BY stream LIMIT ?`,
    )
    .bind(tenantId, consumer, page.afterStream, page.limit)
    .all();
  return results.map((row) => Row.parse(row));
}

/**
 * Saves a checkpoint and returns it. With `expected` only if that is the position it has now (null: it has none);
 * else null, and nothing is changed.
 */
export async function saveCheckpoint(
  db: D1Database,
  tenantId: string,
  { consumer, stream, position, updatedAtMs }: Checkpoint,
  expected: number | null | undefined,
): Promise<Checkpoint | null> {
  const row = await db
    .prepare(
      `INSERT INTO consumer_offsets (tenant_id, consumer, stream, position, updated_at)
       SELECT ?1, ?2, ?3, ?4, ?5 WHERE ?6 OR ?7 IS (
         SELECT position FROM consumer_offsets WHERE tenant_id = ?1 AND consumer = ?2 AND stream = ?3)
       ON CONFLICT DO UPDATE SET position = excluded.position, updated_at = excluded.updated_at
       RETURNING ${COLUMNS}`,
    )
    .bind(tenantId, consumer, stream, position, updatedAtMs, expected === undefined ? 1 : 0, expected ?? null)
    .first();
  return row === null ? null : Row.parse(row);
}

/** Whether there was one. */
export async function deleteCheckpoint(db: D1Database, tenantId: string, consumer: string, stream: string): Promise<boolean> {
  const row = await db
    .prepare("DELETE FROM consumer_offsets WHERE tenant_id = ? AND consumer = ? AND stream = ? RETURNING 1")
    .bind(tenantId, consumer, stream)
    .first();
  return row !== null;
}
