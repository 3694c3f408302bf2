import { z } from "zod";

/** Rows of a tenant by status, as `/metrics` shows them. */
export type StatusCount = { readonly tenantId: string; readonly status: string; readonly count: number };
export type TenantCount = { readonly tenantId: string; readonly count: number };

export type Gauges = {
  readonly endpoints: readonly StatusCount[];
  /** Open and dead ones only. */
  readonly deliveries: readonly StatusCount[];
  /** Endpoints that are tried now and then only. */
  readonly openCircuits: readonly TenantCount[];
  /** Messages of the minute before. */
  readonly recentMessages: readonly TenantCount[];
};

const MINUTE_MS = 60_000;

const StatusRow = z.object({ tenant_id: z.string(), status: z.string(), count: z.number() });
const CountRow = z.object({ tenant_id: z.string(), count: z.number() });

/** The gauges of one tenant, or of all (`tenantId` null). Each is read off an index. */
export async function readGauges(db: D1Database, tenantId: string | null, nowMs: number): Promise<Gauges> {
  const [endpoints, deliveries, messages, circuits] = await db.batch([
    db
      .prepare(
        `SELECT tenant_id, status, count(*) AS count FROM endpoints
         WHERE ?1 IS NULL OR tenant_id = ?1 GROUP BY tenant_id, status`,
      )
      .bind(tenantId),
    db
      .prepare(
        `SELECT t.id AS tenant_id, s.value AS status,
           (SELECT count(*) FROM deliveries d WHERE d.tenant_id = t.id AND d.status = s.value
              AND (d.status = 'open' OR d.status = 'dead')) AS count
         FROM tenants t, json_each('["open","dead"]') s
         WHERE t.deleted_at IS NULL AND (?1 IS NULL OR t.id = ?1)`,
      )
      .bind(tenantId),
    db
      .prepare(
        `SELECT t.id AS tenant_id,
           (SELECT coalesce(sum(m.count), 0) FROM message_packs m WHERE m.tenant_id = t.id AND m.time >= ?2) AS count
         FROM tenants t WHERE t.deleted_at IS NULL AND (?1 IS NULL OR t.id = ?1)`,
      )
      .bind(tenantId, nowMs - MINUTE_MS),
    db
      .prepare(
        `SELECT tenant_id, count(DISTINCT endpoint_id) AS count FROM endpoint_circuits
         WHERE ?1 IS NULL OR tenant_id = ?1 GROUP BY tenant_id`,
      )
      .bind(tenantId),
  ]);
  return {
    endpoints: statusCounts(endpoints),
    deliveries: statusCounts(deliveries),
    openCircuits: tenantCounts(circuits),
    recentMessages: tenantCounts(messages),
  };
}

function tenantCounts(result: D1Result | undefined): TenantCount[] {
  return (result?.results ?? []).map((row) => {
    const { tenant_id, count } = CountRow.parse(row);
    return { tenantId: tenant_id, count };
  });
}

/** Whether the migrations have been applied: every table the gateway can not do without is there. */
export async function isMigrated(db: D1Database): Promise<boolean> {
  const row = await db
    .prepare(
      `SELECT count(*) AS count FROM sqlite_master WHERE type = 'table' AND name IN
         ('tenants', 'tokens', 'endpoints', 'endpoint_secrets', 'subscriptions', 'sources', 'message_packs', 'deliveries', 'attempt_packs', 'operator_events', 'endpoint_circuits')`,
    )
    .first();
  return z.object({ count: z.number() }).parse(row).count === 11;
}

function statusCounts(result: D1Result | undefined): StatusCount[] {
  return (result?.results ?? []).map((row) => {
    const { tenant_id, status, count } = StatusRow.parse(row);
    return { tenantId: tenant_id, status, count };
  });
}
