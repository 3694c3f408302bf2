/** Nothing is counted beyond this, so that a question about a busy tenant stays cheap. */
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

/** Attempts at an endpoint from `sinceMs` until before `untilMs`, the newest {@link MAX_COUNTED} of them. */
export async function readEndpointStats(
  db: D1Database,
  tenantId: string,
  endpointId: string,
  period: { readonly sinceMs: number; readonly untilMs: number; readonly intervalMs: number },
): Promise<EndpointStats> {
  const attempts = `SELECT time, duration_ms, error IS NULL AS ok FROM attempts
    WHERE tenant_id = ?1 AND endpoint_id = ?2 AND time >= ?3 AND time < ?4 ORDER BY time DESC LIMIT ${MAX_COUNTED}`;
  const bound = [tenantId, endpointId, period.sinceMs, period.untilMs] as const;
  const [counts, durations] = await Promise.all([
    db
      // `%`, for a bound number is REAL and `/` would not drop the fraction
      .prepare(`SELECT time - time % ?5 AS startMs, sum(ok) AS succeeded, sum(NOT ok) AS failed FROM (${attempts}) GROUP BY 1`)
      .bind(...bound, period.intervalMs)
      .all<AttemptBucket>(),
    // classes of at most a tenth of their value: their middle is within 5 % of what is in them
    db
      .prepare(
        `SELECT duration_ms / width * width + width / 2 AS durationMs, count(*) AS attempts FROM (
           SELECT duration_ms, CASE WHEN duration_ms < 100 THEN 1 WHEN duration_ms < 1000 THEN 10
             WHEN duration_ms < 10000 THEN 100 ELSE 1000 END AS width FROM (${attempts}))
         GROUP BY 1 ORDER BY 1`,
      )
      .bind(...bound)
      .all<DurationClass>(),
  ]);
  const buckets = withoutGaps(counts.results, period);
  return {
    succeeded: buckets.reduce((sum, bucket) => sum + bucket.succeeded, 0),
    failed: buckets.reduce((sum, bucket) => sum + bucket.failed, 0),
    p50DurationMs: quantile(durations.results, 0.5),
    p95DurationMs: quantile(durations.results, 0.95),
    buckets,
  };
}

type DurationClass = { readonly durationMs: number; readonly attempts: number };

/** The duration that the share `q` of the attempts do not exceed; `classes` in rising order. */
function quantile(classes: readonly DurationClass[], q: number): number | null {
  const rank = classes.reduce((sum, { attempts }) => sum + attempts, 0) * q;
  let seen = 0;
  for (const { durationMs, attempts } of classes) {
    seen += attempts;
    if (seen >= rank) return durationMs;
  }
  return null;
}

function withoutGaps(
  counted: readonly AttemptBucket[],
  { sinceMs, untilMs, intervalMs }: { readonly sinceMs: number; readonly untilMs: number; readonly intervalMs: number },
): AttemptBucket[] {
  const byStart = new Map(counted.map((bucket) => [bucket.startMs, bucket]));
  const buckets: AttemptBucket[] = [];
  for (let startMs = Math.floor(sinceMs / intervalMs) * intervalMs; startMs < untilMs; startMs += intervalMs) {
    buckets.push(byStart.get(startMs) ?? { startMs, succeeded: 0, failed: 0 });
  }
  return buckets;
}

/** Every count stops at {@link MAX_COUNTED}. */
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
         (SELECT count(*) FROM (SELECT 1 FROM messages WHERE tenant_id = ?1 AND time >= ?2 LIMIT ?4)) AS messagesLastHour,
         (SELECT count(*) FROM (SELECT 1 FROM messages WHERE tenant_id = ?1 AND time >= ?3 LIMIT ?4)) AS messagesLastDay,
         (SELECT count(*) FROM (SELECT 1 FROM deliveries INDEXED BY deliveries_unfinished
            WHERE tenant_id = ?1 AND status = 'open' LIMIT ?4)) AS openDeliveries,
         (SELECT count(*) FROM (SELECT 1 FROM deliveries INDEXED BY deliveries_dead
            WHERE tenant_id = ?1 AND status = 'dead' LIMIT ?4)) AS deadDeliveries,
         (SELECT count(*) FROM (SELECT 1 FROM endpoints e CROSS JOIN attempts a
            ON a.tenant_id = e.tenant_id AND a.endpoint_id = e.id AND a.time >= ?2
            WHERE e.tenant_id = ?1 AND a.error IS NULL LIMIT ?4)) AS succeededAttemptsLastHour,
         (SELECT count(*) FROM (SELECT 1 FROM endpoints e CROSS JOIN attempts a INDEXED BY attempts_failed
            ON a.tenant_id = e.tenant_id AND a.endpoint_id = e.id AND a.time >= ?2
            WHERE e.tenant_id = ?1 AND a.error IS NOT NULL LIMIT ?4)) AS failedAttemptsLastHour`,
    )
    .bind(tenantId, nowMs - HOUR_MS, nowMs - DAY_MS, MAX_COUNTED)
    .first<Omit<TenantStats, "endpoints"> & TenantStats["endpoints"]>();
  if (row === null) throw new Error("stats: a SELECT without FROM gave no row");
  const { active, paused, disabled, ...rest } = row;
  return { endpoints: { active, paused, disabled }, ...rest };
}
