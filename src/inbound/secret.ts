import { fromBase64 } from "../crypto/base64.ts";
import { parseSigningSecret } from "../delivery/signing-secret.ts";
import { fromHex } from "./claim.ts";
import type { HashName, HmacScheme, WebhookKind } from "./scheme.ts";

/** Below this a secret could be guessed from one delivery. */
export const MIN_SECRET_BYTES = 16;
export const MAX_SECRET_CHARACTERS = 512;

const HASHES: Readonly<Record<HashName, string>> = { sha1: "SHA-1", sha256: "SHA-256", sha512: "SHA-512" };

/**
 * The key bytes a sender's secret stands for; null when it is none: `whsec_` and base64 of Standard Webhooks, what the
 * scheme says of `hmac`, and of all others the characters as they are (Stripe's `whsec_` included).
 */
export function secretBytes(kind: WebhookKind, scheme: HmacScheme | null, secret: string): Uint8Array | null {
  if (secret.length > MAX_SECRET_CHARACTERS || !secret.isWellFormed()) return null;
  const bytes = kind === "standard-webhooks" ? parseSigningSecret(secret) : decode(secret, scheme?.secretEncoding ?? "utf8");
  return bytes !== null && bytes.length >= MIN_SECRET_BYTES ? bytes : null;
}

/** The key that verifies; throws on what {@link secretBytes} refuses, without repeating it. */
export async function importVerifyingKey(kind: WebhookKind, scheme: HmacScheme | null, secret: string): Promise<CryptoKey> {
  const bytes = secretBytes(kind, scheme, secret);
  if (bytes === null) throw new Error("not a secret of this kind of source");
  const hash = HASHES[scheme?.algorithm ?? "sha256"];
  return crypto.subtle.importKey("raw", bytes, { name: "HMAC", hash }, false, ["verify"]);
}

function decode(secret: string, encoding: HmacScheme["secretEncoding"]): Uint8Array | null {
  switch (encoding) {
    case "utf8":
      return new TextEncoder().encode(secret);
    case "hex":
      return fromHex(secret);
    case "base64":
      return fromBase64(secret);
  }
}
