import { z } from "zod";
import { fromBase64, toBase64Url } from "../../crypto/base64.ts";
import { hmacKeyFor, sameBytes } from "../../crypto/derived-key.ts";
import type { RingKey } from "../../crypto/keyring.ts";
import type { SubscriptionRef, WakeRef } from "./contract.ts";

/** What a wake's token is good for: to answer for this one wake of this one subscription. */
export type WakeGrant = SubscriptionRef & WakeRef;

/** Begins as our API tokens do, so that whatever masks those masks these. */
export const WAKE_TOKEN_PREFIX = "pst_wake_";
const PURPOSE = "postern wake token v1";
const MAC_BYTES = 32;

const Payload = z.tuple([z.string(), z.string(), z.string(), z.number()]);

/** A token for whoever was woken. It needs no end of its own: with the wake, its generation is over. */
export async function makeWakeToken(keys: readonly RingKey[], { tenantId, id, wakeId, generation }: WakeGrant): Promise<string> {
  const [active] = keys;
  if (active === undefined) throw new Error("POSTERN_ENCRYPTION_KEYS holds no key");
  const payload = new TextEncoder().encode(JSON.stringify([tenantId, id, wakeId, generation]));
  const bytes = new Uint8Array(MAC_BYTES + payload.length);
  bytes.set(await macOf(active.key, payload));
  bytes.set(payload, MAC_BYTES);
  return WAKE_TOKEN_PREFIX + toBase64Url(bytes);
}

/** What a token grants; null for one that {@link makeWakeToken} did not make under a key of the ring. */
export async function openWakeToken(keys: readonly RingKey[], token: string): Promise<WakeGrant | null> {
  const bytes = token.startsWith(WAKE_TOKEN_PREFIX) ? fromBase64(token.slice(WAKE_TOKEN_PREFIX.length)) : null;
  if (bytes === null || bytes.length <= MAC_BYTES) return null;
  const payload = bytes.subarray(MAC_BYTES);
  for (const { key } of keys) {
    if (!sameBytes(await macOf(key, payload), bytes.subarray(0, MAC_BYTES))) continue;
    const [tenantId, id, wakeId, generation] = Payload.parse(JSON.parse(new TextDecoder().decode(payload)));
    return { tenantId, id, wakeId, generation };
  }
  return null;
}

async function macOf(key: Uint8Array, payload: Uint8Array): Promise<Uint8Array> {
  return new Uint8Array(await crypto.subtle.sign("HMAC", await hmacKeyFor(key, PURPOSE), payload));
}
