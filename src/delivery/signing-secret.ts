import { fromBase64, toBase64 } from "../crypto/base64.ts";
import type { FillRandom } from "../ids.ts";

const PREFIX = "whsec_";
/** Standard Webhooks 1.0: a symmetric secret has 24 to 64 bytes. */
const MIN_SECRET_BYTES = 24;
const MAX_SECRET_BYTES = 64;
const GENERATED_SECRET_BYTES = 32;

/**
 * The key bytes of a `whsec_…` signing secret; null unless it is the padded base64 of 24 to 64 bytes, spelled the
 * one way every subscriber's library reads (RFC 4648 §4, no stray bits).
 */
export function parseSigningSecret(text: string): Uint8Array | null {
  if (!text.startsWith(PREFIX)) return null;
  const encoded = text.slice(PREFIX.length);
  const bytes = fromBase64(encoded);
  if (bytes === null || toBase64(bytes) !== encoded) return null;
  return bytes.length >= MIN_SECRET_BYTES && bytes.length <= MAX_SECRET_BYTES ? bytes : null;
}

/** A new signing secret of 256 random bits. */
export function generateSigningSecret(fillRandom: FillRandom = fillRandomly): string {
  const bytes = new Uint8Array(GENERATED_SECRET_BYTES);
  fillRandom(bytes);
  return `${PREFIX}${toBase64(bytes)}`;
}

/** The key that signs; throws on what {@link parseSigningSecret} refuses, without repeating it. */
export async function importSigningKey(secret: string): Promise<CryptoKey> {
  const bytes = parseSigningSecret(secret);
  if (bytes === null) throw new Error("not a signing secret");
  return crypto.subtle.importKey("raw", bytes, { name: "HMAC", hash: "SHA-256" }, false, ["sign"]);
}

function fillRandomly(bytes: Uint8Array): void {
  crypto.getRandomValues(bytes);
}
