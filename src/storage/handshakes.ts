import { z } from "zod";
import { type AuditEntry, auditOfChange } from "./audit.ts";

/** How far the handshake of an endpoint is. Times in ms. */
export type Handshake = {
  readonly status: "waiting" | "allowed";
  /** Requests a minute; null for no limit. */
  readonly allowedRate: number | null;
  readonly requests: number;
  readonly requestedAtMs: number | null;
  readonly nextRequestAtMs: number | null;
  readonly detail: string | null;
};

/** A handshake that is to be asked for now. */
export type DueHandshake = { readonly tenantId: string; readonly endpointId: string };

/** More callbacks than these can not be open for one endpoint: the oldest ends. */
const MAX_CALLBACKS = 12;
/** A receiver is not asked more often, whoever wishes it. */
const MIN_INTERVAL_MS = 5_000;

/** Begins a handshake anew, due at once; what was asked before counts no longer. Part of a batch, after the endpoint's. */
export function beginHandshake(
  db: D1Database,
  tenantId: string,
  endpointId: string,
  gatewayUrl: string,
  nowMs: number,
): D1PreparedStatement[] {
  return [
    db.prepare("DELETE FROM handshake_callbacks WHERE endpoint_id = ?").bind(endpointId),
    db
      .prepare(
        `INSERT INTO handshakes (endpoint_id, tenant_id, gateway_url, next_request_at)
         SELECT e.id, e.tenant_id, ?3, ?4 FROM endpoints e WHERE e.id = ?1 AND e.tenant_id = ?2
         ON CONFLICT (endpoint_id) DO UPDATE SET gateway_url = excluded.gateway_url, requests = 0, requested_at = NULL,
           next_request_at = excluded.next_request_at, detail = NULL`,
      )
      .bind(endpointId, tenantId, gatewayUrl, nowMs),
  ];
}

/** The endpoint asks for no handshake any more; part of a batch. */
export function endHandshake(db: D1Database, tenantId: string, endpointId: string): D1PreparedStatement[] {
  return ["handshake_callbacks", "handshakes"].map((table) =>
    db
      .prepare(`DELETE FROM ${table} WHERE endpoint_id IN (SELECT id FROM endpoints WHERE id = ?1 AND tenant_id = ?2)`)
      .bind(endpointId, tenantId),
  );
}

const Row = z.object({
  status: z.enum(["waiting", "allowed"]),
  allowedRate: z.number().nullable(),
  requests: z.number(),
  requestedAtMs: z.number().nullable(),
  nextRequestAtMs: z.number().nullable(),
  detail: z.string().nullable(),
});

/** The handshake of an endpoint of the tenant; null when it asks for none. */
export async function findHandshake(db: D1Database, tenantId: string, endpointId: string): Promise<Handshake | null> {
  const row = await db
    .prepare(
      `SELECT e.handshake AS status, e.allowed_rate AS allowedRate, h.requests, h.requested_at AS requestedAtMs,
         h.next_request_at AS nextRequestAtMs, h.detail
       FROM handshakes h JOIN endpoints e ON e.id = h.endpoint_id AND e.tenant_id = h.tenant_id
       WHERE h.endpoint_id = ? AND h.tenant_id = ? AND e.handshake IS NOT NULL`,
    )
    .bind(endpointId, tenantId)
    .first();
  return row === null ? null : Row.parse(row);
}

/** Those whose time to be asked has come, the longest due first. */
export async function listDueHandshakes(db: D1Database, nowMs: number, limit: number): Promise<DueHandshake[]> {
  const { results } = await db
    .prepare(
      `SELECT tenant_id AS tenantId, endpoint_id AS endpointId FROM handshakes
       WHERE next_request_at <= ? ORDER BY next_request_at LIMIT ?`,
    )
    .bind(nowMs, limit)
    .all();
  return results.map((row) => z.object({ tenantId: z.string(), endpointId: z.string() }).parse(row));
}

/**
 * Takes a request upon oneself: notes it, and when the next is due should this one bring nothing. Null when it is not
 * due (unless that is no matter), when somebody else has just asked, or when there is no handshake.
 */
export async function claimHandshake(
  db: D1Database,
  { tenantId, endpointId }: DueHandshake,
  { nowMs, nextAtMs, due }: { readonly nowMs: number; readonly nextAtMs: (requests: number) => number | null; readonly due: boolean },
): Promise<{ readonly gatewayUrl: string } | null> {
  const found = await db
    .prepare("SELECT requests, gateway_url AS gatewayUrl FROM handshakes WHERE endpoint_id = ? AND tenant_id = ?")
    .bind(endpointId, tenantId)
    .first();
  if (found === null) return null;
  const { requests, gatewayUrl } = z.object({ requests: z.number(), gatewayUrl: z.string() }).parse(found);
  const { meta } = await db
    .prepare(
      `UPDATE handshakes SET requests = requests + 1, requested_at = ?3, next_request_at = ?4
       WHERE endpoint_id = ?1 AND requests = ?2 AND (?5 = 0 OR next_request_at <= ?3)
         AND (requested_at IS NULL OR requested_at <= ?3 - ${MIN_INTERVAL_MS})`,
    )
    .bind(endpointId, requests, nowMs, nextAtMs(requests + 1), due ? 1 : 0)
    .run();
  return meta.changes === 0 ? null : { gatewayUrl };
}

