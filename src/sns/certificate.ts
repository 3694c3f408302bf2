import { snsHost, type TopicArn } from "./arn.ts";
import { boundedFetch, type Fetch } from "./bounded-fetch.ts";
import type { CertificateRefusal } from "./refusal.ts";
import { importVerificationKeys, type VerificationKeys } from "./signature.ts";
import { readCertificate } from "./x509.ts";

const CERTIFICATE_FILE = /^SimpleNotificationService-[0-9a-f]{32}\.pem$/;
const MAX_CERTIFICATE_BYTES = 10 * 1024;
/** For head and body; SNS itself gives a delivery 15 s. */
export const CERTIFICATE_DEADLINE_MS = 5_000;

/** A certificate whose key is fit for use, within its dates. */
export type SigningCertificate = {
  readonly keys: VerificationKeys;
  readonly notBeforeMs: number;
  readonly notAfterMs: number;
};

export type LoadedCertificate =
  | { readonly ok: true; readonly certificate: SigningCertificate }
  | { readonly ok: false; readonly kind: "refused"; readonly reason: CertificateRefusal }
  | { readonly ok: false; readonly kind: "cannot-judge"; readonly reason: "certificate-not-fetched" };

/**
 * Whether this is, character for character, a certificate's address at the host of the topic's own region and
 * partition. Nothing is parsed, so there is nothing to be read in two ways: no port, user, query, escape or case.
 */
export function isCertificateUrl(url: string, topic: TopicArn): boolean {
  const prefix = `https://${snsHost(topic)}/`;
  return url.startsWith(prefix) && CERTIFICATE_FILE.test(url.slice(prefix.length));
}

/**
 * Fetches and reads the certificate of a URL that {@link isCertificateUrl} has passed. `snsEndpoint` (an origin)
 * takes the place of the URL's own when set. An answer other than 200 leaves the message undecided: AWS may be
 * having a bad minute, and a refused message is gone for good.
 */
export async function loadCertificate(url: string, fetch: Fetch, snsEndpoint: string | null): Promise<LoadedCertificate> {
  const address = snsEndpoint === null ? url : `${snsEndpoint.replace(/\/+$/, "")}${new URL(url).pathname}`;
  const fetched = await boundedFetch(fetch, address, { maxBytes: MAX_CERTIFICATE_BYTES, deadlineMs: CERTIFICATE_DEADLINE_MS });
  if (!fetched.ok) {
    if (fetched.reason === "too-large") return refuse("certificate-too-large");
    return { ok: false, kind: "cannot-judge", reason: "certificate-not-fetched" };
  }
  if (fetched.status >= 300 && fetched.status < 400) return refuse("certificate-redirected");
  if (fetched.status !== 200) return { ok: false, kind: "cannot-judge", reason: "certificate-not-fetched" };

  const certificate = readCertificate(new TextDecoder().decode(fetched.body));
  if (certificate === null) return refuse("certificate-malformed");
  const keys = await importVerificationKeys(certificate.publicKeyInfo);
  if (keys === null) return refuse("certificate-key-not-rsa-2048");
  return { ok: true, certificate: { keys, notBeforeMs: certificate.notBeforeMs, notAfterMs: certificate.notAfterMs } };
}

/** Null when the certificate is valid now. */
export function certificateDatesFault(certificate: SigningCertificate, nowMs: number): CertificateRefusal | null {
  if (nowMs < certificate.notBeforeMs) return "certificate-not-yet-valid";
  if (nowMs > certificate.notAfterMs) return "certificate-expired";
  return null;
}

function refuse(reason: CertificateRefusal): LoadedCertificate {
  return { ok: false, kind: "refused", reason };
}
