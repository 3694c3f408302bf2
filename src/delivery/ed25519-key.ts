import { fromBase64, toBase64, toBase64Url } from "../crypto/base64.ts";

/** A key pair as it is kept: the public key in base64url, the private one as PKCS #8 in base 64, to be sealed. */
export type KeyPairText = { readonly publicKey: string; readonly privateKey: string };

const ED25519 = { name: "Ed25519" };

/** A new Ed25519 key pair (RFC 8032). */
export async function generateKeyPair(): Promise<KeyPairText> {
  const pair = await crypto.subtle.generateKey(ED25519, true, ["sign", "verify"]);
  if (!("privateKey" in pair)) throw new Error("Ed25519 has key pairs");
  const [publicKey, privateKey] = await Promise.all([
    crypto.subtle.exportKey("raw", pair.publicKey),
    crypto.subtle.exportKey("pkcs8", pair.privateKey),
  ]);
  if (!(publicKey instanceof ArrayBuffer) || !(privateKey instanceof ArrayBuffer)) throw new Error("raw keys are bytes");
  return { publicKey: toBase64Url(new Uint8Array(publicKey)), privateKey: toBase64(new Uint8Array(privateKey)) };
}

/** The key that signs `v1a`; throws on what is none, without repeating it. */
export async function importPrivateKey(privateKey: string): Promise<CryptoKey> {
  const bytes = fromBase64(privateKey);
  if (bytes === null) throw new Error("not a private key");
  return crypto.subtle.importKey("pkcs8", bytes, ED25519, false, ["sign"]);
}

/** A public key as Standard Webhooks writes it: `whpk_` and the base64 of its 32 bytes. */
export function publicKeyText(publicKey: string): string {
  return `whpk_${toBase64(fromBase64(publicKey) ?? new Uint8Array())}`;
}
