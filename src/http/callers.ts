import { looksLikeJwt } from "../auth/verify-jwt.ts";
import type { Config } from "../config.ts";
import { sha256Hex } from "../crypto/digest.ts";
import { CACHE_MAX_AGE_MS } from "../delivery/freshness.ts";
import { isolateOf } from "../isolate.ts";
import { describeError, log } from "../log.ts";
import { RecentReads } from "../recent-reads.ts";
import type { TenantLimits } from "../storage/limits.ts";
import { DEFAULT_TENANT, type TenantStanding } from "../storage/tenants.ts";
import { findTokenByHash, SCOPES, type TokenBinding } from "../storage/tokens.ts";
import { openWakeToken, WAKE_TOKEN_PREFIX, type WakeGrant } from "../streams/subscriptions/wake-token.ts";
import { holderOfJwt } from "./jwt/jwt-holder.ts";
import { ProblemError } from "./problem.ts";
import type { RequestWorld } from "./request-world.ts";
import { fail, type Principal, type Scope } from "./router.ts";
import { forgetStandings, standingOf } from "./tenant-standings.ts";
import { noteUse } from "./token-use.ts";

/** What a request brings to say who it is from. */
export type Credentials = { readonly authorization: string | undefined; /** `Postern-Tenant` */ readonly tenant: string | undefined };

/** Who is asking, for which tenant, and what that tenant may use. */
export type Caller = {
  readonly principal: Principal;
  readonly limits: TenantLimits;
  /** Null: as long as the token is not revoked. */
  readonly validUntilMs: number | null;
};

/** Who holds the token, before the tenant is settled: `tenantId` null for an operator. */
type Holder = {
  readonly tokenId: string;
  readonly tenantId: string | null;
  readonly scopes: ReadonlySet<Scope>;
  readonly binding: TokenBinding | null;
  readonly validUntilMs: number | null;
  /** Null where the token was not read together with its tenant. */
  readonly standing: TenantStanding | null;
  readonly wake?: WakeGrant;
};

const MAX_CACHED = 10_000;
/** Longer than any token of ours: others are asked about each time, and would only take up memory. */
const MAX_CACHED_CHARACTERS = 256;
const BEARER = /^Bearer +([\x21-\x7e]{1,8192})$/i;

/** By credentials: what ends in a refusal is asked again every time. */
const recentCallers = new RecentReads<Caller>(CACHE_MAX_AGE_MS, MAX_CACHED);

/** The SHA-256 of the operator's token, which does not change while an isolate lives. */
const adminHashes = new WeakMap<Config, string>();

/** Who is asking, where that was settled within the last second and is still so; null otherwise. */
export function knownCaller(credentials: Credentials, nowMs: number): Caller | null {
  const caller = recentCallers.get(keyOf(credentials), nowMs);
  if (caller === undefined || (caller.validUntilMs !== null && caller.validUntilMs <= nowMs)) return null;
  return caller;
}

/**
 * Who is asking, as of at most a second ago; in steady traffic nobody waits for the reads. Ends the request: 401, 404
 * for a tenant that is not theirs, 403 for one that is suspended.
 */
export async function callerOf(world: RequestWorld, credentials: Credentials): Promise<Caller> {
  const nowMs = Date.now();
  const known = knownCaller(credentials, nowMs);
  if (known === null) return readCaller(world, credentials, nowMs);
  if (recentCallers.claimRefresh(keyOf(credentials), nowMs)) {
    // A refusal is told to whoever asks once this is too old.
    world.inBackground(readCaller(world, credentials, nowMs).catch(() => undefined));
  }
  return known;
}

/** Whether a request that was let in would be let in now, as of at most a second ago. Throws when that can not be told. */
export async function isStillAllowed(world: RequestWorld, credentials: Credentials): Promise<boolean> {
  try {
    await callerOf(world, credentials);
    return true;
  } catch (thrown) {
    if (thrown instanceof ProblemError && thrown.problem.code !== "unavailable") return false;
    throw thrown;
  }
}

