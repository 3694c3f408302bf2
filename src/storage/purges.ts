import { z } from "zod";

const PurgeKind = z.enum(["stream", "own-stream", "endpoint-box", "queue-box", "stream-subscriptions"]);
export type PurgeKind = z.infer<typeof PurgeKind>;

/** Something outside of the database that a deleted tenant owned. */
export type Purge = { readonly tenantId: string; readonly kind: PurgeKind; readonly name: string; readonly failures: number };

/** What was let in before the deletion is over by then: a slow upload, an attempt that waits for its answer. */
const LAST_AFTER_MS = 5 * 60_000;

const Row = z.object({
  tenantId: z.string(),
  kind: PurgeKind,
  name: z.string(),
  failures: z.number(),
});

/**
 * Every object and mailbox of a tenant, as far as the tables know of it: to be noted before their rows go. D1 takes five
 * terms of a compound SELECT. Its stream subscriptions, which no table knows, are in one directory, noted while they may
 * still be made.
 */
const OWNED = [`
  SELECT 'stream' AS kind, tenant_id || '/' || kind || '/' || name AS name FROM streams WHERE tenant_id = ?1
  UNION SELECT 'stream', tenant_id || '/topics/' || name FROM topics WHERE tenant_id = ?1
  UNION SELECT 'stream', tenant_id || '/queues/' || name FROM queues WHERE tenant_id = ?1
  UNION SELECT 'stream', tenant_id || '/nodes/' || node FROM endpoints WHERE tenant_id = ?1 AND node IS NOT NULL
  UNION SELECT 'own-stream', tenant_id || '/' || path FROM own_streams WHERE tenant_id = ?1`, `
  SELECT 'endpoint-box' AS kind, id AS name FROM endpoints WHERE tenant_id = ?1
  UNION SELECT 'queue-box', name FROM queues WHERE tenant_id = ?1`, `
  SELECT 'stream-subscriptions' AS kind, id AS name FROM tenants WHERE id = ?1 AND ?2 < deleted_at + ${LAST_AFTER_MS}`];

/** Notes all that the tenant owns outside of the database; part of a batch, once it is marked deleted and before its rows are. */
export function notePurges(db: D1Database, tenantId: string, nowMs: number): D1PreparedStatement[] {
  return OWNED.map((owned) =>
    db
      .prepare(
        `INSERT INTO purges (tenant_id, kind, name, next_at, last_at)
         SELECT ?1, kind, name, ?2, ?2 + ${LAST_AFTER_MS} FROM (${owned}) WHERE true ON CONFLICT DO NOTHING`,
      )
      .bind(tenantId, nowMs),
  );
}

/** Notes that there is a stream of a tenant's own; nothing is written when that is known. */
export async function rememberOwnStream(db: D1Database, tenantId: string, path: string, nowMs: number): Promise<void> {
  await db
    .prepare("INSERT INTO own_streams (tenant_id, path, created_at) VALUES (?1, ?2, ?3) ON CONFLICT DO NOTHING")
    .bind(tenantId, path, nowMs)
    .run();
}

export async function isOwnStreamKnown(db: D1Database, tenantId: string, path: string): Promise<boolean> {
  return (await db.prepare("SELECT 1 FROM own_streams WHERE tenant_id = ?1 AND path = ?2").bind(tenantId, path).first()) !== null;
}

export async function forgetOwnStream(db: D1Database, tenantId: string, path: string): Promise<void> {
  await db.prepare("DELETE FROM own_streams WHERE tenant_id = ?1 AND path = ?2").bind(tenantId, path).run();
}

/** What is to be removed now, of all tenants or of one, the longest due first. */
export async function listDuePurges(db: D1Database, nowMs: number, limit: number, tenantId: string | null = null): Promise<Purge[]> {
  const { results } = await db
    .prepare(
      `SELECT tenant_id AS tenantId, kind, name, failures FROM purges
       WHERE next_at <= ?1 AND (?3 IS NULL OR tenant_id = ?3) ORDER BY next_at LIMIT ?2`,
    )
    .bind(nowMs, limit, tenantId)
    .all();
  return results.map((row) => Row.parse(row));
}

/** After it was removed: done with, unless it may be made anew; then it is removed once more. */
export function purgedStatements(db: D1Database, { tenantId, kind, name }: Purge, nowMs: number): D1PreparedStatement[] {
  return [
    db.prepare("DELETE FROM purges WHERE tenant_id = ?1 AND kind = ?2 AND name = ?3 AND last_at <= ?4").bind(tenantId, kind, name, nowMs),
    db
      .prepare("UPDATE purges SET next_at = last_at, failures = 0 WHERE tenant_id = ?1 AND kind = ?2 AND name = ?3")
      .bind(tenantId, kind, name),
  ];
}

/** After it could not be removed. */
export function purgeFailedStatement(db: D1Database, { tenantId, kind, name }: Purge, nextAtMs: number): D1PreparedStatement {
  return db
    .prepare("UPDATE purges SET next_at = ?4, failures = failures + 1 WHERE tenant_id = ?1 AND kind = ?2 AND name = ?3")
    .bind(tenantId, kind, name, nextAtMs);
}

/** Deleted tenants that are to be looked at again. */
export async function listTenantsToPurge(db: D1Database, nowMs: number, limit: number): Promise<{ id: string; deletedAtMs: number }[]> {
  const { results } = await db
    .prepare("SELECT id, deleted_at AS deletedAtMs FROM tenants WHERE next_purge_at <= ? ORDER BY next_purge_at LIMIT ?")
    .bind(nowMs, limit)
    .all();
  return results.map((row) => z.object({ id: z.string(), deletedAtMs: z.number() }).parse(row));
}

/** When a deleted tenant is looked at again; null for never, which is taken back while something of it is to be removed. */
export async function scheduleTenantPurge(db: D1Database, tenantId: string, nextAtMs: number | null, laterAtMs: number): Promise<void> {
  await db
    .prepare(
      `UPDATE tenants SET next_purge_at = iif(?2 IS NULL AND EXISTS (SELECT 1 FROM purges WHERE tenant_id = ?1), ?3, ?2) WHERE id = ?1`,
    )
    .bind(tenantId, nextAtMs, laterAtMs)
    .run();
}
