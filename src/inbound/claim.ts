import { fromBase64, toBase64 } from "../crypto/base64.ts";
import type { InboundRefusal } from "./refusal.ts";
import { DEFAULT_TOLERANCE_SECONDS, GITHUB, type HmacScheme, SHOPIFY, SLACK, type WebhookKind } from "./scheme.ts";

/** What a request says of itself, still to be verified. */
export type Claim = {
  /** Any one of them has to be right: while a sender changes its secret it signs with both. */
  readonly signatures: readonly Uint8Array[];
  /** What is signed: these texts around the body. */
  readonly before: string;
  readonly after: string;
  /** Signed; null where the sender signs none. */
  readonly timestampSeconds: number | null;
  readonly toleranceSeconds: number;
  /** The header that names the delivery, and whether it is signed. */
  readonly deliveryId: string | null;
  /** Of a header that names the event; unsigned. */
  readonly eventName: string | null;
};

export type ReadClaim = { readonly ok: true; readonly claim: Claim } | { readonly ok: false; readonly reason: InboundRefusal };

/** Each costs a hash of the whole body. */
const MAX_SIGNATURES = 5;
const MAX_HEADER_CHARACTERS = 4096;

const SECONDS = /^[0-9]{1,12}$/;
/** Printable, so that it can be signed, logged and shown as it is. */
const DELIVERY_ID = /^[\x21-\x7e]{1,256}$/;

/** Reads what the sender of that kind claims; `scheme` is that of a source of kind `hmac`. */
export function readClaim(kind: WebhookKind, scheme: HmacScheme | null, headers: Headers): ReadClaim {
  switch (kind) {
    case "standard-webhooks":
      return readStandardWebhooks(headers);
    case "stripe":
      return readStripe(headers);
    case "github":
      return readHmac(GITHUB, headers);
    case "slack":
      return readHmac(SLACK, headers);
    case "shopify":
      return readHmac(SHOPIFY, headers);
    case "hmac":
      if (scheme === null) throw new Error("a source of kind `hmac` has a scheme");
      return readHmac(scheme, headers);
  }
}

/** Standard Webhooks 1.0: `v1,<base64>` separated by spaces, over `id.timestamp.body`; other versions are passed over. */
function readStandardWebhooks(headers: Headers): ReadClaim {
  const header = headers.get("webhook-signature");
  if (header === null) return refuse("signature-missing");
  if (header.length > MAX_HEADER_CHARACTERS) return refuse("signature-malformed");
  const encoded = header.split(" ").filter((part) => part.startsWith("v1,")).map((part) => part.slice(3));
  const signatures = decodeAll(encoded, "base64");
  if (typeof signatures === "string") return refuse(signatures);
  const timestamp = readTimestamp(headers.get("webhook-timestamp"));
  if (typeof timestamp !== "object") return refuse(timestamp);
  const id = readId(headers.get("webhook-id"));
  if (typeof id !== "object") return refuse(id);
  // a dot in it could pass part of the id off as the time, and the time as part of the body
  if (id.text.includes(".")) return refuse("id-malformed");
  return {
    ok: true,
    claim: {
      signatures,
      before: `${id.text}.${timestamp.text}.`,
      after: "",
      timestampSeconds: timestamp.seconds,
      toleranceSeconds: DEFAULT_TOLERANCE_SECONDS,
      deliveryId: id.text,
      eventName: null,
    },
  };
}

