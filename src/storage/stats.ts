import { type AttemptPackRow, attemptsOf, durationClass, PACK_SECOND_MS, secondOf } from "./attempt-pack.ts";
import type { AttemptEntry } from "./history-row.ts";

/** Rows that are looked at to count something, so that a question about a busy tenant stays cheap. */
export const MAX_COUNTED = 1_000_000;

const HOUR_MS = 3_600_000;
const DAY_MS = 86_400_000;

export type AttemptBucket = { readonly startMs: number; readonly succeeded: number; readonly failed: number };

export type EndpointStats = {
  readonly succeeded: number;
  readonly failed: number;
  /** Within 5 %; null when there was no attempt. */
  readonly p50DurationMs: number | null;
  readonly p95DurationMs: number | null;
  /** Oldest first, without gaps: one for each interval the period touches. */
  readonly buckets: readonly AttemptBucket[];
};

/** Attempts at an endpoint from `sinceMs` until before `untilMs`. */
export async function readEndpointStats(
  db: D1Database,
  tenantId: string,
  endpointId: string,
  period: Period,
): Promise<EndpointStats> {
  const [whole, edges] = await Promise.all([readWholeSeconds(db, tenantId, endpointId, period), readEdges(db, tenantId, endpointId, period)]);
  const counts = new Map(whole.buckets.map((bucket) => [bucket.startMs, bucket]));
  const durations = new Map(whole.durations.map(({ durationMs, attempts }) => [durationMs, attempts]));
  for (const { timeMs, durationMs, error } of edges) {
    const startMs = timeMs - (timeMs % period.intervalMs);
    const { succeeded, failed } = counts.get(startMs) ?? { succeeded: 0, failed: 0 };
    counts.set(startMs, { startMs, succeeded: succeeded + (error === null ? 1 : 0), failed: failed + (error === null ? 0 : 1) });
    durations.set(durationClass(durationMs), (durations.get(durationClass(durationMs)) ?? 0) + 1);
  }
  const buckets = withoutGaps(counts, period);
  const classes = [...durations].sort(([left], [right]) => left - right);
  return {
    succeeded: buckets.reduce((sum, bucket) => sum + bucket.succeeded, 0),
    failed: buckets.reduce((sum, bucket) => sum + bucket.failed, 0),
    p50DurationMs: quantile(classes, 0.5),
    p95DurationMs: quantile(classes, 0.95),
    buckets,
  };
}

type Period = { readonly sinceMs: number; readonly untilMs: number; readonly intervalMs: number };

/** What the packs of seconds that are in the period as a whole say, the newest {@link MAX_COUNTED} of them. */
async function readWholeSeconds(db: D1Database, tenantId: string, endpointId: string, { sinceMs, untilMs, intervalMs }: Period) {
  const packs = `SELECT time, count, failed, durations FROM attempt_packs
    WHERE tenant_id = ?1 AND endpoint_id = ?2 AND time >= ?3 AND time <= ?4 ORDER BY time DESC LIMIT ${MAX_COUNTED}`;
  const bound = [tenantId, endpointId, sinceMs, untilMs - PACK_SECOND_MS] as const;
  const [counts, durations] = await Promise.all([
    db
      // `%`, for a bound number is REAL and `/` would not drop the fraction
      .prepare(`SELECT time - time % ?5 AS startMs, sum(count - failed) AS succeeded, sum(failed) AS failed FROM (${packs}) GROUP BY 1`)
      .bind(...bound, intervalMs)
      .all<AttemptBucket>(),
    db
      .prepare(`SELECT d.key + 0 AS durationMs, sum(d.value) AS attempts FROM (${packs}) p, json_each(p.durations) d GROUP BY 1`)
      .bind(...bound)
      .all<{ readonly durationMs: number; readonly attempts: number }>(),
  ]);
  return { buckets: counts.results, durations: durations.results };
}

/** The attempts of the period in seconds that are only partly in it: two at most. */
async function readEdges(db: D1Database, tenantId: string, endpointId: string, { sinceMs, untilMs }: Period): Promise<AttemptEntry[]> {
  const seconds = [sinceMs, untilMs].filter((timeMs) => timeMs % PACK_SECOND_MS !== 0).map(secondOf);
  if (seconds.length === 0) return [];
  const { results } = await db
    .prepare(
      `SELECT endpoint_id, time, stream, topic, attempts FROM attempt_packs
       WHERE tenant_id = ? AND endpoint_id = ? AND time IN (?, ?)`,
    )
    .bind(tenantId, endpointId, seconds[0], seconds.at(-1))
    .all<AttemptPackRow>();
  return results.flatMap(attemptsOf).filter(({ timeMs }) => timeMs >= sinceMs && timeMs < untilMs);
}

