import { fromBase64 } from "../crypto/base64.ts";
import type { FieldFault } from "./attributes.ts";
import { parseContext } from "./cloudevents-context.ts";
import { isJson, isUtf8, type MediaType, parseMediaType } from "./cloudevents-media-type.ts";
import { checkJson, decodeString, type JsonFault, type JsonMember, scanElements, scanMembers } from "./json-members.ts";
import type { EventContext } from "./message.ts";

export { binaryHeaders, type OutboundEvent, structuredBody } from "./cloudevents-outbound.ts";

/**
 * How a request carries events (HTTP protocol binding 1.0.2 §3): `none` is an ordinary message, `unsupported` an
 * event format other than JSON (415).
 */
export type CloudEventsMode = "none" | "binary" | "structured" | "batch" | "unsupported";

/** One event as published. `body` is the bytes of `data` as they were sent, never serialised anew (I4). */
export type ParsedEvent = {
  /** The publisher's `id`: any text that is not empty. */
  readonly id: string;
  readonly event: EventContext;
  readonly contentType: string;
  readonly body: Uint8Array;
};

/** The codes are those of the problems they become. */
export type ParsedEvents =
  | { readonly ok: true; readonly events: readonly ParsedEvent[] }
  | {
      readonly ok: false;
      readonly code: "malformed-json" | "invalid-request";
      readonly detail: string;
      readonly errors: readonly FieldFault[];
    };

const HEADER_PREFIX = "ce-";
const STRUCTURED = "application/cloudevents+json";
const BATCH = "application/cloudevents-batch+json";
const MARKS = ["ce-specversion", "ce-id", "ce-source", "ce-type"];
const OCTETS = "application/octet-stream";
const JSON_TYPE = "application/json";
const MEND = "Mend the listed attributes and send the event again.";

export function detectMode(headers: Headers): CloudEventsMode {
  const sent = headers.get("content-type") ?? "";
  const essence = parseMediaType(sent)?.essence ?? "";
  if (essence === STRUCTURED) return "structured";
  if (essence === BATCH) return "batch";
  if (essence.startsWith("application/cloudevents")) return "unsupported";
  return MARKS.some((name) => headers.has(name)) ? "binary" : "none";
}

/**
 * Binary mode: attributes in `ce-*` headers, the body as it is. A lone `ce-id` is accepted too: an ordinary
 * message whose publisher chose the id.
 */
export function parseBinary(headers: Headers, body: Uint8Array): ParsedEvents {
  const errors: FieldFault[] = [];
  const attributes = new Map<string, string | null>();
  headers.forEach((value, header) => {
    if (!header.startsWith(HEADER_PREFIX)) return;
    const name = header.slice(HEADER_PREFIX.length);
    const decoded = decodeHeaderValue(value);
    if (name === "datacontenttype") errors.push({ pointer: `header:${header}`, detail: "belongs in `Content-Type`" });
    else if (decoded === null) errors.push({ pointer: `header:${header}`, detail: "must be percent-encoded UTF-8" });
    attributes.set(name, decoded);
  });
  const idOnly = attributes.has("id") && MARKS.every((mark) => mark === "ce-id" || !headers.has(mark));
  const context = parseContext(attributes, (name) => `header:${HEADER_PREFIX}${name}`, errors, idOnly);
  if (errors.length > 0) return { ok: false, code: "invalid-request", detail: MEND, errors };
  const contentType = headers.get("content-type") ?? OCTETS;
  return { ok: true, events: [{ id: context.id, event: context.event, contentType, body }] };
}

/** Structured mode: one event as a JSON object (JSON event format 1.0.2). */
export function parseStructured(bytes: Uint8Array): ParsedEvents {
  const text = decodeUtf8(bytes);
  if (text === null) return malformed("The body is not valid UTF-8.");
  return parseEnvelope(text, "");
}

/** Batched mode: a JSON array of events; may be empty. */
export function parseBatch(bytes: Uint8Array): ParsedEvents {
  const text = decodeUtf8(bytes);
  if (text === null) return malformed("The body is not valid UTF-8.");
  const scanned = scanElements(text);
  if (!scanned.ok) return unreadable(text, scanned, { pointer: "", detail: "must be an array of events" });
  const events: ParsedEvent[] = [];
  const errors: FieldFault[] = [];
  for (const [index, span] of scanned.elements.entries()) {
    const parsed = parseEnvelope(text.slice(span.start, span.end), `/${index}`);
    if (parsed.ok) events.push(...parsed.events);
    else errors.push(...(parsed.errors.length > 0 ? parsed.errors : [{ pointer: `/${index}`, detail: parsed.detail }]));
  }
  return errors.length > 0 ? { ok: false, code: "invalid-request", detail: MEND, errors } : { ok: true, events };
}

