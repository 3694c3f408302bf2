import { findDuplicateKey } from "../messages/json-members.ts";
import { MAX_BODY_BYTES } from "../messages/message.ts";
import { parseTopicArn, type TopicArn } from "./arn.ts";
import type { RefusalReason } from "./refusal.ts";

/** More than SNS ever posts: 256 KiB of message, its attributes, and what escaping adds to them. */
export const MAX_SNS_BODY_BYTES = 2 * 1024 * 1024;

export type SignatureVersion = 1 | 2;

/** An entry of `MessageAttributes`, by name. SNS does not sign it: untrusted. */
export type SnsAttribute = { readonly name: string; readonly type: string; readonly value: string };

type Signed = {
  readonly messageId: string;
  readonly topic: TopicArn;
  readonly message: string;
  /** As sent, for the signature; {@link timestampMs} is the same instant. */
  readonly timestamp: string;
  readonly timestampMs: number;
  readonly signatureVersion: SignatureVersion;
  /** Base 64, canonical. */
  readonly signature: Uint8Array;
  readonly signingCertUrl: string;
};

export type Notification = Signed & {
  readonly type: "Notification";
  readonly subject: string | null;
  readonly attributes: readonly SnsAttribute[];
};

export type Confirmation = Signed & {
  readonly type: "SubscriptionConfirmation" | "UnsubscribeConfirmation";
  readonly token: string;
  /** Signed, and never fetched. */
  readonly subscribeUrl: string;
};

export type SnsMessage = Notification | Confirmation;

export type Parsed = { readonly ok: true; readonly message: SnsMessage } | Refusal;
type Refusal = { readonly ok: false; readonly reason: RefusalReason };

const COMMON_FIELDS = ["Type", "MessageId", "TopicArn", "Message", "Timestamp", "SignatureVersion", "Signature", "SigningCertURL"];
const CONFIRMATION = { required: [...COMMON_FIELDS, "Token", "SubscribeURL"], optional: [] };
/** The keys of each type (SNS Developer Guide, "Parsing Amazon SNS message formats"), but MessageAttributes. */
const FIELDS: Readonly<Record<SnsMessage["type"], { required: readonly string[]; optional: readonly string[] }>> = {
  Notification: { required: COMMON_FIELDS, optional: ["Subject", "UnsubscribeURL"] },
  SubscriptionConfirmation: CONFIRMATION,
  UnsubscribeConfirmation: CONFIRMATION,
};
/** With a line feed in one of these, two different messages could have one string to sign. */
const FIELDS_OF_ONE_LINE = ["Type", "MessageId", "TopicArn", "Subject", "Timestamp", "Token", "SubscribeURL"];

const CONTROL_CHARACTER = /\p{Cc}/u;
const UUID = /^[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}$/;
const TIMESTAMP = /^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\.[0-9]{3}Z$/;
const ATTRIBUTE_NAME = /^[A-Za-z0-9_.-]{1,256}$/;

/** Parses a delivery's body strictly: what passes is exactly what SNS writes, and has one reading only. */
export function parse(body: Uint8Array): Parsed {
  if (body.length > MAX_SNS_BODY_BYTES) return refuse("body-too-large");
  const text = decodeUtf8(body);
  if (text === null) return refuse("invalid-utf8");
  const duplicate = findDuplicateKey(text);
  if (!duplicate.ok) return refuse("malformed-json");
  const value: unknown = JSON.parse(text);
  if (!isObject(value)) return refuse("not-an-object");
  if (duplicate.key !== null) return refuse("duplicate-key");
  return parseFields(value);
}

function parseFields(value: Readonly<Record<string, unknown>>): Parsed {
  const { MessageAttributes: rawAttributes, ...fields } = value;
  const type = fields["Type"];
  if (typeof type !== "string" || !isType(type)) return refuse("unknown-type");
  if (rawAttributes !== undefined && type !== "Notification") return refuse("unknown-key");
  const texts = parseTexts(fields, FIELDS[type]);
  if (typeof texts === "string") return refuse(texts);
  const signed = parseSigned(texts);
  if (typeof signed === "string") return refuse(signed);

  if (type !== "Notification") {
    const token = texts.get("Token") ?? "";
    return { ok: true, message: { ...signed, type, token, subscribeUrl: texts.get("SubscribeURL") ?? "" } };
  }
  const attributes = parseAttributes(rawAttributes);
  if (attributes === null) return refuse("malformed-attributes");
  return { ok: true, message: { ...signed, type, subject: texts.get("Subject") ?? null, attributes } };
}

