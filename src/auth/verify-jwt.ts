import { decodeJwt, decodeProtectedHeader, errors, type JWTPayload, jwtVerify, type ProtectedHeaderParameters } from "jose";
import { isAlgorithm, type Issuer, type JwtAlgorithm } from "./issuers.ts";
import type { IssuerKeys, KeyRequest } from "./issuer-keys.ts";

/** Why a JWT was not accepted; for the log, not for its sender. */
export type JwtRefusal =
  | "malformed"
  | "unknown-issuer"
  | "algorithm"
  | "brings-its-key"
  | "type"
  | "unknown-key"
  | "signature"
  | "expired"
  | "claims"
  /** Not judged: no key set could be had from the issuer. */
  | "keys-unavailable";

export type VerifiedJwt =
  | { readonly ok: true; readonly issuer: Issuer; readonly claims: JWTPayload }
  | { readonly ok: false; readonly reason: JwtRefusal };

export type JwtWorld = {
  readonly issuers: readonly Issuer[];
  readonly keys: IssuerKeys;
  readonly inBackground: KeyRequest["inBackground"];
};

const COMPACT_JWS = /^[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]*$/;
/** RFC 7515 §4.1.2–4.1.6: what a token may say about the key it wants to be verified with. */
const KEY_IN_HEADER = ["jwk", "jku", "x5u", "x5c"];
/** RFC 8725 §3.11: a token that was made for something else says so in its type. */
const TYPES: ReadonlySet<string> = new Set(["jwt", "application/jwt", "at+jwt", "application/at+jwt"]);

/** Whether a bearer token has the form of a signed JWT. An API token has no dot. */
export function looksLikeJwt(token: string): boolean {
  return COMPACT_JWS.test(token);
}

/**
 * Verifies a JWT against the configured issuers (RFC 7519, RFC 8725). Algorithm, issuer, audience and key come from the
 * configuration alone; `exp` is required and `nbf` respected, each with the issuer's leeway.
 */
export async function verifyJwt(token: string, world: JwtWorld, nowMs: number): Promise<VerifiedJwt> {
  const decoded = decode(token);
  if (decoded === null) return { ok: false, reason: "malformed" };
  const { header, claims } = decoded;
  const issuer = world.issuers.find((one) => one.issuer === claims.iss);
  if (issuer === undefined) return { ok: false, reason: "unknown-issuer" };
  const algorithm = header.alg;
  if (!isAlgorithm(algorithm) || !issuer.algorithms.includes(algorithm)) return { ok: false, reason: "algorithm" };
  const refusal = headerRefusal(header);
  if (refusal !== null) return { ok: false, reason: refusal };
  const { inBackground } = world;
  const found = await world.keys.lookUp(issuer, { kid: header.kid, algorithm, nowMs, inBackground });
  return found.ok ? verifyWith(found.key, token, { issuer, algorithm, nowMs }) : found;
}

type Decoded = { readonly header: ProtectedHeaderParameters; readonly claims: JWTPayload };

/** Header and claims as they stand there: nothing of them is proven. */
function decode(token: string): Decoded | null {
  try {
    return { header: decodeProtectedHeader(token), claims: decodeJwt(token) };
  } catch (thrown) {
    if (thrown instanceof TypeError || thrown instanceof errors.JOSEError) return null;
    throw thrown;
  }
}

function headerRefusal(header: ProtectedHeaderParameters): JwtRefusal | null {
  if (KEY_IN_HEADER.some((name) => Object.hasOwn(header, name))) return "brings-its-key";
  const { typ, kid }: { readonly typ?: unknown; readonly kid?: unknown } = header;
  if (kid !== undefined && typeof kid !== "string") return "malformed";
  return typ === undefined || (typeof typ === "string" && TYPES.has(typ.toLowerCase())) ? null : "type";
}

async function verifyWith(
  key: CryptoKey,
  token: string,
  { issuer, algorithm, nowMs }: { readonly issuer: Issuer; readonly algorithm: JwtAlgorithm; readonly nowMs: number },
): Promise<VerifiedJwt> {
  try {
    const { payload } = await jwtVerify(token, key, {
      algorithms: [algorithm],
      issuer: issuer.issuer,
      audience: issuer.audience,
      requiredClaims: ["exp"],
      clockTolerance: issuer.leewaySeconds,
      currentDate: new Date(nowMs),
    });
    return { ok: true, issuer, claims: payload };
  } catch (thrown) {
    if (thrown instanceof errors.JOSEError) return { ok: false, reason: refusalOf(thrown) };
    throw thrown;
  }
}

function refusalOf({ code }: errors.JOSEError): JwtRefusal {
  switch (code) {
    case "ERR_JWT_EXPIRED":
      return "expired";
    case "ERR_JWT_CLAIM_VALIDATION_FAILED":
      return "claims";
    case "ERR_JWS_SIGNATURE_VERIFICATION_FAILED":
      return "signature";
    default:
      return "malformed";
  }
}
