import { type Claim, readClaim } from "./claim.ts";
import type { InboundRefusal } from "./refusal.ts";
import type { HmacScheme, WebhookKind } from "./scheme.ts";

/** One POST to a source's address, as it came. */
export type Delivery = { readonly headers: Headers; readonly body: Uint8Array };

/** What the source says about whom it listens to. */
export type Sender = {
  readonly kind: WebhookKind;
  /** Of kind `hmac`, else null. */
  readonly scheme: HmacScheme | null;
  /** The current secret's first, then those of a rotation's overlap. */
  readonly keys: readonly CryptoKey[];
};

export type Verification = { readonly ok: true; readonly claim: Claim } | { readonly ok: false; readonly reason: InboundRefusal };

/**
 * Whether the sender signed these bytes, now. The time is checked before any hash is made, and signatures are compared
 * by WebCrypto, in a time that does not depend on where they differ.
 */
export async function verify(delivery: Delivery, sender: Sender, nowMs: number): Promise<Verification> {
  const read = readClaim(sender.kind, sender.scheme, delivery.headers);
  if (!read.ok) return read;
  const { claim } = read;
  const stale = staleness(claim, nowMs);
  if (stale !== null) return { ok: false, reason: stale };
  const signed = signedBytes(claim, delivery.body);
  for (const key of sender.keys) {
    for (const signature of claim.signatures) {
      if (await crypto.subtle.verify("HMAC", key, signature, signed)) return { ok: true, claim };
    }
  }
  return { ok: false, reason: "signature-mismatch" };
}

function staleness({ timestampSeconds, toleranceSeconds }: Claim, nowMs: number): InboundRefusal | null {
  if (timestampSeconds === null) return null;
  const ageSeconds = nowMs / 1000 - timestampSeconds;
  if (ageSeconds > toleranceSeconds) return "too-old";
  return -ageSeconds > toleranceSeconds ? "too-far-ahead" : null;
}

function signedBytes({ before, after }: Claim, body: Uint8Array): Uint8Array {
  if (before === "" && after === "") return body;
  const [head, tail] = [new TextEncoder().encode(before), new TextEncoder().encode(after)];
  const signed = new Uint8Array(head.length + body.length + tail.length);
  signed.set(head);
  signed.set(body, head.length);
  signed.set(tail, head.length + body.length);
  return signed;
}
