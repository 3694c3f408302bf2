import { z } from "zod";
import { parseLimits } from "./limits.ts";
import type { TenantStanding } from "./tenants.ts";

/** The scopes of §3, in the order they are shown. */
export const SCOPES = ["publish", "consume", "manage", "read", "admin"] as const;

export type TokenScope = (typeof SCOPES)[number];

/** What a bound token is good for: one endpoint, by its id, or whichever has the node name. */
export type TokenBinding =
  | { readonly endpointId: string; readonly node: null }
  | { readonly endpointId: null; readonly node: string };

/** A token as it is known after its making: never its value, never its hash. */
export type Token = {
  readonly id: string;
  /** Null: an operator's. */
  readonly tenantId: string | null;
  readonly name: string;
  readonly scopes: readonly TokenScope[];
  readonly binding: TokenBinding | null;
  /** Whether it is of a portal session. */
  readonly portal: boolean;
  readonly expiresAtMs: number | null;
  readonly createdAtMs: number;
  /** At most a minute behind; null: not used yet. */
  readonly lastUsedAtMs: number | null;
  /** Until when the value before its rotation works too; null: there is none, or it may be long past. */
  readonly previousExpiresAtMs: number | null;
};

/** A token found by one of its values, with all that a request needs to know of it. */
export type FoundToken = {
  readonly token: Token;
  /** When this value ends to work: of a rotated one that may be before the token itself does. Null: never. */
  readonly validUntilMs: number | null;
  /** Of its tenant; null for an operator's. */
  readonly standing: TenantStanding | null;
};

const Row = z.object({
  id: z.string(),
  tenant_id: z.string().nullable(),
  name: z.string(),
  scopes: z.string().transform((text) => z.array(z.enum(SCOPES)).parse(JSON.parse(text))),
  expires_at: z.number().nullable(),
  created_at: z.number(),
  last_used_at: z.number().nullable(),
  previous_expires_at: z.number().nullable(),
  endpoint_id: z.string().nullable(),
  node: z.string().nullable(),
  portal: z.number(),
});

const FoundRow = Row.extend({
  is_previous: z.number(),
  suspended_at: z.number().nullable(),
  limits: z.string().nullable(),
});

const NAMES = [
  "id", "tenant_id", "name", "scopes", "expires_at", "created_at", "last_used_at", "previous_expires_at", "endpoint_id", "node", "portal",
];
const COLUMNS = NAMES.join(", ");
const COLUMNS_OF_TOKENS = NAMES.map((name) => `tokens.${name}`).join(", ");

/** The token one of whose values has that SHA-256 (hex), expired or not, and how its tenant stands. */
export async function findTokenByHash(db: D1Database, hash: string): Promise<FoundToken | null> {
  const row = await db
    .prepare(
      `SELECT ${COLUMNS_OF_TOKENS}, tokens.hash IS NOT ?1 AS is_previous, tenants.suspended_at, tenants.limits
       FROM tokens LEFT JOIN tenants ON tenants.id = tokens.tenant_id
       WHERE tokens.hash = ?1 OR tokens.previous_hash = ?1`,
    )
    .bind(hash)
    .first();
  return row === null ? null : parseFound(row);
}

/** The insert of a new token, for a `batch()` with its audit entry; `hash` is the SHA-256 of its value, hex. */
export function insertTokenStatement(db: D1Database, token: Token, hash: string): D1PreparedStatement {
  return db
    .prepare(
      `INSERT INTO tokens (id, tenant_id, name, hash, scopes, expires_at, created_at, endpoint_id, node)
       VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)`,
    )
    .bind(
      token.id, token.tenantId, token.name, hash, JSON.stringify(token.scopes), token.expiresAtMs, token.createdAtMs,
      token.binding?.endpointId ?? null, token.binding?.node ?? null,
    );
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
  return results.map((row) => toToken(Row.parse(row)));
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
  return row === null ? null : toToken(Row.parse(row));
}

export function updateTokenStatement(
  db: D1Database,
  id: string,
  { name, expiresAtMs }: { readonly name: string; readonly expiresAtMs: number | null },
): D1PreparedStatement {
  return db.prepare("UPDATE tokens SET name = ?2, expires_at = ?3 WHERE id = ?1").bind(id, name, expiresAtMs);
}

/** Gives the token a new value; the one it had works until `previousExpiresAtMs`, one from before that no longer. */
export function rotateTokenStatement(
  db: D1Database,
  id: string,
  { hash, previousExpiresAtMs }: { readonly hash: string; readonly previousExpiresAtMs: number },
): D1PreparedStatement {
  return db
    .prepare("UPDATE tokens SET previous_hash = hash, previous_expires_at = ?3, hash = ?2 WHERE id = ?1")
    .bind(id, hash, previousExpiresAtMs);
}

/** Notes that the token was used, unless a later use is noted already. */
export async function recordTokenUse(db: D1Database, id: string, usedAtMs: number): Promise<void> {
  await db
    .prepare("UPDATE tokens SET last_used_at = ?2 WHERE id = ?1 AND (last_used_at IS NULL OR last_used_at < ?2)")
    .bind(id, usedAtMs)
    .run();
}

export function deleteTokenStatement(db: D1Database, id: string): D1PreparedStatement {
  return db.prepare("DELETE FROM tokens WHERE id = ?1").bind(id);
}

function parseFound(row: unknown): FoundToken {
  const found = FoundRow.parse(row);
  const token = toToken(found);
  const ends = [token.expiresAtMs, found.is_previous === 1 ? (token.previousExpiresAtMs ?? 0) : null];
  const known = ends.filter((endMs) => endMs !== null);
  return {
    token,
    validUntilMs: known.length === 0 ? null : Math.min(...known),
    standing: found.limits === null ? null : { suspended: found.suspended_at !== null, limits: parseLimits(found.limits) },
  };
}

function toToken(row: z.output<typeof Row>): Token {
  return {
    id: row.id,
    tenantId: row.tenant_id,
    name: row.name,
    scopes: row.scopes,
    binding: bindingOf(row),
    portal: row.portal === 1,
    expiresAtMs: row.expires_at,
    createdAtMs: row.created_at,
    lastUsedAtMs: row.last_used_at,
    previousExpiresAtMs: row.previous_expires_at,
  };
}

function bindingOf({ endpoint_id: endpointId, node }: z.output<typeof Row>): TokenBinding | null {
  if (endpointId !== null) return { endpointId, node: null };
  return node === null ? null : { endpointId: null, node };
}
