import { type CryptoKey, exportJWK, generateKeyPair, type JWK, type JWTPayload, SignJWT } from "jose";
import { type Issuer, parseIssuers } from "../../../src/auth/issuers.ts";

export const ISSUER = "https://login.example.com/";
export const JWKS_URL = "https://login.example.com/keys";
export const AUDIENCE = "https://postern.example.com";

export const SETTINGS = { issuer: ISSUER, jwksUrl: JWKS_URL, audience: AUDIENCE };

export function issuerWith(settings: Record<string, unknown> = {}): Issuer {
  const [issuer] = parseIssuers(JSON.stringify([{ ...SETTINGS, ...settings }]), new Set());
  if (issuer === undefined) throw new Error("no issuer was parsed");
  return issuer;
}

export type SigningKey = { readonly kid: string; readonly alg: string; readonly privateKey: CryptoKey; readonly jwk: JWK };

export async function signingKey(kid: string, alg = "RS256"): Promise<SigningKey> {
  const { publicKey, privateKey } = await generateKeyPair(alg, { extractable: true });
  return { kid, alg, privateKey, jwk: { ...(await exportJWK(publicKey)), kid, alg, use: "sig" } };
}

/** Signs what a well-behaved issuer would, but for what is given; a claim of `undefined` is left out. */
export function sign(
  key: Pick<SigningKey, "kid" | "alg" | "privateKey">,
  claims: JWTPayload = {},
  header: Record<string, unknown> = {},
): Promise<string> {
  const nowSeconds = Math.floor(Date.now() / 1000);
  const all = { iss: ISSUER, aud: AUDIENCE, sub: "someone", tenant: "acme", scope: "read publish", exp: nowSeconds + 300, ...claims };
  const kept = Object.fromEntries(Object.entries(all).filter(([, value]) => value !== undefined));
  return new SignJWT(kept).setProtectedHeader({ alg: key.alg, kid: key.kid, ...header }).sign(key.privateKey);
}

/** A token in three parts, put together by hand. */
export function compact(header: unknown, claims: unknown, signature = ""): string {
  const part = (value: unknown): string => Buffer.from(JSON.stringify(value)).toString("base64url");
  return `${part(header)}.${part(claims)}.${signature}`;
}
