import { fromBase64 } from "../crypto/base64.ts";

/** Why a request was not taken for one of the gateway's. */
export type WebhookFailure = "missing-header" | "malformed-header" | "too-old" | "too-new" | "no-matching-signature";

export class WebhookVerificationError extends Error {
  readonly reason: WebhookFailure;

  constructor(reason: WebhookFailure, message: string) {
    super(message);
    this.name = "WebhookVerificationError";
    this.reason = reason;
  }
}

/** Headers of `fetch`, or of Node's `request.headers`. */
export type WebhookHeaders = Headers | Readonly<Record<string, string | readonly string[] | undefined>>;

export type WebhookRequest = {
  readonly headers: WebhookHeaders;
  /** The bytes as they came. Text is verified as its UTF-8, which is only the same for a body that was UTF-8. */
  readonly body: Uint8Array | ArrayBuffer | string;
  /** How far the sender's clock and ours may be apart, default 300. */
  readonly toleranceSeconds?: number;
  /** Absent: the clock. */
  readonly now?: Date;
} & (
  | { readonly secret: string }
  /** The old and the new one, while a secret is rotated. */
  | { readonly secrets: readonly string[] }
);

export type VerifiedWebhook = {
  /** The same on every attempt: what to de-duplicate by. */
  readonly id: string;
  /** Unix seconds of this attempt. */
  readonly timestamp: number;
};

const SECRET_PREFIX = "whsec_";
const SIGNATURE_PREFIX = "v1,";
const HMAC_BYTES = 32;
const DEFAULT_TOLERANCE_SECONDS = 300;

/**
 * Verifies a received webhook (Standard Webhooks 1.0) over its raw bytes, in constant time.
 * @throws WebhookVerificationError when it is not to be trusted: answer 401
 * @throws TypeError for a secret that is none
 */
export async function verifyWebhook(request: WebhookRequest): Promise<VerifiedWebhook> {
  const secrets = "secret" in request ? [request.secret] : request.secrets;
  const keys = await Promise.all(secrets.map(importSecret));
  const id = requireHeader(request.headers, "webhook-id");
  const sentTimestamp = requireHeader(request.headers, "webhook-timestamp");
  const signatures = readSignatures(requireHeader(request.headers, "webhook-signature"));
  const timestamp = checkTimestamp(sentTimestamp, request);
  const signed = signedBytes(`${id}.${sentTimestamp}.`, request.body);
  const expected = await Promise.all(keys.map(async (key) => new Uint8Array(await crypto.subtle.sign("HMAC", key, signed))));
  let matches = 0;
  // No early end: how long it takes must not say which secret or signature came close.
  for (const own of expected) for (const sent of signatures) matches |= equal(own, sent);
  if (matches === 1) return { id, timestamp };
  throw new WebhookVerificationError("no-matching-signature", "no signature is one made with the secret over these bytes");
}

async function importSecret(secret: string) {
  const bytes = fromBase64(secret.startsWith(SECRET_PREFIX) ? secret.slice(SECRET_PREFIX.length) : secret);
  if (bytes === null || bytes.length === 0) throw new TypeError("a webhook secret is `whsec_` and base 64");
  return crypto.subtle.importKey("raw", new Uint8Array(bytes), { name: "HMAC", hash: "SHA-256" }, false, ["sign"]);
}

function requireHeader(headers: WebhookHeaders, name: string): string {
  const value = headers instanceof Headers ? headers.get(name) : plainHeader(headers, name);
  if (value !== null && value !== "") return value;
  throw new WebhookVerificationError("missing-header", `the header ${name} is missing`);
}

/** The value of a header in an object, whatever the case of its name; null when it is there more than once. */
function plainHeader(headers: Exclude<WebhookHeaders, Headers>, name: string): string | null {
  const values = Object.entries(headers).flatMap(([key, value]) => (key.toLowerCase() === name && value !== undefined ? value : []));
  const [value, second] = values;
  return value === undefined || second !== undefined ? null : value;
}

function checkTimestamp(sent: string, { toleranceSeconds = DEFAULT_TOLERANCE_SECONDS, now = new Date() }: WebhookRequest): number {
  if (!/^\d{1,12}$/.test(sent)) {
    throw new WebhookVerificationError("malformed-header", "webhook-timestamp is not a number of seconds");
  }
  const ageSeconds = now.getTime() / 1000 - Number(sent);
  if (ageSeconds > toleranceSeconds) {
    throw new WebhookVerificationError("too-old", `it was signed more than ${toleranceSeconds} s ago: a replay, or a clock that is wrong`);
  }
  if (ageSeconds < -toleranceSeconds) {
    throw new WebhookVerificationError("too-new", `it was signed more than ${toleranceSeconds} s ahead: a clock is wrong`);
  }
  return Number(sent);
}

/** The `v1` signatures of the header; those of other schemes are none of ours to check. */
function readSignatures(header: string): readonly Uint8Array[] {
  const versioned = header.split(" ").filter((part) => part.startsWith(SIGNATURE_PREFIX));
  const signatures = versioned.map((part) => fromBase64(part.slice(SIGNATURE_PREFIX.length)));
  const ofRightLength = signatures.filter((signature) => signature?.length === HMAC_BYTES);
  if (ofRightLength.length > 0) return ofRightLength.filter((signature) => signature !== null);
  throw new WebhookVerificationError("malformed-header", "webhook-signature holds no `v1,` signature");
}

function signedBytes(prefix: string, body: WebhookRequest["body"]): Uint8Array<ArrayBuffer> {
  const head = new TextEncoder().encode(prefix);
  const bytes = typeof body === "string" ? new TextEncoder().encode(body) : new Uint8Array(body);
  const signed = new Uint8Array(head.length + bytes.length);
  signed.set(head);
  signed.set(bytes, head.length);
  return signed;
}

/** 1 when all bytes of two HMACs are the same, else 0, after looking at each of them. */
function equal(left: Uint8Array, right: Uint8Array): 0 | 1 {
  let difference = 0;
  for (let index = 0; index < HMAC_BYTES; index++) difference |= (left[index] ?? 0) ^ (right[index] ?? 0);
  return difference === 0 ? 1 : 0;
}
