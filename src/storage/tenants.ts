import { z } from "zod";
import { formatLimits, parseLimits, type TenantLimits } from "./limits.ts";
import { notePurges } from "./purges.ts";

/** What every request of a tenant depends on. A suspended one is refused, its operators' excepted. */
export type TenantStanding = { readonly suspended: boolean; readonly limits: TenantLimits };

export type Tenant = TenantStanding & { readonly id: string; readonly name: string; readonly createdAtMs: number };

export const DEFAULT_TENANT = "default";

const Row = z.object({
  id: z.string(),
  name: z.string(),
  created_at: z.number(),
  suspended_at: z.number().nullable(),
  limits: z.string().transform(parseLimits),
});
const COLUMNS = "id, name, created_at, suspended_at, limits";

/** Rows of one statement: a delete of a large tenant's history stays well within D1's time limit for a query. */
const ROWS_PER_DELETE = 5000;
/** Bounds the purge of one request; what is left after it is pruned by age, as all history is. */
const MAX_DELETES_PER_TABLE = 60;

/** History tables with the primary keys that a bounded delete goes by. */
const HISTORY = [
  { table: "attempt_packs", key: "tenant_id, endpoint_id, time, stream, number" },
  { table: "deliveries", key: "tenant_id, message_time, stream, offset, endpoint_id" },
  { table: "message_packs", key: "tenant_id, time, stream, first_offset" },
  { table: "message_ids", key: "tenant_id, id, time, stream, offset" },
  { table: "history_expunged", key: "tenant_id, time, stream, offset" },
] as const;

/** Null when there is none of that id, or it was deleted. */
export async function getTenant(db: D1Database, id: string): Promise<Tenant | null> {
  const row = await db
    .prepare(`SELECT ${COLUMNS} FROM tenants WHERE id = ?1 AND deleted_at IS NULL`)
    .bind(id)
    .first();
  return row === null ? null : parseRow(row);
}

/** In order of their ids, after `afterId`. */
export async function listTenants(
  db: D1Database,
  options: { readonly limit: number; readonly afterId: string | null },
): Promise<Tenant[]> {
  const { results } = await db
    .prepare(
      `SELECT ${COLUMNS} FROM tenants
       WHERE deleted_at IS NULL AND (?1 IS NULL OR id > ?1) ORDER BY id LIMIT ?2`,
    )
    .bind(options.afterId, options.limit)
    .all();
  return results.map(parseRow);
}

/** The id of a deleted tenant stays taken: its streams may still hold messages, which no one else may ever read. */
export async function isTenantIdTaken(db: D1Database, id: string): Promise<boolean> {
  return (await db.prepare("SELECT 1 FROM tenants WHERE id = ?1").bind(id).first()) !== null;
}

/** The insert of a tenant, for a `batch()` with its audit entry; it fails on an id that is taken. */
export function insertTenantStatement(db: D1Database, tenant: Tenant): D1PreparedStatement {
  return db
    .prepare("INSERT INTO tenants (id, name, created_at, limits) VALUES (?1, ?2, ?3, ?4)")
    .bind(tenant.id, tenant.name, tenant.createdAtMs, formatLimits(tenant.limits));
}

/** The update of name and limits, for a `batch()` with its audit entry. */
export function updateTenantStatement(db: D1Database, { id, name, limits }: Tenant): D1PreparedStatement {
  return db
    .prepare("UPDATE tenants SET name = ?2, limits = ?3 WHERE id = ?1 AND deleted_at IS NULL")
    .bind(id, name, formatLimits(limits));
}

/** Suspends at `suspendedAtMs`, or with null lets it go on; for a `batch()` with its audit entry. */
export function suspendTenantStatement(db: D1Database, id: string, suspendedAtMs: number | null): D1PreparedStatement {
  return db.prepare("UPDATE tenants SET suspended_at = ?2 WHERE id = ?1 AND deleted_at IS NULL").bind(id, suspendedAtMs);
}

/**
 * The statements that end a tenant: it is marked deleted, what it owns elsewhere is noted, and its tokens and whatever
 * the control plane holds of it are gone. Repeated once the caches have expired, for what requests already running have added meanwhile.
 */
export function endTenantStatements(db: D1Database, id: string, nowMs: number): D1PreparedStatement[] {
  return [
    db
      .prepare(
        `UPDATE tenants SET name = '', limits = '{}', deleted_at = coalesce(deleted_at, ?2),
           next_purge_at = coalesce(next_purge_at, ?2) WHERE id = ?1`,
      )
      .bind(id, nowMs),
    ...notePurges(db, id, nowMs),
    // each takes along what refers to it: secrets and subscriptions, bindings, confirmations. A queue can only go once
    // it has no members.
    ...["portal_codes", "tokens", "endpoints", "queues", "sources", "tenant_signing_keys", "idempotency_keys", "audit", "topics", "streams", "own_streams", "expunged_messages", "jobs", "consumer_offsets", "operator_events"].map((table) =>
      db.prepare(`DELETE FROM ${table} WHERE tenant_id = ?1`).bind(id),
    ),
  ];
}

/** Removes the tenant's history, in bounded steps. */
export async function purgeTenantHistory(db: D1Database, id: string): Promise<void> {
  for (const { table, key } of HISTORY) {
    const statement = db
      .prepare(
        `DELETE FROM ${table} WHERE (${key}) IN (SELECT ${key} FROM ${table} WHERE tenant_id = ?1 LIMIT ${ROWS_PER_DELETE})`,
      )
      .bind(id);
    for (let deletes = 0; deletes < MAX_DELETES_PER_TABLE; deletes++) {
      const { meta } = await statement.run();
      if (meta.changes < ROWS_PER_DELETE) break;
    }
  }
}

function parseRow(row: unknown): Tenant {
  const { id, name, created_at, suspended_at, limits } = Row.parse(row);
  return { id, name, createdAtMs: created_at, suspended: suspended_at !== null, limits };
}
