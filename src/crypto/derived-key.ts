/** By the key they are derived from, which lives as long as the isolate, and then by purpose. */
const hmacKeys = new WeakMap<Uint8Array, Map<string, CryptoKey>>();

/**
 * A key for HMAC-SHA-256 of its own for each purpose (HKDF, RFC 5869), so that the encryption key is used for one thing
 * only. Remembered: some of what it signs is made often.
 */
export async function hmacKeyFor(encryptionKey: Uint8Array, purpose: string): Promise<CryptoKey> {
  const known = hmacKeys.get(encryptionKey)?.get(purpose);
  if (known !== undefined) return known;
  const derived = await crypto.subtle.deriveKey(
    parameters(purpose),
    await crypto.subtle.importKey("raw", encryptionKey, "HKDF", false, ["deriveKey"]),
    { name: "HMAC", hash: "SHA-256", length: 256 },
    false,
    ["sign"],
  );
  const ofKey = hmacKeys.get(encryptionKey) ?? new Map<string, CryptoKey>();
  hmacKeys.set(encryptionKey, ofKey.set(purpose, derived));
  return derived;
}

/** 32 bytes derived for a purpose: the same as long as the encryption key is. */
export async function derivedBytes(encryptionKey: Uint8Array, purpose: string): Promise<Uint8Array> {
  const root = await crypto.subtle.importKey("raw", encryptionKey, "HKDF", false, ["deriveBits"]);
  return new Uint8Array(await crypto.subtle.deriveBits(parameters(purpose), root, 256));
}

/** Compares in a time that does not depend on where they differ. */
export function sameBytes(left: Uint8Array, right: Uint8Array): boolean {
  let difference = left.length ^ right.length;
  left.forEach((byte, index) => {
    difference |= byte ^ (right[index] ?? 0);
  });
  return difference === 0;
}

function parameters(purpose: string): { name: string; hash: string; salt: Uint8Array; info: Uint8Array } {
  return { name: "HKDF", hash: "SHA-256", salt: new Uint8Array(), info: new TextEncoder().encode(purpose) };
}