/** Opens a callback for the URL that is asked now. @param hash SHA-256 of its key, hex */
export async function openCallback(
  db: D1Database,
  endpointId: string,
  callback: { readonly hash: string; readonly url: string; readonly nowMs: number; readonly expiresAtMs: number },
): Promise<void> {
  await db.batch([
    db
      .prepare(
        `INSERT INTO handshake_callbacks (hash, endpoint_id, url, created_at, expires_at)
         SELECT ?1, id, ?3, ?4, ?5 FROM endpoints WHERE id = ?2`,
      )
      .bind(callback.hash, endpointId, callback.url, callback.nowMs, callback.expiresAtMs),
    db
      .prepare(
        `DELETE FROM handshake_callbacks WHERE endpoint_id = ?1 AND hash NOT IN (
           SELECT hash FROM handshake_callbacks WHERE endpoint_id = ?1 ORDER BY created_at DESC LIMIT ${MAX_CALLBACKS})`,
      )
      .bind(endpointId),
  ]);
}

/** Whose permission a callback would bring, and for which URL; null when it is none that is open. */
export async function findCallback(
  db: D1Database,
  hash: string,
  nowMs: number,
): Promise<(DueHandshake & { readonly url: string; readonly rateLimit: number | null }) | null> {
  const row = await db
    .prepare(
      `SELECT e.tenant_id AS tenantId, e.id AS endpointId, c.url, e.rate_limit AS rateLimit
       FROM handshake_callbacks c JOIN endpoints e ON e.id = c.endpoint_id
       WHERE c.hash = ?1 AND c.expires_at > ?2 AND e.url = c.url AND e.handshake IS NOT NULL`,
    )
    .bind(hash, nowMs)
    .first();
  if (row === null) return null;
  return z.object({ tenantId: z.string(), endpointId: z.string(), url: z.string(), rateLimit: z.number().nullable() }).parse(row);
}

export type Allowance = DueHandshake & {
  /** What was asked: a permission for it is none for the URL the endpoint has now, if that is another. */
  readonly url: string;
  readonly requestsPerMinute: number | null;
  /** Null: in the answer to OPTIONS. */
  readonly callbackHash: string | null;
  readonly nowMs: number;
};

/**
 * Notes a permission with its audit entry; false when it is for another URL than the endpoint's, or its callback was
 * used before. What else was open is closed.
 */
export async function allowDeliveries(db: D1Database, allowance: Allowance, entry: AuditEntry): Promise<boolean> {
  const { endpointId, tenantId, url, requestsPerMinute, callbackHash, nowMs } = allowance;
  const [allowed] = await db.batch([
    db
      .prepare(
        `UPDATE endpoints SET handshake = 'allowed', allowed_rate = ?4, updated_at = ?5
         WHERE id = ?1 AND tenant_id = ?2 AND url = ?3 AND handshake IS NOT NULL
           AND (?6 IS NULL OR EXISTS (SELECT 1 FROM handshake_callbacks WHERE hash = ?6))`,
      )
      .bind(endpointId, tenantId, url, requestsPerMinute, nowMs, callbackHash),
    auditOfChange(db, entry),
    db
      .prepare(
        `UPDATE handshakes SET next_request_at = NULL, detail = NULL WHERE endpoint_id = ?1
           AND EXISTS (SELECT 1 FROM endpoints WHERE id = ?1 AND url = ?2 AND handshake = 'allowed')`,
      )
      .bind(endpointId, url),
    db.prepare("DELETE FROM handshake_callbacks WHERE endpoint_id = ? AND url = ?").bind(endpointId, url),
  ]);
  return allowed !== undefined && allowed.meta.changes > 0;
}

/** Notes why a request brought no permission. */
export async function noteRefusal(db: D1Database, endpointId: string, detail: string): Promise<void> {
  await db.prepare("UPDATE handshakes SET detail = ? WHERE endpoint_id = ?").bind(detail, endpointId).run();
}

/** Removes callbacks that are good no longer; returns how many. */
export async function deleteExpiredCallbacks(db: D1Database, nowMs: number): Promise<number> {
  const { meta } = await db.prepare("DELETE FROM handshake_callbacks WHERE expires_at <= ?").bind(nowMs).run();
  return meta.changes;
}
