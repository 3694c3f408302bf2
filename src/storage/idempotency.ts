import { z } from "zod";

/** Names one use of an `Idempotency-Key`; `startedAtMs` tells this run of it from a later one. */
export type KeyUse = { readonly tenantId: string; readonly keyHash: string; readonly startedAtMs: number };

export type Claimed =
  | { readonly state: "claimed" }
  | { readonly state: "running"; readonly sameRequest: boolean }
  | { readonly state: "done"; readonly sameRequest: boolean; readonly sealedResponse: string };

/** A run that took longer has crashed: no request of ours may run as long. */
const ABANDONED_AFTER_MS = 60_000;
export const IDEMPOTENCY_RETENTION_MS = 24 * 60 * 60 * 1000;

const Row = z.object({ request_hash: z.string(), state: z.enum(["running", "done"]), response: z.string().nullable() });

/** Takes the key for this run, or says who has it. Atomic: of two runs at once one gets it. */
export async function claimKey(db: D1Database, use: KeyUse, requestHash: string): Promise<Claimed> {
  const [inserted, existing] = await db.batch([
    db
      .prepare(
        `INSERT INTO idempotency_keys (tenant_id, key_hash, request_hash, state, response, started_at)
         VALUES (?1, ?2, ?3, 'running', NULL, ?4)
         ON CONFLICT (tenant_id, key_hash) DO UPDATE SET request_hash = excluded.request_hash, state = 'running',
           response = NULL, started_at = excluded.started_at
         WHERE started_at < ?4 - ${IDEMPOTENCY_RETENTION_MS}
           OR (state = 'running' AND request_hash = excluded.request_hash AND started_at < ?4 - ${ABANDONED_AFTER_MS})
         RETURNING started_at`,
      )
      .bind(use.tenantId, use.keyHash, requestHash, use.startedAtMs),
    db
      .prepare("SELECT request_hash, state, response FROM idempotency_keys WHERE tenant_id = ?1 AND key_hash = ?2")
      .bind(use.tenantId, use.keyHash),
  ]);
  if (inserted !== undefined && inserted.results.length > 0) return { state: "claimed" };
  const row = Row.parse(existing?.results[0]);
  const sameRequest = row.request_hash === requestHash;
  if (row.state === "running" || row.response === null) return { state: "running", sameRequest };
  return { state: "done", sameRequest, sealedResponse: row.response };
}

/** Keeps the response of this run for 24 h; nothing when another run has taken the key over. */
export async function completeKey(db: D1Database, use: KeyUse, sealedResponse: string): Promise<void> {
  await db
    .prepare(
      `UPDATE idempotency_keys SET state = 'done', response = ?4
       WHERE tenant_id = ?1 AND key_hash = ?2 AND started_at = ?3 AND state = 'running'`,
    )
    .bind(use.tenantId, use.keyHash, use.startedAtMs, sealedResponse)
    .run();
}

/** Lets the next request with the key run, for this run came to nothing that is worth repeating. */
export async function releaseKey(db: D1Database, use: KeyUse): Promise<void> {
  await db
    .prepare(
      "DELETE FROM idempotency_keys WHERE tenant_id = ?1 AND key_hash = ?2 AND started_at = ?3 AND state = 'running'",
    )
    .bind(use.tenantId, use.keyHash, use.startedAtMs)
    .run();
}

/** Removes up to `limit` keys first used before `olderThanMs`; how many there were, so that cron goes on at `limit`. */
export async function pruneIdempotencyKeys(db: D1Database, olderThanMs: number, limit: number): Promise<number> {
  const { meta } = await db
    .prepare(
      `DELETE FROM idempotency_keys WHERE (tenant_id, key_hash) IN
         (SELECT tenant_id, key_hash FROM idempotency_keys WHERE started_at < ?1 ORDER BY started_at LIMIT ?2)`,
    )
    .bind(olderThanMs, limit)
    .run();
  return meta.changes;
}
