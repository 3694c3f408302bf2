import { importJWK } from "jose";
import { z } from "zod";
import { type Issuer, type JwtAlgorithm, KEY_OF_ALGORITHM } from "./issuers.ts";

/** A public key for one algorithm. */
export type VerifyingKey = { readonly kid: string | null; readonly algorithm: JwtAlgorithm; readonly key: CryptoKey };

const MAX_KEYS = 100;
const MIN_RSA_BITS = 2048;

/** RFC 7517, as far as a signature's public key goes; other members are left behind, a private one is a reason to refuse. */
const PublicJwk = z.object({
  kty: z.string(),
  kid: z.string().max(512).optional(),
  use: z.literal("sig").optional(),
  key_ops: z.array(z.string()).refine((operations) => operations.includes("verify")).optional(),
  alg: z.string().optional(),
  crv: z.string().optional(),
  x: z.string().optional(),
  y: z.string().optional(),
  n: z.string().optional(),
  e: z.string().optional(),
  d: z.undefined().optional(),
});
const KeySet = z.object({ keys: z.array(z.unknown()).max(MAX_KEYS) });

/**
 * The keys of a JWKS that may verify tokens of the issuer, imported; null when it is no JWKS. A key of another use or
 * kind, or one that cannot be imported, is left out: the others of the set still count.
 */
export async function importKeySet(body: Uint8Array, algorithms: Issuer["algorithms"]): Promise<VerifyingKey[] | null> {
  const set = KeySet.safeParse(parseJson(body));
  if (!set.success) return null;
  const jwks = set.data.keys.flatMap((key) => {
    const parsed = PublicJwk.safeParse(key);
    return parsed.success ? [parsed.data] : [];
  });
  const wanted = jwks.flatMap((jwk) => algorithms.filter((algorithm) => suits(jwk, algorithm)).map((algorithm) => ({ jwk, algorithm })));
  const keys = await Promise.all(wanted.map(({ jwk, algorithm }) => importKey(jwk, algorithm)));
  return keys.filter((key) => key !== null);
}

/** The one key for a token's header; null when there is none, or without a `kid` more than one. */
export function findKey(
  keys: readonly VerifyingKey[],
  header: { readonly kid: string | undefined; readonly algorithm: JwtAlgorithm },
): CryptoKey | null {
  const candidates = keys.filter(({ kid, algorithm }) => algorithm === header.algorithm && (header.kid === undefined || kid === header.kid));
  const [first] = candidates;
  return candidates.length === 1 && first !== undefined ? first.key : null;
}

type Jwk = z.output<typeof PublicJwk>;

function suits(jwk: Jwk, algorithm: JwtAlgorithm): boolean {
  const wanted: { readonly kty: string; readonly crv?: string } = KEY_OF_ALGORITHM[algorithm];
  return jwk.kty === wanted.kty && jwk.crv === wanted.crv && (jwk.alg === undefined || jwk.alg === algorithm);
}

async function importKey({ kty, crv, x, y, n, e, kid }: Jwk, algorithm: JwtAlgorithm): Promise<VerifyingKey | null> {
  const members = Object.entries({ kty, crv, x, y, n, e }).filter(([, value]) => value !== undefined);
  try {
    const key = await importJWK(Object.fromEntries(members), algorithm);
    if (!(key instanceof CryptoKey) || key.type !== "public" || isShortRsa(key)) return null;
    return { kid: kid ?? null, algorithm, key };
  } catch {
    // jose and WebCrypto throw for a point that is not on its curve, a member that is missing or is no base64url
    return null;
  }
}

function isShortRsa({ algorithm }: CryptoKey): boolean {
  return "modulusLength" in algorithm && Number(algorithm.modulusLength) < MIN_RSA_BITS;
}

function parseJson(body: Uint8Array): unknown {
  try {
    return JSON.parse(new TextDecoder("utf-8", { fatal: true, ignoreBOM: false }).decode(body));
  } catch {
    // what is no JSON is no key set, which the schema says of undefined
    return undefined;
  }
}
