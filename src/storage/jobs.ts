import { z } from "zod";
import type { Replay } from "../streams/replays.ts";
import { parseStreamName } from "../streams/ref.ts";

/** Work in the background, as its stream reported it last. */
export type Job = Omit<Replay, "jobId" | "nextOffset"> & {
  readonly id: string;
  readonly kind: "replay";
  /** `tenant/kind/name` */
  readonly stream: string;
};

const COLUMNS = `id, kind, stream, endpoint_id AS endpointId, from_offset AS fromOffset, until_offset AS untilOffset,
  status, reason, total, done, created_at AS createdAtMs, updated_at AS updatedAtMs`;

const Row: z.ZodType<Job> = z.object({
  id: z.string(),
  kind: z.literal("replay"),
  stream: z.string(),
  endpointId: z.string(),
  fromOffset: z.number(),
  untilOffset: z.number(),
  status: z.enum(["running", "done", "stopped"]),
  reason: z.string().nullable(),
  total: z.number(),
  done: z.number(),
  createdAtMs: z.number(),
  updatedAtMs: z.number(),
});

/**
 * Writes how far the replays of a stream are. Safe to repeat and in any order: an older report changes nothing. What
 * is left of a deleted tenant's is not written.
 */
export async function saveReplays(db: D1Database, stream: string, replays: readonly Replay[]): Promise<void> {
  await db
    .prepare(
      `INSERT INTO jobs (tenant_id, id, kind, stream, endpoint_id, from_offset, until_offset, status, reason, total, done,
         created_at, updated_at)
       SELECT t.id, value ->> 'jobId', 'replay', ?2, value ->> 'endpointId', value ->> 'fromOffset', value ->> 'untilOffset',
         value ->> 'status', value ->> 'reason', value ->> 'total', value ->> 'done', value ->> 'createdAtMs',
         value ->> 'updatedAtMs'
       FROM tenants t CROSS JOIN json_each(?3) WHERE t.id = ?1 AND t.deleted_at IS NULL
       ON CONFLICT DO UPDATE SET status = excluded.status, reason = excluded.reason, done = excluded.done,
         updated_at = excluded.updated_at
       WHERE excluded.updated_at > updated_at`,
    )
    .bind(parseStreamName(stream).tenantId, stream, JSON.stringify(replays))
    .run();
}

export async function findJob(db: D1Database, tenantId: string, id: string): Promise<Job | null> {
  const row = await db.prepare(`SELECT ${COLUMNS} FROM jobs WHERE tenant_id = ? AND id = ?`).bind(tenantId, id).first();
  return row === null ? null : Row.parse(row);
}

/** The tenant's jobs, newest first, before the id `beforeId`. */
export async function listJobs(
  db: D1Database,
  tenantId: string,
  page: { readonly beforeId: string | null; readonly limit: number },
): Promise<Job[]> {
  const { results } = await db
    .prepare(`SELECT ${COLUMNS} FROM jobs WHERE tenant_id = ?1 AND (?2 IS NULL OR id < ?2) ORDER BY id DESC LIMIT ?3`)
    .bind(tenantId, page.beforeId, page.limit)
    .all();
  return results.map((row) => Row.parse(row));
}

/** Deletes jobs that were begun before `olderThanMs` and have ended, at most `limit`; how many went. */
export async function pruneJobs(db: D1Database, olderThanMs: number, limit: number): Promise<number> {
  const { results } = await db
    .prepare(
      `DELETE FROM jobs WHERE (tenant_id, id) IN (
         SELECT tenant_id, id FROM jobs WHERE created_at < ? AND status <> 'running' LIMIT ?) RETURNING 1`,
    )
    .bind(olderThanMs, limit)
    .all();
  return results.length;
}

/** How many replays of the tenant run, as far as they have reported; counts no further than `atMost`. */
export async function countRunningJobs(db: D1Database, tenantId: string, atMost: number): Promise<number> {
  const row = await db
    .prepare("SELECT count(*) AS n FROM (SELECT 1 FROM jobs WHERE tenant_id = ?1 AND status = 'running' LIMIT ?2)")
    .bind(tenantId, atMost)
    .first();
  return z.object({ n: z.number() }).parse(row).n;
}