/** Who can not be judged may not go on: the client comes again, and is told why it has to wait. */
export async function mayGoOn(world: RequestWorld, credentials: Credentials): Promise<boolean> {
  try {
    return await isStillAllowed(world, credentials);
  } catch (error) {
    log("warn", "what was waited for was not given out, for its token could not be judged", { requestId: world.requestId, error: describeError(error) });
    return false;
  }
}

/** After a change that this isolate made itself. */
export function forgetCallers(nowMs: number): void {
  recentCallers.forget(nowMs);
  forgetStandings(nowMs);
}

/** Whether what is known of the caller will soon be too old; true once only, for whoever then asks {@link callerOf}. */
export function isAging(credentials: Credentials, nowMs: number): boolean {
  return recentCallers.isAging(keyOf(credentials), nowMs);
}

async function readCaller(world: RequestWorld, credentials: Credentials, nowMs: number): Promise<Caller> {
  const token = BEARER.exec(credentials.authorization ?? "")?.[1];
  if (token === undefined) return unauthenticated("Send `Authorization: Bearer <token>`.", "");
  const holder = (await identify(world, token, nowMs)) ?? notAccepted();
  const caller = await settleTenant(world, holder, credentials.tenant);
  if ((credentials.authorization?.length ?? 0) <= MAX_CACHED_CHARACTERS) recentCallers.set(keyOf(credentials), caller, nowMs);
  return caller;
}

async function identify(world: RequestWorld, value: string, nowMs: number): Promise<Holder | null> {
  const { config } = isolateOf(world.env);
  const hash = await sha256Hex(value);
  const adminHash = await adminTokenHash(config);
  if (adminHash !== null && sameText(hash, adminHash)) {
    return { tokenId: "operator", tenantId: null, scopes: new Set(SCOPES), binding: null, validUntilMs: null, standing: null };
  }
  if (value.startsWith(WAKE_TOKEN_PREFIX)) {
    const wake = await openWakeToken(config.encryptionKeys, value);
    if (wake === null) return null;
    return { tokenId: `wake:${wake.id}`, tenantId: wake.tenantId, scopes: new Set(), binding: null, validUntilMs: nowMs, standing: null, wake };
  }
  if (config.jwtIssuers.length > 0 && looksLikeJwt(value)) {
    const grant = await holderOfJwt(world, value, nowMs);
    if (grant === null) return null;
    const { actor: tokenId, tenantId, scopes } = grant;
    // Whether it still holds is for its issuer's keys and its own claims to say, each time.
    return { tokenId, tenantId, scopes: new Set(scopes), binding: null, validUntilMs: nowMs, standing: null };
  }
  const found = await findTokenByHash(world.env.DB, hash);
  if (found === null || (found.validUntilMs !== null && found.validUntilMs <= nowMs)) return null;
  const { token, standing, validUntilMs } = found;
  noteUse(world, token, nowMs);
  return { tokenId: token.id, tenantId: token.tenantId, scopes: new Set(token.scopes), binding: token.binding, validUntilMs, standing };
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
async function settleTenant(world: RequestWorld, holder: Holder, named: string | undefined): Promise<Caller> {
  const { tokenId, scopes, binding, validUntilMs, wake } = holder;
  const operator = holder.tenantId === null;
  if (!operator && named !== undefined && named !== holder.tenantId) noSuchTenant();
  const tenantId = holder.tenantId ?? named ?? DEFAULT_TENANT;
  const standing = holder.standing ?? (await standingOf(world.env.DB, tenantId, Date.now(), world.inBackground));
  // the claims of a JWT may name a tenant that is no more, or never was
  if (standing === null) return operator ? noSuchTenant() : notAccepted();
  if (standing.suspended && !operator) {
    fail({ code: "tenant-suspended", detail: "An operator of this gateway has suspended the tenant: ask them to resume it." });
  }
  const principal = { tokenId, operator, tenantId, scopes, ...(binding === null ? {} : { binding }), ...(wake === undefined ? {} : { wake }) };
  return { principal, limits: standing.limits, validUntilMs };
}

function keyOf({ authorization = "", tenant = "" }: Credentials): string {
  return `${tenant}\n${authorization}`;
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
