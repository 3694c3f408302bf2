import { toBase64 } from "../crypto/base64.ts";
import { isJson, isUtf8, parseMediaType } from "./cloudevents-media-type.ts";
import { checkJson } from "./json-members.ts";
import type { EventContext } from "./message.ts";

/** What of a message becomes an event; `timeMs` stands in when the publisher gave no `time`. */
export type OutboundEvent = {
  readonly id: string;
  readonly topic: string;
  readonly contentType: string;
  readonly timeMs: number;
  readonly event?: EventContext | undefined;
};

const STRUCTURED_TYPE = "application/cloudevents+json; charset=utf-8";

/**
 * The `ce-*` headers of binary mode; body and `content-type` are the message's own. Values are percent-encoded as
 * HTTP binding 1.0.2 §3.1.3.2 says: UTF-8 of all but printable ASCII, and space, `"` and `%`.
 */
export function binaryHeaders(message: OutboundEvent): Record<string, string> {
  const headers: Record<string, string> = {};
  for (const [name, value] of Object.entries(contextAttributes(message))) {
    headers[`ce-${name}`] = value.replaceAll(/[^!#$&-~]/gu, (character) => percentEncode(character));
  }
  return headers;
}

/**
 * The event as one JSON object. JSON data is put into it byte for byte, text as a string; all other bytes, and
 * those that are not what their content type says, as `data_base64`.
 */
export function structuredBody(
  message: OutboundEvent,
  body: Uint8Array,
): { readonly contentType: string; readonly body: Uint8Array } {
  const attributes = { ...contextAttributes(message), datacontenttype: message.contentType };
  const head = JSON.stringify(attributes).slice(0, -1);
  return { contentType: STRUCTURED_TYPE, body: concatenate(head, dataMember(message.contentType, body), "}") };
}

function contextAttributes(message: OutboundEvent): Record<string, string> {
  return {
    specversion: "1.0",
    source: `/topics/${message.topic}`,
    type: message.topic,
    time: new Date(message.timeMs).toISOString(),
    id: message.id,
    ...message.event,
  };
}

/** The parts of the member that follow the attributes, comma included; none for an event without data. */
function dataMember(contentType: string, body: Uint8Array): readonly (string | Uint8Array)[] {
  if (body.length === 0) return [];
  const type = parseMediaType(contentType);
  if (type !== null && isUtf8(type) && (isJson(type) || type.essence.startsWith("text/"))) {
    const text = decodeUtf8(body);
    if (text !== null && !isJson(type)) return [`,"data":${JSON.stringify(text)}`];
    if (text !== null && checkJson(text).ok) return [',"data":', body];
  }
  return [`,"data_base64":"${toBase64(body)}"`];
}

function concatenate(head: string, middle: readonly (string | Uint8Array)[], tail: string): Uint8Array {
  const parts = [head, ...middle, tail].map((part) => (typeof part === "string" ? new TextEncoder().encode(part) : part));
  const bytes = new Uint8Array(parts.reduce((length, part) => length + part.length, 0));
  let position = 0;
  for (const part of parts) {
    bytes.set(part, position);
    position += part.length;
  }
  return bytes;
}

function percentEncode(character: string): string {
  return new TextEncoder()
    .encode(character)
    .reduce((encoded, byte) => `${encoded}%${byte.toString(16).toUpperCase().padStart(2, "0")}`, "");
}

function decodeUtf8(bytes: Uint8Array): string | null {
  try {
    // a byte order mark is part of the bytes
    return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch {
    // not UTF-8
    return null;
  }
}
