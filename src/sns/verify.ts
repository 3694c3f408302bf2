import { certificateDatesFault, isCertificateUrl } from "./certificate.ts";
import type { CertificateCache } from "./certificate-cache.ts";
import { staleness } from "./freshness.ts";
import { headerMismatch, isRawDelivery } from "./headers.ts";
import { parse, type SignatureVersion, type SnsMessage } from "./parse.ts";
import type { RefusalReason, UndecidedReason } from "./refusal.ts";
import { isSignedBy } from "./signature.ts";

/** One POST to a source's address, as it came. */
export type Delivery = { readonly headers: Headers; readonly body: Uint8Array };

/** What the source says about whom it listens to. */
export type VerificationPolicy = {
  readonly sourceId: string;
  /** Exact ARNs. */
  readonly topicArns: readonly string[];
  readonly minVersion: SignatureVersion;
};

export type Verification =
  | { readonly ok: true; readonly message: SnsMessage }
  | { readonly ok: false; readonly kind: "refused"; readonly reason: RefusalReason }
  | { readonly ok: false; readonly kind: "cannot-judge"; readonly reason: UndecidedReason };

/**
 * Whether SNS itself sent this, now, to this source (§6). What needs no certificate is checked first: a refused
 * message causes a fetch only when nothing but its certificate or signature is wrong, and only of AWS's own host.
 */
export async function verify(
  delivery: Delivery,
  policy: VerificationPolicy,
  certificates: CertificateCache,
  nowMs: number,
): Promise<Verification> {
  if (isRawDelivery(delivery.headers)) return refuse("raw-delivery");
  const parsed = parse(delivery.body);
  if (!parsed.ok) return refuse(parsed.reason);
  const { message } = parsed;

  const mismatch = headerMismatch(delivery.headers, message);
  if (mismatch !== null) return refuse(mismatch);
  if (!policy.topicArns.includes(message.topic.text)) return refuse("topic-not-allowed");
  if (message.signatureVersion < policy.minVersion) return refuse("signature-version-too-low");
  const stale = staleness(message.timestampMs, nowMs);
  if (stale !== null) return refuse(stale);
  if (!isCertificateUrl(message.signingCertUrl, message.topic)) return refuse("certificate-url-mismatch");

  const lookup = await certificates.lookUp(message.signingCertUrl, policy.sourceId, nowMs);
  if (!lookup.ok) return lookup;
  const datesFault = certificateDatesFault(lookup.certificate, nowMs);
  if (datesFault !== null) return refuse(datesFault);
  if (!(await isSignedBy(lookup.certificate.keys, message))) return refuse("signature-mismatch");
  return { ok: true, message };
}

function refuse(reason: RefusalReason): Verification {
  return { ok: false, kind: "refused", reason };
}
