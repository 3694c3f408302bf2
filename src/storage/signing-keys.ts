import { z } from "zod";

/** The key pair that signs `v1a` for a tenant: the public key in base64url, the private one sealed under `${tenantId}/${id}`. */
export type SigningKey = { readonly id: string; readonly publicKey: string; readonly sealed: string };

const Row = z.object({ id: z.string(), public_key: z.string(), sealed: z.string() });

/** Adds the key pair of a tenant that has none; part of a batch. One that is there already stays. */
export function insertSigningKey(db: D1Database, tenantId: string, key: SigningKey, nowMs: number): D1PreparedStatement {
  return db
    .prepare(
      `INSERT INTO tenant_signing_keys (id, tenant_id, public_key, sealed, created_at) VALUES (?1, ?2, ?3, ?4, ?5)
       ON CONFLICT (tenant_id) DO NOTHING`,
    )
    .bind(key.id, tenantId, key.publicKey, key.sealed, nowMs);
}

/** The keys a tenant signs with; none for a tenant that does not exist. */
export async function listSigningKeys(db: D1Database, tenantId: string): Promise<SigningKey[]> {
  const { results } = await db
    .prepare("SELECT id, public_key, sealed FROM tenant_signing_keys WHERE tenant_id = ?1")
    .bind(tenantId)
    .all();
  return results.map((result) => {
    const row = Row.parse(result);
    return { id: row.id, publicKey: row.public_key, sealed: row.sealed };
  });
}