/** The duration that the share `q` of the attempts do not exceed; `classes` in rising order. */
function quantile(classes: readonly (readonly [durationMs: number, attempts: number])[], q: number): number | null {
  const rank = classes.reduce((sum, [, attempts]) => sum + attempts, 0) * q;
  let seen = 0;
  for (const [durationMs, attempts] of classes) {
    seen += attempts;
    if (seen >= rank) return durationMs;
  }
  return null;
}

function withoutGaps(byStart: ReadonlyMap<number, AttemptBucket>, { sinceMs, untilMs, intervalMs }: Period): AttemptBucket[] {
  const buckets: AttemptBucket[] = [];
  for (let startMs = Math.floor(sinceMs / intervalMs) * intervalMs; startMs < untilMs; startMs += intervalMs) {
    buckets.push(byStart.get(startMs) ?? { startMs, succeeded: 0, failed: 0 });
  }
  return buckets;
}

/** Nothing counts more than {@link MAX_COUNTED} rows, of which packs are for many messages or attempts each. */
export type TenantStats = {
  readonly endpoints: { readonly active: number; readonly paused: number; readonly disabled: number };
  readonly messagesLastHour: number;
  readonly messagesLastDay: number;
  readonly openDeliveries: number;
  readonly deadDeliveries: number;
  /** Of the endpoints that still exist. */
  readonly succeededAttemptsLastHour: number;
  readonly failedAttemptsLastHour: number;
};

/** What a tenant has and did, as far as history has heard of it. */
export async function readTenantStats(db: D1Database, tenantId: string, nowMs: number): Promise<TenantStats> {
  const row = await db
    .prepare(
      `SELECT
         (SELECT count(*) FROM endpoints WHERE tenant_id = ?1 AND status = 'active') AS active,
         (SELECT count(*) FROM endpoints WHERE tenant_id = ?1 AND status = 'paused') AS paused,
         (SELECT count(*) FROM endpoints WHERE tenant_id = ?1 AND status = 'disabled') AS disabled,
         (SELECT coalesce(sum(count), 0) FROM (
            SELECT count FROM message_packs WHERE tenant_id = ?1 AND time >= ?2 LIMIT ?4)) AS messagesLastHour,
         (SELECT coalesce(sum(count), 0) FROM (
            SELECT count FROM message_packs WHERE tenant_id = ?1 AND time >= ?3 LIMIT ?4)) AS messagesLastDay,
         (SELECT count(*) FROM (SELECT 1 FROM deliveries INDEXED BY deliveries_unfinished
            WHERE tenant_id = ?1 AND status = 'open' LIMIT ?4)) AS openDeliveries,
         (SELECT count(*) FROM (SELECT 1 FROM deliveries INDEXED BY deliveries_dead
            WHERE tenant_id = ?1 AND status = 'dead' LIMIT ?4)) AS deadDeliveries,
         (SELECT coalesce(sum(succeeded), 0) FROM (
            SELECT a.count - a.failed AS succeeded FROM endpoints e CROSS JOIN attempt_packs a
              ON a.tenant_id = e.tenant_id AND a.endpoint_id = e.id AND a.time >= ?2
            WHERE e.tenant_id = ?1 LIMIT ?4)) AS succeededAttemptsLastHour,
         (SELECT coalesce(sum(failed), 0) FROM (
            SELECT a.failed FROM endpoints e CROSS JOIN attempt_packs a INDEXED BY attempt_packs_failed
              ON a.tenant_id = e.tenant_id AND a.endpoint_id = e.id AND a.time >= ?2
            WHERE e.tenant_id = ?1 AND a.failed > 0 LIMIT ?4)) AS failedAttemptsLastHour`,
    )
    // a pack is counted as a whole: the edge is a second wide
    .bind(tenantId, nowMs - HOUR_MS, nowMs - DAY_MS, MAX_COUNTED)
    .first<Omit<TenantStats, "endpoints"> & TenantStats["endpoints"]>();
  if (row === null) throw new Error("stats: a SELECT without FROM gave no row");
  const { active, paused, disabled, ...rest } = row;
  return { endpoints: { active, paused, disabled }, ...rest };
}
