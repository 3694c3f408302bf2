/** A new secret of a source, sealed under `${tenantId}/${id}`. */
export type NewSourceSecret = { readonly id: string; readonly sealed: string; readonly createdAtMs: number };

/** Each one that still verifies costs a hash of the body where the current one does not match. */
const MAX_LIVE_SECRETS = 3;

/** Adds the current secret of a source that is there; part of a batch. */
export function insertSourceSecret(db: D1Database, tenantId: string, sourceId: string, secret: NewSourceSecret): D1PreparedStatement {
  return db
    .prepare(
      `INSERT INTO source_secrets (id, source_id, tenant_id, sealed, created_at, expires_at)
       SELECT ?1, s.id, s.tenant_id, ?2, ?3, NULL FROM sources s WHERE s.id = ?4 AND s.tenant_id = ?5`,
    )
    .bind(secret.id, secret.sealed, secret.createdAtMs, sourceId, tenantId);
}

/**
 * Puts a new secret in the place of the current one, which goes on verifying until `previousExpiresAtMs`; part of a
 * batch. The oldest goes when too many would verify.
 */
export function rotateSourceSecret(
  db: D1Database,
  tenantId: string,
  sourceId: string,
  secret: NewSourceSecret,
  previousExpiresAtMs: number,
): D1PreparedStatement[] {
  return [
    db
      .prepare("UPDATE source_secrets SET expires_at = ?1 WHERE source_id = ?2 AND tenant_id = ?3 AND expires_at IS NULL")
      .bind(previousExpiresAtMs, sourceId, tenantId),
    insertSourceSecret(db, tenantId, sourceId, secret),
    db
      .prepare(
        `DELETE FROM source_secrets WHERE source_id = ?1 AND tenant_id = ?2 AND expires_at IS NOT NULL
           AND (expires_at <= ?3 OR id NOT IN (
             SELECT id FROM source_secrets WHERE source_id = ?1 AND tenant_id = ?2
             ORDER BY expires_at IS NULL DESC, created_at DESC, id DESC LIMIT ?4))`,
      )
      .bind(sourceId, tenantId, secret.createdAtMs, MAX_LIVE_SECRETS),
  ];
}

/** Removes what no longer verifies, so that no key of the ring has to be kept for it; returns how many. */
export async function deleteExpiredSourceSecrets(db: D1Database, nowMs: number): Promise<number> {
  const result = await db.prepare("DELETE FROM source_secrets WHERE expires_at <= ?1").bind(nowMs).run();
  return result.meta.changes;
}
