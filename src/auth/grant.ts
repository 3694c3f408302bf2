import type { JWTPayload } from "jose";
import { SCOPES, type TokenScope } from "../storage/tokens.ts";
import type { Issuer } from "./issuers.ts";

/** What the claims of a verified JWT allow. */
export type Grant = {
  /** For the audit log: the subject and who vouches for it. */
  readonly actor: string;
  /** Null: an operator's. */
  readonly tenantId: string | null;
  readonly scopes: readonly TokenScope[];
};

const MAX_SUBJECT_CHARACTERS = 256;
const TENANT_ID = /^[A-Za-z0-9_-]{1,64}$/;

/**
 * The tenant and the scopes that the issuer's own claims name; scopes of other services are passed over. Only an
 * issuer that is configured to makes operators, and only of those whose claim is exactly `true`. Null when the claims
 * name no tenant.
 */
export function grantOf(issuer: Issuer, claims: JWTPayload): Grant | null {
  const { sub = "" }: { readonly sub?: unknown } = claims;
  if (typeof sub !== "string" || sub.length > MAX_SUBJECT_CHARACTERS) return null;
  const actor = `jwt:${sub}@${issuer.issuer}`;
  const scopes = scopesOf(claimOf(claims, issuer.scopesClaim));
  if (issuer.operatorClaim !== null && claimOf(claims, issuer.operatorClaim) === true) return { actor, tenantId: null, scopes };
  const tenantId = claimOf(claims, issuer.tenantClaim);
  return typeof tenantId === "string" && TENANT_ID.test(tenantId) ? { actor, tenantId, scopes } : null;
}

function claimOf(claims: JWTPayload, name: string): unknown {
  return Object.hasOwn(claims, name) ? claims[name] : undefined;
}

/** RFC 6749 §3.3, or the array that some issuers send. */
function scopesOf(claim: unknown): TokenScope[] {
  const named: unknown[] = typeof claim === "string" ? claim.split(" ") : Array.isArray(claim) ? claim : [];
  return SCOPES.filter((scope) => named.includes(scope));
}
