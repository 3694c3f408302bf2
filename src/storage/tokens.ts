import { z } from "zod";

/** The scopes of §3, in the order they are shown. */
export const SCOPES = ["publish", "consume", "manage", "read", "admin"] as const;

export type TokenScope = (typeof SCOPES)[number];

/** A token as it is known after its making: never its value, never its hash. */
export type Token = {
  readonly id: string;
  /** Null: an operator's. */
  readonly tenantId: string | null;
  readonly name: string;
  readonly scopes: readonly TokenScope[];
  readonly expiresAtMs: number | null;
  readonly createdAtMs: number;
};

const Row = z.object({
  id: z.string(),
  tenant_id: z.string().nullable(),
  name: z.string(),
  scopes: z.string().transform((text) => z.array(z.enum(SCOPES)).parse(JSON.parse(text))),
  expires_at: z.number().nullable(),
  created_at: z.number(),
});

const COLUMNS = "id, tenant_id, name, scopes, expires_at, created_at";

/** The token of that SHA-256 (hex), expired or not. */
export async function findTokenByHash(db: D1Database, hash: string): Promise<Token | null> {
  const row = await db.prepare(`SELECT ${COLUMNS} FROM tokens WHERE hash = ?1`).bind(hash).first();
  return row === null ? null : parseRow(row);
}

/** The insert of a new token, for a `batch()` with its audit entry; `hash` is the SHA-256 of its value, hex. */
export function insertTokenStatement(db: D1Database, token: Token, hash: string): D1PreparedStatement {
  return db
    .prepare(
      `INSERT INTO tokens (id, tenant_id, name, hash, scopes, expires_at, created_at)
       VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)`,
    )
    .bind(token.id, token.tenantId, token.name, hash, JSON.stringify(token.scopes), token.expiresAtMs, token.createdAtMs);
}

/** Newest first, before the id `beforeId`; `tenantId` null lists the operator tokens. */
export async function listTokens(
  db: D1Database,
  tenantId: string | null,
  options: { readonly limit: number; readonly beforeId: string | null },
): Promise<Token[]> {
  const { results } = await db
    .prepare(
      `SELECT ${COLUMNS} FROM tokens WHERE tenant_id IS ?1 AND (?2 IS NULL OR id < ?2) ORDER BY id DESC LIMIT ?3`,
    )
    .bind(tenantId, options.beforeId, options.limit)
    .all();
  return results.map(parseRow);
}

/** A token of the tenant; with `operatorToo`, also an operator's. */
export async function getToken(
  db: D1Database,
  tenantId: string,
  id: string,
  operatorToo: boolean,
): Promise<Token | null> {
  const row = await db
    .prepare(`SELECT ${COLUMNS} FROM tokens WHERE id = ?1 AND (tenant_id = ?2 OR (?3 AND tenant_id IS NULL))`)
    .bind(id, tenantId, operatorToo ? 1 : 0)
    .first();
  return row === null ? null : parseRow(row);
}

export function deleteTokenStatement(db: D1Database, id: string): D1PreparedStatement {
  return db.prepare("DELETE FROM tokens WHERE id = ?1").bind(id);
}

function parseRow(row: unknown): Token {
  const { id, tenant_id, name, scopes, expires_at, created_at } = Row.parse(row);
  return { id, tenantId: tenant_id, name, scopes, expiresAtMs: expires_at, createdAtMs: created_at };
}
