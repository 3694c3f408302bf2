import { fromBase64, toBase64Url } from "./base64.ts";

/** A named AES-256 key as configured. */
export type RingKey = { readonly id: string; readonly key: Uint8Array };

/** Seals small texts at rest: AES-256-GCM, `k1.<key id>.<base64url of nonce and ciphertext>`. */
export type KeyRing = {
  readonly activeKeyId: string;
  /** `context` (tenant and row id) is authenticated with the text: a value moved to another row does not open. */
  seal(text: string, context: string): Promise<string>;
  /** Throws an `Error` that holds no part of the value when the key is gone, or value or context are not the sealed ones. */
  open(sealed: string, context: string): Promise<string>;
};

const FORMAT = "k1";
const NONCE_BYTES = 12;

/** The first key encrypts, all decrypt. */
export function createKeyRing(keys: readonly RingKey[]): KeyRing {
  const [active] = keys;
  if (active === undefined) throw new Error("POSTERN_ENCRYPTION_KEYS holds no key");
  // Keys, never promises: a request may not wait for another one's.
  const imported = new Map<string, CryptoKey>();

  const importKey = async (id: string): Promise<CryptoKey> => {
    const known = imported.get(id);
    if (known !== undefined) return known;
    const entry = keys.find((key) => key.id === id);
    if (entry === undefined) throw new Error(`no key ${JSON.stringify(id)} in POSTERN_ENCRYPTION_KEYS`);
    const key = await crypto.subtle.importKey("raw", entry.key, "AES-GCM", false, ["encrypt", "decrypt"]);
    imported.set(id, key);
    return key;
  };

  return {
    activeKeyId: active.id,
    async seal(text, context) {
      const nonce = crypto.getRandomValues(new Uint8Array(NONCE_BYTES));
      const key = await importKey(active.id);
      const ciphertext = await crypto.subtle.encrypt(parameters(nonce, context), key, new TextEncoder().encode(text));
      const bytes = new Uint8Array(NONCE_BYTES + ciphertext.byteLength);
      bytes.set(nonce);
      bytes.set(new Uint8Array(ciphertext), NONCE_BYTES);
      return `${FORMAT}.${active.id}.${toBase64Url(bytes)}`;
    },
    async open(sealed, context) {
      const [format, keyId, payload] = sealed.split(".");
      if (format !== FORMAT || keyId === undefined || payload === undefined) throw new Error("not a sealed value");
      const bytes = fromBase64(payload);
      if (bytes === null) throw new Error("not a sealed value");
      const key = await importKey(keyId);
      const nonce = bytes.subarray(0, NONCE_BYTES);
      const text = await crypto.subtle.decrypt(parameters(nonce, context), key, bytes.subarray(NONCE_BYTES));
      return new TextDecoder().decode(text);
    },
  };
}

/** Which key of the ring a value was sealed with; null when it is not a sealed value. */
export function sealingKeyId(sealed: string): string | null {
  const [format, keyId] = sealed.split(".");
  return format === FORMAT && keyId !== undefined ? keyId : null;
}

function parameters(nonce: Uint8Array, context: string): SubtleCryptoEncryptAlgorithm {
  return { name: "AES-GCM", iv: nonce, additionalData: new TextEncoder().encode(context) };
}