function parseEnvelope(text: string, base: string): ParsedEvents {
  const scanned = scanMembers(text);
  if (!scanned.ok) return unreadable(text, scanned, { pointer: base, detail: "must be an object" });
  const pointerOf = (name: string): string => `${base}/${name.replaceAll("~", "~0").replaceAll("/", "~1")}`;
  const errors = scanned.duplicateKeys.map((key): FieldFault => ({ pointer: pointerOf(key), detail: "comes twice" }));
  const attributes = new Map<string, string | null>();
  let data: string | null = null;
  let base64: string | null = null;
  for (const member of scanned.members) {
    const literal = text.slice(member.start, member.end);
    if (member.key === "data") data = literal;
    else if (member.key === "data_base64") base64 = literal;
    else readAttribute(member, literal, attributes, errors, pointerOf);
  }
  const context = parseContext(attributes, pointerOf, errors);
  const payload = readPayload(context.contentType, data, base64);
  if (!payload.ok) errors.push({ pointer: pointerOf(payload.member), detail: payload.detail });
  if (errors.length > 0 || !payload.ok) return { ok: false, code: "invalid-request", detail: MEND, errors };
  const { contentType, body } = payload;
  return { ok: true, events: [{ id: context.id, event: context.event, contentType, body }] };
}

/** JSON event format §2.2: strings, booleans and 32-bit integers; `null` is as if absent. */
function readAttribute(
  member: JsonMember,
  literal: string,
  attributes: Map<string, string | null>,
  errors: FieldFault[],
  pointerOf: (name: string) => string,
): void {
  if (literal === "null") return;
  if (literal.startsWith('"')) {
    attributes.set(member.key, decodeString(literal));
  } else if (literal === "true" || literal === "false" || isInteger(literal)) {
    attributes.set(member.key, literal);
  } else {
    errors.push({ pointer: pointerOf(member.key), detail: "must be a string, a boolean or a 32-bit integer" });
    attributes.set(member.key, null);
  }
}

function isInteger(literal: string): boolean {
  return /^-?[0-9]{1,10}$/.test(literal) && Number(literal) === (Number(literal) | 0);
}

type Payload =
  | { readonly ok: true; readonly contentType: string; readonly body: Uint8Array }
  | { readonly ok: false; readonly member: "data" | "data_base64"; readonly detail: string };

/** JSON event format §3.1: without `datacontenttype`, `data` is JSON. */
function readPayload(sentType: string | null, data: string | null, base64: string | null): Payload {
  const type: MediaType | null = sentType === null ? null : parseMediaType(sentType);
  if (data !== null && base64 !== null) return { ok: false, member: "data", detail: "comes with `data_base64`: send one of them" };
  if (base64 !== null) {
    const body = base64.startsWith('"') ? decodeBase64(decodeString(base64)) : null;
    if (body === null) return { ok: false, member: "data_base64", detail: "must be a string of padded base64" };
    return { ok: true, contentType: sentType ?? OCTETS, body };
  }
  if (data === null) return { ok: true, contentType: sentType ?? OCTETS, body: new Uint8Array() };
  if (type === null || isJson(type)) {
    return { ok: true, contentType: sentType ?? JSON_TYPE, body: new TextEncoder().encode(data) };
  }
  const text = data.startsWith('"') ? decodeString(data) : null;
  if (text === null) return { ok: false, member: "data", detail: "must be a string, for its `datacontenttype` is not JSON" };
  if (!text.isWellFormed() || !isUtf8(type)) {
    return { ok: false, member: "data", detail: "cannot be written as the text that `datacontenttype` says: use `data_base64`" };
  }
  return { ok: true, contentType: sentType ?? OCTETS, body: new TextEncoder().encode(text) };
}

function decodeBase64(text: string): Uint8Array | null {
  // the decoder alone would pass white space, missing padding and the URL alphabet
  return text.length % 4 === 0 && /^[A-Za-z0-9+/]*={0,2}$/.test(text) ? fromBase64(text) : null;
}

/** HTTP binding §3.1.3.2: a quoted string is unquoted, then percent-decoded once; null when that is not UTF-8. */
function decodeHeaderValue(value: string): string | null {
  if (value.includes("\uFFFD")) return null; // what the runtime puts where the header was not UTF-8
  const quoted = /^"((?:[^"\\]|\\.)*)"$/.exec(value);
  const text = quoted?.[1] === undefined ? value : quoted[1].replaceAll(/\\(.)/g, "$1");
  try {
    return text.replaceAll(/(?:%[0-9A-Fa-f]{2})+/g, (encoded) => decodeURIComponent(encoded));
  } catch {
    // not UTF-8
    return null;
  }
}

function decodeUtf8(bytes: Uint8Array): string | null {
  try {
    return new TextDecoder("utf-8", { fatal: true, ignoreBOM: false }).decode(bytes);
  } catch {
    // not UTF-8
    return null;
  }
}

/** JSON of another shape breaks the schema; all else is no JSON. */
function unreadable(text: string, { position, detail }: JsonFault, shape: FieldFault): ParsedEvents {
  if (checkJson(text).ok) return { ok: false, code: "invalid-request", detail: MEND, errors: [shape] };
  return malformed(`At character ${position}: ${detail}.`);
}

function malformed(detail: string): ParsedEvents {
  return { ok: false, code: "malformed-json", detail, errors: [] };
}
