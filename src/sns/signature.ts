import { stringToSign } from "./canonical.ts";
import type { SignatureVersion, SnsMessage } from "./parse.ts";

const HASHES: Readonly<Record<SignatureVersion, string>> = { 1: "SHA-1", 2: "SHA-256" };
const MIN_MODULUS_BITS = 2048;

/** The public key of a certificate, once for each hash: WebCrypto ties a key to one. */
export type VerificationKeys = Readonly<Record<SignatureVersion, CryptoKey>>;

/** Imports a SubjectPublicKeyInfo; null when it holds no RSA key of 2,048 bits or more. */
export async function importVerificationKeys(publicKeyInfo: Uint8Array): Promise<VerificationKeys | null> {
  try {
    const [sha1, sha256] = await Promise.all([importRsaKey(publicKeyInfo, HASHES[1]), importRsaKey(publicKeyInfo, HASHES[2])]);
    return isLongEnough(sha1) ? { 1: sha1, 2: sha256 } : null;
  } catch {
    return null; // WebCrypto's only way to say that this is no RSA key
  }
}

/** Whether the signature is RSASSA-PKCS1-v1_5 over the string to sign, with the hash of the message's version. */
export async function isSignedBy(keys: VerificationKeys, message: SnsMessage): Promise<boolean> {
  const signed = new TextEncoder().encode(stringToSign(message));
  return crypto.subtle.verify("RSASSA-PKCS1-v1_5", keys[message.signatureVersion], message.signature, signed);
}

function importRsaKey(publicKeyInfo: Uint8Array, hash: string): Promise<CryptoKey> {
  return crypto.subtle.importKey("spki", publicKeyInfo, { name: "RSASSA-PKCS1-v1_5", hash }, false, ["verify"]);
}

function isLongEnough(key: CryptoKey): boolean {
  const { algorithm } = key;
  return "modulusLength" in algorithm && algorithm.modulusLength >= MIN_MODULUS_BITS;
}
