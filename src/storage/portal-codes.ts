import { z } from "zod";
import { type AuditEntry, auditOfChange } from "./audit.ts";
import { SCOPES, type TokenScope } from "./tokens.ts";

/** A code that opens one portal session. */
export type PortalCode = {
  readonly id: string;
  readonly tenantId: string;
  readonly name: string;
  readonly scopes: readonly TokenScope[];
  /** How long the session will last. */
  readonly sessionSeconds: number;
  /** The token that made it; null where no token of ours did. */
  readonly madeBy: string | null;
  readonly createdAtMs: number;
  readonly expiresAtMs: number;
};

/** The session that a code is exchanged for. @param hash SHA-256 of the token's value, hex */
export type PortalSession = { readonly id: string; readonly hash: string; readonly nowMs: number; readonly expiresAtMs: number };

/** The insert of a code, for a `batch()` with its audit entry; `hash` is the SHA-256 of its value, hex. */
export function insertPortalCode(db: D1Database, code: PortalCode, hash: string): D1PreparedStatement {
  return db
    .prepare(
      `INSERT INTO portal_codes (id, tenant_id, hash, name, scopes, session_seconds, made_by, created_at, expires_at)
       VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)`,
    )
    .bind(
      code.id, code.tenantId, hash, code.name, JSON.stringify(code.scopes), code.sessionSeconds, code.madeBy,
      code.createdAtMs, code.expiresAtMs,
    );
}

const Row = z.object({
  id: z.string(),
  tenantId: z.string(),
  name: z.string(),
  scopes: z.string().transform((text) => z.array(z.enum(SCOPES)).parse(JSON.parse(text))),
  sessionSeconds: z.number(),
  madeBy: z.string().nullable(),
  createdAtMs: z.number(),
  expiresAtMs: z.number(),
});

/** A code that may be exchanged now: of a tenant that is there, and not suspended. */
export async function findPortalCode(db: D1Database, hash: string, nowMs: number): Promise<PortalCode | null> {
  const row = await db
    .prepare(
      `SELECT c.id, c.tenant_id AS tenantId, c.name, c.scopes, c.session_seconds AS sessionSeconds, c.made_by AS madeBy,
         c.created_at AS createdAtMs, c.expires_at AS expiresAtMs
       FROM portal_codes c JOIN tenants t ON t.id = c.tenant_id
       WHERE c.hash = ?1 AND c.expires_at > ?2 AND t.deleted_at IS NULL AND t.suspended_at IS NULL`,
    )
    .bind(hash, nowMs)
    .first();
  return row === null ? null : Row.parse(row);
}

/** Exchanges a code for a session, with its audit entry; false when somebody else has: of two at once one gets it. */
export async function exchangePortalCode(db: D1Database, code: PortalCode, session: PortalSession, entry: AuditEntry): Promise<boolean> {
  const [inserted] = await db.batch([
    db
      .prepare(
        `INSERT INTO tokens (id, tenant_id, name, hash, scopes, expires_at, created_at, portal, made_by)
         SELECT ?2, tenant_id, name, ?3, scopes, ?5, ?4, 1, made_by FROM portal_codes WHERE id = ?1 AND expires_at > ?4`,
      )
      .bind(code.id, session.id, session.hash, session.nowMs, session.expiresAtMs),
    auditOfChange(db, entry),
    db.prepare("DELETE FROM portal_codes WHERE id = ?").bind(code.id),
  ]);
  return inserted !== undefined && inserted.meta.changes > 0;
}

/** Removes codes and sessions that are over; returns how many. */
export async function deleteExpiredPortal(db: D1Database, nowMs: number): Promise<number> {
  const results = await db.batch([
    db.prepare("DELETE FROM portal_codes WHERE expires_at <= ?").bind(nowMs),
    db.prepare("DELETE FROM tokens WHERE portal = 1 AND expires_at <= ?").bind(nowMs),
  ]);
  return results.reduce((sum, { meta }) => sum + meta.changes, 0);
}
