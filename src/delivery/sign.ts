import { toBase64 } from "../crypto/base64.ts";

const encoder = new TextEncoder();
/** Of what is signed: an allocation for each signature would cost more than the signature. */
const SCRATCH_BYTES = 64 * 1024;
const scratch = new Uint8Array(SCRATCH_BYTES);

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
  const signed = roomFor(prefix.length + body.length);
  encoder.encodeInto(prefix, signed);
  signed.set(body, prefix.length);
  // All begin before the first is awaited: the scratch space is the next one's by then.
  const signing = keys.map((key) => crypto.subtle.sign("HMAC", key, signed));
  const signingAsymmetric = asymmetricKey === null ? null : crypto.subtle.sign("Ed25519", asymmetricKey, signed);
  const signatures: string[] = [];
  for (const signature of signing) signatures.push(`v1,${toBase64(new Uint8Array(await signature))}`);
  if (signingAsymmetric !== null) signatures.push(`v1a,${toBase64(new Uint8Array(await signingAsymmetric))}`);
  return signatures.join(" ");
}

/** Scratch space, where it is enough: WebCrypto copies what it is given before it answers (`sign`, step 1). */
function roomFor(bytes: number): Uint8Array {
  return bytes <= SCRATCH_BYTES ? scratch.subarray(0, bytes) : new Uint8Array(bytes);
}
