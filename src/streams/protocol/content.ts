import { jsonBounds } from "./json-body.ts";

/**
 * What is appended at once. Of a JSON stream: the messages as they were sent, with a comma between each two, and the
 * length of each in bytes. Of any other: bytes, and no lengths.
 */
export type Payload = { readonly bytes: Uint8Array; readonly lengths: Uint32Array | null };

export type ParsedPayload = { readonly ok: true; readonly payload: Payload } | { readonly ok: false; readonly detail: string };

/** A message is never cut in two, and a row of an object holds 2 MB. */
export const MAX_JSON_MESSAGE_BYTES = 1_800_000;

/** What a view may leave of the buffer it is one of: less than a copy costs, for all of the buffer goes with it. */
const SPARE_BYTES = 1_024;

export const DEFAULT_CONTENT_TYPE = "application/octet-stream";
const COMMA = 0x2c;
const OPEN_BRACKET = 0x5b;
const CLOSE_BRACKET = 0x5d;

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
  const parsed = jsonBounds(body);
  if (!parsed.ok) return parsed;
  const { bounds } = parsed;
  const lengths = new Uint32Array(bounds.length / 2);
  for (let index = 0; index < lengths.length; index++) lengths[index] = (bounds[2 * index + 1] ?? 0) - (bounds[2 * index] ?? 0);
  if (lengths.some((length) => length > MAX_JSON_MESSAGE_BYTES)) {
    return { ok: false, detail: `A JSON message may have ${MAX_JSON_MESSAGE_BYTES} bytes at most.` };
  }
  return { ok: true, payload: { bytes: joinedMessages(body, bounds), lengths } };
}

/** The messages with a comma between each two: as they lie in the body, where nothing else is between them. */
function joinedMessages(body: Uint8Array, bounds: Uint32Array): Uint8Array {
  const [first = 0] = bounds;
  const last = bounds.at(-1) ?? 0;
  let size = 0;
  for (let index = 0; index < bounds.length; index += 2) size += (bounds[index + 1] ?? 0) - (bounds[index] ?? 0) + 1;
  if (size === 0) return new Uint8Array();
  if (size - 1 === last - first) return body.buffer.byteLength - size < SPARE_BYTES ? body.subarray(first, last) : body.slice(first, last);
  const parts: Uint8Array[] = [];
  for (let index = 0; index < bounds.length; index += 2) parts.push(body.subarray(bounds[index], bounds[index + 1]));
  return ownBuffer(joinParts(parts, true));
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

/**
 * JSON messages that were read, with a comma between each two parts, in a buffer with room for the brackets that
 * {@link shown} puts around them: so they are copied here, and nowhere after.
 */
export function joinMessages(parts: readonly Uint8Array[]): Uint8Array<ArrayBuffer> {
  const whole = new Uint8Array(parts.reduce((sum, part) => sum + part.length + 1, 1));
  let at = 1;
  for (const part of parts) {
    whole.set(part, at);
    at += part.length;
    whole[at++] = COMMA;
  }
  return parts.length === 0 ? new Uint8Array() : whole.subarray(1, -1);
}

/** The bytes of a stretch as a body shows them: in JSON mode as an array (§7.1). */
export function shown(bytes: Uint8Array, contentType: string): Uint8Array {
  if (!isJsonMode(contentType)) return bytes;
  const { byteOffset, buffer, length } = bytes;
  const hasRoom = byteOffset === 1 && buffer.byteLength === length + 2;
  const whole = hasRoom ? new Uint8Array(buffer) : new Uint8Array(length + 2);
  if (!hasRoom) whole.set(bytes, 1);
  whole[0] = OPEN_BRACKET;
  whole[length + 1] = CLOSE_BRACKET;
  return whole;
}

/** The bytes in a buffer of their own: sent to an object, or stored, a view takes all it is a view of with it. */
export function ownBuffer(bytes: Uint8Array): Uint8Array<ArrayBuffer> {
  const { buffer } = bytes;
  return buffer instanceof ArrayBuffer && buffer.byteLength === bytes.length ? new Uint8Array(buffer) : bytes.slice();
}
