import { z } from "zod";
import type { KeyRing } from "../crypto/keyring.ts";

/** Every sealed value at rest, each under `${tenant_id}/${id}` of its row. */
const SEALED_COLUMNS = [
  { table: "endpoint_secrets", column: "sealed", id: "id" },
  { table: "endpoints", column: "headers", id: "id" },
  { table: "endpoints", column: "auth", id: "id" },
  { table: "source_secrets", column: "sealed", id: "id" },
  { table: "tenant_signing_keys", column: "sealed", id: "id" },
  { table: "idempotency_keys", column: "response", id: "key_hash" },
] as const;

const SealedRow = z.object({ id: z.string(), tenant_id: z.string(), value: z.string() });

/**
 * Seals up to `limit` values anew that another key than the active one sealed, and returns how many; 0 once the ring's
 * older keys are no longer needed. A value that changes meanwhile is left as it was changed. Each row is written by
 * itself: at no moment is there one that delivery can not open. Throws, after it did the others, when there are values
 * whose key is gone from the ring.
 */
export async function reencryptBatch(db: D1Database, keyRing: KeyRing, limit: number): Promise<number> {
  let resealed = 0;
  const failures: unknown[] = [];
  for (const where of SEALED_COLUMNS) {
    if (resealed >= limit) break;
    const batch = await resealColumn(db, keyRing, where, limit - resealed);
    resealed += batch.resealed;
    failures.push(...batch.failures);
  }
  if (failures.length > 0) {
    throw new Error(`${failures.length} sealed values can not be opened, ${resealed} were sealed anew`, { cause: failures[0] });
  }
  return resealed;
}

async function resealColumn(
  db: D1Database,
  keyRing: KeyRing,
  { table, column, id: idColumn }: (typeof SEALED_COLUMNS)[number],
  limit: number,
): Promise<{ readonly resealed: number; readonly failures: readonly unknown[] }> {
  const prefix = activePrefix(keyRing);
  const { results } = await db
    .prepare(
      `SELECT ${idColumn} AS id, tenant_id, ${column} AS value FROM ${table}
       WHERE ${column} IS NOT NULL AND substr(${column}, 1, ?1) <> ?2 LIMIT ?3`,
    )
    .bind(prefix.length, prefix, limit)
    .all();
  const updates: D1PreparedStatement[] = [];
  const failures: unknown[] = [];
  for (const row of results) {
    const { id, tenant_id, value } = SealedRow.parse(row);
    const context = `${tenant_id}/${id}`;
    try {
      const sealed = await keyRing.seal(await keyRing.open(value, context), context);
      const statement = `UPDATE ${table} SET ${column} = ? WHERE tenant_id = ? AND ${idColumn} = ? AND ${column} = ?`;
      updates.push(db.prepare(statement).bind(sealed, tenant_id, id, value));
    } catch (error) {
      failures.push(error);
    }
  }
  const outcomes = updates.length === 0 ? [] : await db.batch(updates);
  return { resealed: outcomes.reduce((sum, outcome) => sum + outcome.meta.changes, 0), failures };
}

/** How a value sealed by the active key begins (crypto/keyring.ts). */
function activePrefix(keyRing: KeyRing): string {
  return `k1.${keyRing.activeKeyId}.`;
}