/** Stripe, "Verify webhook signatures manually": `t=<seconds>,v1=<hex>[,v1=…]` over `t.body`; other schemes are passed over. */
function readStripe(headers: Headers): ReadClaim {
  const header = headers.get("stripe-signature");
  if (header === null) return refuse("signature-missing");
  if (header.length > MAX_HEADER_CHARACTERS) return refuse("signature-malformed");
  const parts = header.split(",").map((part) => part.trim());
  const valuesOf = (name: string): string[] => parts.filter((part) => part.startsWith(`${name}=`)).map((part) => part.slice(name.length + 1));
  const times = valuesOf("t");
  // with two times there would be two readings
  if (times.length > 1) return refuse("timestamp-malformed");
  const timestamp = readTimestamp(times[0] ?? null);
  if (typeof timestamp !== "object") return refuse(timestamp);
  const signatures = decodeAll(valuesOf("v1"), "hex");
  if (typeof signatures === "string") return refuse(signatures);
  return {
    ok: true,
    claim: {
      signatures,
      before: `${timestamp.text}.`,
      after: "",
      timestampSeconds: timestamp.seconds,
      toleranceSeconds: DEFAULT_TOLERANCE_SECONDS,
      deliveryId: null,
      eventName: null,
    },
  };
}

function readHmac(scheme: HmacScheme, headers: Headers): ReadClaim {
  const header = headers.get(scheme.signatureHeader);
  if (header === null) return refuse("signature-missing");
  if (!header.startsWith(scheme.prefix)) return refuse("signature-malformed");
  const signatures = decodeAll([header.slice(scheme.prefix.length)], scheme.encoding);
  if (typeof signatures === "string") return refuse(signatures);
  const timestamp = scheme.timestampHeader === null ? NO_TIMESTAMP : readTimestamp(headers.get(scheme.timestampHeader));
  if (typeof timestamp !== "object") return refuse(timestamp);
  const id = scheme.idHeader === null ? NO_ID : readId(headers.get(scheme.idHeader));
  if (typeof id !== "object") return refuse(id);
  const [before = "", after = ""] = scheme.content.split("{body}").map((text) =>
    text.replaceAll(/\{(timestamp|id)\}/g, (_whole, name: string) => (name === "id" ? id.text : timestamp.text)),
  );
  return {
    ok: true,
    claim: {
      signatures,
      before,
      after,
      timestampSeconds: timestamp.seconds,
      toleranceSeconds: scheme.toleranceSeconds,
      deliveryId: scheme.idHeader === null ? null : id.text,
      eventName: scheme.eventHeader === null ? null : headers.get(scheme.eventHeader),
    },
  };
}

type Timestamp = { readonly text: string; readonly seconds: number | null };

const NO_TIMESTAMP: Timestamp = { text: "", seconds: null };
const NO_ID = { text: "" } as const;

function readTimestamp(text: string | null): Timestamp | InboundRefusal {
  if (text === null || text === "") return "timestamp-missing";
  return SECONDS.test(text) ? { text, seconds: Number(text) } : "timestamp-malformed";
}

function readId(text: string | null): { readonly text: string } | InboundRefusal {
  if (text === null || text === "") return "id-missing";
  return DELIVERY_ID.test(text) ? { text } : "id-malformed";
}

function decodeAll(encoded: readonly string[], encoding: "hex" | "base64"): readonly Uint8Array[] | InboundRefusal {
  if (encoded.length === 0) return "signature-missing";
  if (encoded.length > MAX_SIGNATURES) return "too-many-signatures";
  const decoded = encoded.map((text) => (encoding === "hex" ? fromHex(text) : fromCanonicalBase64(text)));
  const bytes = decoded.filter((one) => one !== null && one.length > 0);
  return bytes.length === encoded.length ? bytes.filter((one) => one !== null) : "signature-malformed";
}

/** One spelling for the same bytes. */
function fromCanonicalBase64(text: string): Uint8Array | null {
  const bytes = fromBase64(text);
  return bytes !== null && toBase64(bytes) === text ? bytes : null;
}

/** Null unless it is pairs of hexadecimal digits. */
export function fromHex(text: string): Uint8Array | null {
  if (text.length % 2 !== 0 || !/^[0-9A-Fa-f]*$/.test(text)) return null;
  const bytes = new Uint8Array(text.length / 2);
  for (let index = 0; index < bytes.length; index++) bytes[index] = Number.parseInt(text.slice(index * 2, index * 2 + 2), 16);
  return bytes;
}

function refuse(reason: InboundRefusal): ReadClaim {
  return { ok: false, reason };
}
