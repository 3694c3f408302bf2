import { toBase64Url } from "../../crypto/base64.ts";
import { derivedBytes } from "../../crypto/derived-key.ts";
import type { RingKey } from "../../crypto/keyring.ts";

/** A public key as a JSON Web Key (RFC 8037). */
export type WakeJwk = {
  readonly kty: "OKP";
  readonly crv: "Ed25519";
  readonly x: string;
  readonly kid: string;
  readonly use: "sig";
  readonly alg: "EdDSA";
};

type SigningKey = { readonly privateKey: CryptoKey; readonly jwk: WakeJwk };

const ED25519 = { name: "Ed25519" };
/** PKCS #8 of an Ed25519 key (RFC 8410 §7) up to its 32 bytes. */
const PKCS8_HEAD = [0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04, 0x20];

/**
 * The keys a tenant's webhook wakes are verified with, the one that signs now first. Each tenant has its own, so that
 * none can make what passes for another's. They are derived from the key ring: one that is still in it is still shown.
 */
export async function wakeJwks(keys: readonly RingKey[], tenantId: string): Promise<WakeJwk[]> {
  const derived = await Promise.all(keys.map(({ key }) => signingKey(key, tenantId)));
  return derived.map(({ jwk }) => jwk);
}

/** The value of `Webhook-Signature` (protocol §7.1). */
export async function signWake(keys: readonly RingKey[], tenantId: string, body: string, nowMs: number): Promise<string> {
  const [active] = keys;
  if (active === undefined) throw new Error("POSTERN_ENCRYPTION_KEYS holds no key");
  const { privateKey, jwk } = await signingKey(active.key, tenantId);
  const timestamp = Math.floor(nowMs / 1000);
  const signature = await crypto.subtle.sign(ED25519, privateKey, new TextEncoder().encode(`${timestamp}.${body}`));
  return `t=${timestamp},kid=${jwk.kid},ed25519=${toBase64Url(new Uint8Array(signature))}`;
}

async function signingKey(encryptionKey: Uint8Array, tenantId: string): Promise<SigningKey> {
  const seed = await derivedBytes(encryptionKey, `postern stream webhooks v1\n${tenantId}`);
  const pkcs8 = Uint8Array.from([...PKCS8_HEAD, ...seed]);
  const privateKey = await crypto.subtle.importKey("pkcs8", pkcs8, ED25519, true, ["sign"]);
  const exported = await crypto.subtle.exportKey("jwk", privateKey);
  if (exported instanceof ArrayBuffer || exported.x === undefined) throw new Error("a private key has its public key in it");
  return { privateKey, jwk: { kty: "OKP", crv: "Ed25519", x: exported.x, kid: await keyId(exported.x), use: "sig", alg: "EdDSA" } };
}

/** The thumbprint of RFC 7638 and RFC 8037 §2: made of the key, so it never changes and no other key has it. */
async function keyId(x: string): Promise<string> {
  const members = new TextEncoder().encode(JSON.stringify({ crv: "Ed25519", kty: "OKP", x }));
  return `ds_${toBase64Url(new Uint8Array(await crypto.subtle.digest("SHA-256", members)))}`;
}
