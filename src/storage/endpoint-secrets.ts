import { z } from "zod";

/** A new signing secret, sealed under `${tenantId}/${id}`. */
export type NewSecret = { readonly id: string; readonly sealed: string; readonly createdAtMs: number };

/** A rotation beyond this drops the oldest that still signs: each one lengthens the signature header. */
export const MAX_LIVE_SECRETS = 5;

/** Adds the current secret of an endpoint that is there; part of a batch. */
export function insertSecret(
  db: D1Database,
  tenantId: string,
  endpointId: string,
  secret: NewSecret,
): D1PreparedStatement {
  return db
    .prepare(
      `INSERT INTO endpoint_secrets (id, endpoint_id, tenant_id, sealed, created_at, expires_at)
       SELECT ?, e.id, e.tenant_id, ?, ?, NULL FROM endpoints e WHERE e.id = ? AND e.tenant_id = ?`,
    )
    .bind(secret.id, secret.sealed, secret.createdAtMs, endpointId, tenantId);
}

/** The secret that signs from now on; null when the tenant has no such endpoint. */
export async function findCurrentSecret(
  db: D1Database,
  tenantId: string,
  endpointId: string,
): Promise<{ readonly id: string; readonly sealed: string } | null> {
  const row = await db
    .prepare(
      `SELECT id, sealed FROM endpoint_secrets
       WHERE endpoint_id = ? AND tenant_id = ? AND expires_at IS NULL ORDER BY created_at DESC, id DESC LIMIT 1`,
    )
    .bind(endpointId, tenantId)
    .first();
  return z.object({ id: z.string(), sealed: z.string() }).nullable().parse(row);
}

/**
 * Puts a new secret in the place of the current one, which goes on signing until `previousExpiresAtMs`. False when
 * the tenant has no such endpoint.
 */
export async function rotateSecret(
  db: D1Database,
  tenantId: string,
  endpointId: string,
  secret: NewSecret,
  previousExpiresAtMs: number,
  also: readonly D1PreparedStatement[],
): Promise<boolean> {
  const retire = db
    .prepare("UPDATE endpoint_secrets SET expires_at = ? WHERE endpoint_id = ? AND tenant_id = ? AND expires_at IS NULL")
    .bind(previousExpiresAtMs, endpointId, tenantId);
  const insert = insertSecret(db, tenantId, endpointId, secret);
  const prune = db
    .prepare(
      `DELETE FROM endpoint_secrets WHERE endpoint_id = ?1 AND tenant_id = ?2 AND expires_at IS NOT NULL
         AND (expires_at <= ?3 OR id NOT IN (
           SELECT id FROM endpoint_secrets WHERE endpoint_id = ?1 AND tenant_id = ?2
           ORDER BY expires_at IS NULL DESC, created_at DESC, id DESC LIMIT ?4))`,
    )
    .bind(endpointId, tenantId, secret.createdAtMs, MAX_LIVE_SECRETS);
  const [, inserted] = await db.batch([retire, insert, prune, ...also]);
  return inserted?.meta.changes === 1;
}

/** Removes what no longer signs, so that no key of the ring has to be kept for it; returns how many. */
export async function deleteExpiredSecrets(db: D1Database, nowMs: number): Promise<number> {
  const result = await db.prepare("DELETE FROM endpoint_secrets WHERE expires_at <= ?").bind(nowMs).run();
  return result.meta.changes;
}
