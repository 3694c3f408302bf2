import { createMiddleware } from "hono/factory";
import type { Config } from "../../config.ts";
import { sha256Hex } from "../../crypto/digest.ts";
import { CACHE_MAX_AGE_MS } from "../../delivery/freshness.ts";
import { DEFAULT_TENANT, tenantExists } from "../../storage/tenants.ts";
import { findTokenByHash, SCOPES, type Token } from "../../storage/tokens.ts";
import { RecentReads } from "../../recent-reads.ts";
import { type AppEnv, fail, type Principal, type Scope } from "../router.ts";

const MAX_CACHED = 1000;
const BEARER = /^Bearer +([\x21-\x7e]{1,4096})$/i;

/** Found tokens by hash and found tenants by id; what was not found is asked again every time. */
const recentTokens = new RecentReads<Token>(CACHE_MAX_AGE_MS, MAX_CACHED);
const recentTenants = new RecentReads<true>(CACHE_MAX_AGE_MS, MAX_CACHED);

/** The SHA-256 of the operator's token, which does not change while an isolate lives. */
const adminHashes = new WeakMap<Config, string>();

type Env = AppEnv["Bindings"];

/** Who holds the token, before the tenant is settled: `tenantId` null for an operator. */
type Holder = { readonly tokenId: string; readonly tenantId: string | null; readonly scopes: ReadonlySet<Scope> };

/** Settles who asks and for which tenant, or ends the request with 401, or 404 for a tenant that is not theirs. */
export const authenticate = createMiddleware<AppEnv>(async (c, next) => {
  const token = BEARER.exec(c.req.header("authorization") ?? "")?.[1];
  if (token === undefined) return unauthenticated("Send `Authorization: Bearer <token>`.", "");
  const holder = await identify(c.env, token, c.get("config"));
  if (holder === null) {
    return unauthenticated("The token is not known, was revoked or has expired.", ', error="invalid_token"');
  }
  c.set("principal", await settleTenant(c.env, holder, c.req.header("postern-tenant")));
  return next();
});

async function identify(env: Env, token: string, config: Config): Promise<Holder | null> {
  const hash = await sha256Hex(token);
  const adminHash = await adminTokenHash(config);
  if (adminHash !== null && sameText(hash, adminHash)) {
    return { tokenId: "operator", tenantId: null, scopes: new Set(SCOPES) };
  }
  const nowMs = Date.now();
  let found = recentTokens.get(hash, nowMs);
  if (found === undefined) {
    found = (await findTokenByHash(env.DB, hash)) ?? undefined;
    if (found !== undefined) recentTokens.set(hash, found, nowMs);
  }
  if (found === undefined || (found.expiresAtMs !== null && found.expiresAtMs <= nowMs)) return null;
  return { tokenId: found.id, tenantId: found.tenantId, scopes: new Set(found.scopes) };
}

async function adminTokenHash(config: Config): Promise<string | null> {
  if (config.adminToken === null) return null;
  const known = adminHashes.get(config);
  if (known !== undefined) return known;
  const hash = await sha256Hex(config.adminToken);
  adminHashes.set(config, hash);
  return hash;
}

/** A tenant's token that names another tenant gets the same answer whether that one exists or not (I7). */
async function settleTenant(env: Env, holder: Holder, named: string | undefined): Promise<Principal> {
  const { tokenId, scopes } = holder;
  if (holder.tenantId !== null) {
    if (named !== undefined && named !== holder.tenantId) noSuchTenant();
    return { tokenId, operator: false, tenantId: holder.tenantId, scopes };
  }
  const tenantId = named ?? DEFAULT_TENANT;
  if (!(await isKnownTenant(env, tenantId))) noSuchTenant();
  return { tokenId, operator: true, tenantId, scopes };
}

async function isKnownTenant(env: Env, tenantId: string): Promise<boolean> {
  if (tenantId === DEFAULT_TENANT) return true; // it can not be deleted
  const nowMs = Date.now();
  if (recentTenants.get(tenantId, nowMs) === true) return true;
  const exists = await tenantExists(env.DB, tenantId);
  if (exists) recentTenants.set(tenantId, true, nowMs);
  return exists;
}

function noSuchTenant(): never {
  return fail({ code: "not-found", detail: "There is no such tenant: mend or leave out `Postern-Tenant`." });
}

function unauthenticated(detail: string, parameters: string): never {
  return fail({
    code: "unauthenticated",
    detail,
    headers: { "www-authenticate": `Bearer realm="postern"${parameters}` },
  });
}

/** Compares two hashes in a time that does not depend on where they differ. */
function sameText(left: string, right: string): boolean {
  let difference = left.length ^ right.length;
  for (let index = 0; index < left.length; index++) difference |= left.charCodeAt(index) ^ right.charCodeAt(index);
  return difference === 0;
}
