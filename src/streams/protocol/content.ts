import { checkJson, type JsonFault, scanElements } from "../../messages/json-members.ts";

/**
 * What is appended at once. Of a JSON stream: the messages as they were sent, with a comma between each two, and the
 * length of each in bytes. Of any other: bytes, and no lengths.
 */
export type Payload = { readonly bytes: Uint8Array; readonly lengths: Uint32Array | null };

export type ParsedPayload = { readonly ok: true; readonly payload: Payload } | { readonly ok: false; readonly detail: string };

/** A message is never cut in two, and a row of an object holds 2 MB. */
export const MAX_JSON_MESSAGE_BYTES = 1_800_000;

export const DEFAULT_CONTENT_TYPE = "application/octet-stream";
const COMMA = 0x2c;

/** The media type without its parameters, in lower case. */
export function mediaType(contentType: string): string {
  return (contentType.split(";", 1)[0] ?? "").trim().toLowerCase();
}

/** Whether a stream of this type is in JSON mode (§7.1). */
export function isJsonMode(contentType: string): boolean {
  return mediaType(contentType) === "application/json";
}

/** Whether SSE carries it as text; anything else goes as base 64 (§5.8). */
export function isText(contentType: string): boolean {
  return mediaType(contentType).startsWith("text/") || isJsonMode(contentType);
}

/** How many positions of the stream it takes. */
export function unitsOf({ bytes, lengths }: Payload): number {
  return lengths === null ? bytes.length : lengths.length;
}

/**
 * The messages of a body: the elements of an array (one level of it, §7.1), or the one value. They stay the bytes that
 * were sent. An array without elements is a payload of no units.
 */
export function parseJsonPayload(body: Uint8Array): ParsedPayload {
  let text: string;
  try {
    text = new TextDecoder("utf-8", { fatal: true, ignoreBOM: false }).decode(body);
  } catch {
    return { ok: false, detail: "The body is not valid UTF-8." };
  }
  if (/^[ \t\r\n]*\[/.test(text)) {
    const scanned = scanElements(text);
    return scanned.ok ? joined(scanned.elements.map(({ start, end }) => text.slice(start, end))) : faulty(scanned);
  }
  const checked = checkJson(text);
  return checked.ok ? joined([text.trim()]) : faulty(checked);
}

function faulty({ detail, position }: JsonFault): ParsedPayload {
  return { ok: false, detail: `The body is not valid JSON: ${detail}, at character ${position + 1}.` };
}

function joined(values: readonly string[]): ParsedPayload {
  const encoder = new TextEncoder();
  const text = values.join(",");
  const bytes = encoder.encode(text);
  const lengths = new Uint32Array(values.length);
  const ascii = bytes.length === text.length;
  values.forEach((value, index) => {
    lengths[index] = ascii ? value.length : encoder.encode(value).length;
  });
  if (lengths.some((length) => length > MAX_JSON_MESSAGE_BYTES)) {
    return { ok: false, detail: `A JSON message may have ${MAX_JSON_MESSAGE_BYTES} bytes at most.` };
  }
  return { ok: true, payload: { bytes, lengths } };
}

/** Several parts as one; in JSON mode with a comma between each two. */
export function joinParts(parts: readonly Uint8Array[], json: boolean): Uint8Array {
  const [only] = parts;
  if (parts.length === 1 && only !== undefined) return only;
  const gaps = json ? Math.max(parts.length - 1, 0) : 0;
  const whole = new Uint8Array(parts.reduce((sum, part) => sum + part.length, gaps));
  let at = 0;
  parts.forEach((part, index) => {
    if (json && index > 0) whole[at++] = COMMA;
    whole.set(part, at);
    at += part.length;
  });
  return whole;
}

/** The bytes in a buffer of their own: sent to an object, or stored, a view takes all it is a view of with it. */
export function ownBuffer(bytes: Uint8Array): Uint8Array<ArrayBuffer> {
  const { buffer } = bytes;
  return buffer instanceof ArrayBuffer && buffer.byteLength === bytes.length ? new Uint8Array(buffer) : bytes.slice();
}
