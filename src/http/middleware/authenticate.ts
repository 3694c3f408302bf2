import type { Context } from "hono";
import { createMiddleware } from "hono/factory";
import { looksLikeJwt } from "../../auth/verify-jwt.ts";
import type { Config } from "../../config.ts";
import { sha256Hex } from "../../crypto/digest.ts";
import { CACHE_MAX_AGE_MS } from "../../delivery/freshness.ts";
import { DEFAULT_TENANT, type TenantStanding } from "../../storage/tenants.ts";
import { findTokenByHash, type FoundToken, SCOPES, type TokenBinding } from "../../storage/tokens.ts";
import { RecentReads } from "../../recent-reads.ts";
import { openWakeToken, WAKE_TOKEN_PREFIX, type WakeGrant } from "../../streams/subscriptions/wake-token.ts";
import { holderOfJwt } from "../jwt/jwt-holder.ts";
import { ProblemError } from "../problem.ts";
import { type AppEnv, fail, type Principal, type Scope } from "../router.ts";
import { standingOf } from "../tenant-standings.ts";
import { noteUse } from "../token-use.ts";

const MAX_CACHED = 1000;
const BEARER = /^Bearer +([\x21-\x7e]{1,8192})$/i;

/** Found tokens by hash; what was not found is asked again every time. */
const recentTokens = new RecentReads<FoundToken>(CACHE_MAX_AGE_MS, MAX_CACHED);

/** The SHA-256 of the operator's token, which does not change while an isolate lives. */
const adminHashes = new WeakMap<Config, string>();

/** Who holds the token, before the tenant is settled: `tenantId` null for an operator. */
type Holder = {
  readonly tokenId: string;
  readonly tenantId: string | null;
  readonly scopes: ReadonlySet<Scope>;
  readonly binding: TokenBinding | null;
  /** Null where the token was not read together with its tenant. */
  readonly standing: TenantStanding | null;
  readonly wake?: WakeGrant;
};

/**
 * Settles who asks and for which tenant, or ends the request: 401, 404 for a tenant that is not theirs, 403 for one
 * that is suspended.
 */
export const authenticate = createMiddleware<AppEnv>(async (c, next) => {
  const { principal, standing } = await admit(c);
  c.set("principal", principal);
  c.set("limits", standing.limits);
  return next();
});

/** Whether a request that was let in would be let in now, as of at most a second ago. Throws when that can not be told. */
export async function isStillAllowed(c: Context<AppEnv>): Promise<boolean> {
  try {
    await admit(c);
    return true;
  } catch (thrown) {
    if (thrown instanceof ProblemError && thrown.problem.code !== "unavailable") return false;
    throw thrown;
  }
}

async function admit(c: Context<AppEnv>): Promise<Settled> {
  const token = BEARER.exec(c.req.header("authorization") ?? "")?.[1];
  if (token === undefined) return unauthenticated("Send `Authorization: Bearer <token>`.", "");
  const holder = (await identify(c, token, Date.now())) ?? notAccepted();
  const settled = await settleTenant(c, holder, c.req.header("postern-tenant"));
  if (settled.standing.suspended && !settled.principal.operator) {
    fail({ code: "tenant-suspended", detail: "An operator of this gateway has suspended the tenant: ask them to resume it." });
  }
  return settled;
}

async function identify(c: Context<AppEnv>, value: string, nowMs: number): Promise<Holder | null> {
  const config = c.get("config");
  const hash = await sha256Hex(value);
  const adminHash = await adminTokenHash(config);
  if (adminHash !== null && sameText(hash, adminHash)) {
    return { tokenId: "operator", tenantId: null, scopes: new Set(SCOPES), binding: null, standing: null };
  }
  if (value.startsWith(WAKE_TOKEN_PREFIX)) {
    const wake = await openWakeToken(config.encryptionKeys, value);
    if (wake === null) return null;
    return { tokenId: `wake:${wake.id}`, tenantId: wake.tenantId, scopes: new Set(), binding: null, standing: null, wake };
  }
  if (config.jwtIssuers.length > 0 && looksLikeJwt(value)) {
    const grant = await holderOfJwt(c, value, nowMs);
    if (grant === null) return null;
    return { tokenId: grant.actor, tenantId: grant.tenantId, scopes: new Set(grant.scopes), binding: null, standing: null };
  }
  const found = await findToken(c, hash, nowMs);
  if (found === null || (found.validUntilMs !== null && found.validUntilMs <= nowMs)) return null;
  const { token, standing } = found;
  noteUse(c, token, nowMs);
  return { tokenId: token.id, tenantId: token.tenantId, scopes: new Set(token.scopes), binding: token.binding, standing };
}

async function findToken(c: Context<AppEnv>, hash: string, nowMs: number): Promise<FoundToken | null> {
  const known = recentTokens.get(hash, nowMs);
  if (known !== undefined) return known;
  const found = await findTokenByHash(c.env.DB, hash);
  if (found !== null) recentTokens.set(hash, found, nowMs);
  return found;
}

async function adminTokenHash(config: Config): Promise<string | null> {
  if (config.adminToken === null) return null;
  const known = adminHashes.get(config);
  if (known !== undefined) return known;
  const hash = await sha256Hex(config.adminToken);
  adminHashes.set(config, hash);
  return hash;
}

type Settled = { readonly principal: Principal; readonly standing: TenantStanding };

/** A tenant's token that names another tenant gets the same answer whether that one exists or not (I7). */
async function settleTenant(c: Context<AppEnv>, holder: Holder, named: string | undefined): Promise<Settled> {
  const { tokenId, scopes, binding, wake } = holder;
  const operator = holder.tenantId === null;
  if (!operator && named !== undefined && named !== holder.tenantId) noSuchTenant();
  const tenantId = holder.tenantId ?? named ?? DEFAULT_TENANT;
  const background = (work: Promise<unknown>): void => c.executionCtx.waitUntil(work);
  const standing = holder.standing ?? (await standingOf(c.env.DB, tenantId, Date.now(), background));
  // the claims of a JWT may name a tenant that is no more, or never was
  if (standing === null) return operator ? noSuchTenant() : notAccepted();
  return { principal: { tokenId, operator, tenantId, scopes, ...(binding === null ? {} : { binding }), ...(wake === undefined ? {} : { wake }) }, standing };
}

function noSuchTenant(): never {
  return fail({ code: "not-found", detail: "There is no such tenant: mend or leave out `Postern-Tenant`." });
}

/** Ends the request: its token is none that is known now. */
export function notAccepted(): never {
  return unauthenticated("The token is not known, was revoked or has expired.", ', error="invalid_token"');
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
