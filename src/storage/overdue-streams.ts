import { z } from "zod";

/** How long something may be held before its stream is looked at: the stream asks again more often than that itself. */
const HELD_MS = 10 * 60_000;

/** Every target that has open deliveries, by one step in the index a target. */
const OPEN_TARGETS = `WITH RECURSIVE open_targets (tenant_id, endpoint_id) AS (
         SELECT t.id, (SELECT min(d.endpoint_id) FROM deliveries d WHERE d.tenant_id = t.id AND d.status = 'open')
         FROM tenants t
         UNION ALL
         SELECT o.tenant_id, (SELECT min(d.endpoint_id) FROM deliveries d
                              WHERE d.tenant_id = o.tenant_id AND d.status = 'open' AND d.endpoint_id > o.endpoint_id)
         FROM open_targets o WHERE o.endpoint_id IS NOT NULL)`;

/**
 * Streams whose oldest open delivery to some target should have been attempted before `beforeMs`, as far as history
 * knows. Looks at one delivery a target, so that what it costs does not grow with the backlog.
 */
export async function findOverdueStreams(db: D1Database, beforeMs: number, limit: number): Promise<string[]> {
  // CROSS JOIN and INDEXED BY: one target after the other, each by the index; SQLite would rather read all of a time.
  const { results } = await db
    .prepare(
      `${OPEN_TARGETS}
       SELECT DISTINCT d.stream FROM open_targets o CROSS JOIN deliveries d INDEXED BY deliveries_unfinished
       WHERE d.tenant_id = o.tenant_id AND d.status = 'open' AND d.endpoint_id = o.endpoint_id
         AND d.message_time = (SELECT min(f.message_time) FROM deliveries f
                               WHERE f.tenant_id = o.tenant_id AND f.status = 'open' AND f.endpoint_id = o.endpoint_id)
         AND coalesce(d.next_attempt_at, d.updated_at + ${HELD_MS}) < ?
       LIMIT ?`,
    )
    .bind(beforeMs, limit)
    .all();
  return results.map((row) => z.object({ stream: z.string() }).parse(row).stream);
}

/** Endpoints that were deleted and have open deliveries all the same, as far as history knows. */
export async function findOrphaningEndpoints(db: D1Database, limit: number): Promise<{ tenantId: string; endpointId: string }[]> {
  const { results } = await db
    .prepare(
      `${OPEN_TARGETS}
       SELECT o.tenant_id, o.endpoint_id FROM open_targets o
       WHERE o.endpoint_id GLOB 'ep_*' AND NOT EXISTS (SELECT 1 FROM endpoints e WHERE e.id = o.endpoint_id)
       LIMIT ?`,
    )
    .bind(limit)
    .all();
  return results.map((row) => {
    const { tenant_id: tenantId, endpoint_id: endpointId } = z.object({ tenant_id: z.string(), endpoint_id: z.string() }).parse(row);
    return { tenantId, endpointId };
  });
}