/** The fields of a type: all there, none else, each a well-formed string, on one line where it has to be. */
function parseTexts(
  fields: Readonly<Record<string, unknown>>,
  known: { readonly required: readonly string[]; readonly optional: readonly string[] },
): ReadonlyMap<string, string> | RefusalReason {
  const texts = new Map<string, string>();
  for (const [key, value] of Object.entries(fields)) {
    if (!known.required.includes(key) && !known.optional.includes(key)) return "unknown-key";
    if (typeof value !== "string") return "field-not-a-string";
    if (!value.isWellFormed()) return "lone-surrogate";
    if (FIELDS_OF_ONE_LINE.includes(key) && CONTROL_CHARACTER.test(value)) return "control-character";
    texts.set(key, value);
  }
  return known.required.every((key) => texts.has(key)) ? texts : "missing-field";
}

function parseSigned(texts: ReadonlyMap<string, string>): Signed | RefusalReason {
  const text = (key: string): string => texts.get(key) ?? "";
  const messageId = text("MessageId");
  if (!UUID.test(messageId)) return "malformed-message-id";
  const topic = parseTopicArn(text("TopicArn"));
  if (topic === null) return "malformed-topic-arn";
  const timestamp = text("Timestamp");
  const timestampMs = parseTimestamp(timestamp);
  if (timestampMs === null) return "malformed-timestamp";
  const message = text("Message");
  if (exceedsBytes(message, MAX_BODY_BYTES)) return "message-too-large";
  const version = text("SignatureVersion");
  if (version !== "1" && version !== "2") return "unknown-signature-version";
  const signature = decodeCanonicalBase64(text("Signature"));
  if (signature === null) return "signature-not-canonical";
  const signatureVersion = version === "1" ? 1 : 2;
  return { messageId, topic, message, timestamp, timestampMs, signatureVersion, signature, signingCertUrl: text("SigningCertURL") };
}

function parseAttributes(value: unknown): readonly SnsAttribute[] | null {
  if (value === undefined) return [];
  if (!isObject(value)) return null;
  const attributes: SnsAttribute[] = [];
  for (const [name, entry] of Object.entries(value)) {
    if (!ATTRIBUTE_NAME.test(name) || !isObject(entry)) return null;
    const { Type: type, Value: text, ...rest } = entry;
    if (typeof type !== "string" || typeof text !== "string" || Object.keys(rest).length > 0) return null;
    if (!type.isWellFormed() || !text.isWellFormed()) return null;
    attributes.push({ name, type, value: text });
  }
  return attributes;
}

/** Null unless it is a real instant, written as SNS does: the 31st of February is none. */
function parseTimestamp(text: string): number | null {
  if (!TIMESTAMP.test(text)) return null;
  const timeMs = Date.parse(text);
  return !Number.isNaN(timeMs) && new Date(timeMs).toISOString() === text ? timeMs : null;
}

/** Null unless it is the one way to write those bytes: no white space, padding in place, unused bits zero. */
function decodeCanonicalBase64(text: string): Uint8Array | null {
  if (text === "" || text.length % 4 !== 0 || !/^[A-Za-z0-9+/]+={0,2}$/.test(text)) return null;
  const binary = atob(text);
  if (btoa(binary) !== text) return null;
  // a loop: Uint8Array.from would walk the string by its iterator, which takes as long as the rest of the parsing
  const bytes = new Uint8Array(binary.length);
  for (let index = 0; index < binary.length; index++) bytes[index] = binary.charCodeAt(index);
  return bytes;
}

function decodeUtf8(bytes: Uint8Array): string | null {
  try {
    // a byte order mark is no JSON, so it is kept for the JSON parser to refuse
    return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch {
    return null; // what `fatal` is for
  }
}

/** A UTF-16 code unit takes three bytes at most, which spares nearly every message the encoding. */
function exceedsBytes(text: string, maxBytes: number): boolean {
  return text.length * 3 > maxBytes && new TextEncoder().encode(text).length > maxBytes;
}

function isType(text: string): text is SnsMessage["type"] {
  return Object.hasOwn(FIELDS, text);
}

function isObject(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function refuse(reason: RefusalReason): Refusal {
  return { ok: false, reason };
}
