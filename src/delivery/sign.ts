import { toBase64 } from "../crypto/base64.ts";

const encoder = new TextEncoder();

/**
 * The value of `webhook-signature`: `v1,<base64 HMAC-SHA256>` for each key, separated by spaces, over the raw bytes
 * `id.timestamp.body` (Standard Webhooks 1.0), and `v1a,<base64 Ed25519>` where there is such a key. During a rotation
 * old and new key both sign.
 */
export async function webhookSignature(
  messageId: string,
  timestampSeconds: number,
  body: Uint8Array,
  keys: readonly CryptoKey[],
  asymmetricKey: CryptoKey | null = null,
): Promise<string> {
  // An id is ASCII, so it has as many bytes as characters.
  const prefix = `${messageId}.${timestampSeconds}.`;
  const signed = new Uint8Array(prefix.length + body.length);
  encoder.encodeInto(prefix, signed);
  signed.set(body, prefix.length);
  const signatures: string[] = [];
  for (const key of keys) {
    signatures.push(`v1,${toBase64(new Uint8Array(await crypto.subtle.sign("HMAC", key, signed)))}`);
  }
  if (asymmetricKey !== null) {
    signatures.push(`v1a,${toBase64(new Uint8Array(await crypto.subtle.sign("Ed25519", asymmetricKey, signed)))}`);
  }
  return signatures.join(" ");
}
