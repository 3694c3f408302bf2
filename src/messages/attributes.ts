import type { Attributes } from "./message.ts";

/** One broken field of what was sent: where it is (JSON Pointer, or `header:name`) and how to mend it. */
export type FieldFault = { readonly pointer: string; readonly detail: string };

export const ATTRIBUTE_HEADER_PREFIX = "postern-attribute-";
export const MAX_ATTRIBUTES = 50;
/** Names and values together, in UTF-8. */
export const MAX_ATTRIBUTES_BYTES = 16 * 1024;

/** Of UTF-8, for a UTF-16 unit. */
const MAX_BYTES_A_CHARACTER = 3;

const ATTRIBUTE_NAME = /^[a-z0-9_.-]{1,128}$/;
const REPLACEMENT_CHARACTER = "\uFFFD";
const CONTROL_CHARACTER = /[\u0000-\u001f\u007f]/;
/** What HTTP carries unchanged: printable ASCII with no space at either end. */
const PLAIN_HEADER_VALUE = /^(?:[!-~](?:[ -~]*[!-~])?)?$/;
const PRINTABLE_BUT_PERCENT = /^[!-$&-~]$/;

export type ParsedAttributes =
  | { readonly ok: true; readonly attributes: Attributes }
  | { readonly ok: false; readonly errors: readonly FieldFault[] };

/**
 * Reads the `Postern-Attribute-<name>` headers of a publish; values are taken as they are. The runtime reads headers as
 * UTF-8 and puts U+FFFD where they are not: what was sent is lost then, so it is refused.
 */
export function attributesFromHeaders(headers: Iterable<readonly [name: string, value: string]>): ParsedAttributes {
  const pointerOf = (name: string): string => `header:${ATTRIBUTE_HEADER_PREFIX}${name}`;
  const errors: FieldFault[] = [];
  const entries: [string, string][] = [];
  for (const [name, value] of headers) {
    const lower = name.toLowerCase();
    if (!lower.startsWith(ATTRIBUTE_HEADER_PREFIX)) continue;
    const attribute = lower.slice(ATTRIBUTE_HEADER_PREFIX.length);
    entries.push([attribute, value]);
    if (value.includes(REPLACEMENT_CHARACTER)) errors.push({ pointer: pointerOf(attribute), detail: "the value must be UTF-8" });
  }
  return errors.length > 0 ? { ok: false, errors } : parseAttributes(entries, pointerOf);
}

/**
 * Checks attributes from anywhere (headers, a batch). Names are lower-cased, and must then differ.
 * @param pointerOf where the attribute of that name was sent; of the whole with `""`
 */
export function parseAttributes(
  entries: Iterable<readonly [name: string, value: string]>,
  pointerOf: (name: string) => string,
): ParsedAttributes {
  const errors: FieldFault[] = [];
  const attributes = new Map<string, string>();
  let characters = 0;
  for (const [sentName, value] of entries) {
    const name = sentName.toLowerCase();
    const detail = attributes.has(name) ? "comes twice: names differ in more than case" : attributeFault(name, value);
    if (detail !== null) errors.push({ pointer: pointerOf(sentName), detail });
    attributes.set(name, value);
    characters += name.length + value.length;
  }
  if (attributes.size > MAX_ATTRIBUTES) {
    errors.push({ pointer: pointerOf(""), detail: `at most ${MAX_ATTRIBUTES} attributes, not ${attributes.size}` });
  }
  if (characters * MAX_BYTES_A_CHARACTER > MAX_ATTRIBUTES_BYTES && utf8Bytes(attributes) > MAX_ATTRIBUTES_BYTES) {
    errors.push({ pointer: pointerOf(""), detail: `names and values are at most ${MAX_ATTRIBUTES_BYTES} bytes in all` });
  }
  return errors.length > 0 ? { ok: false, errors } : { ok: true, attributes: Object.fromEntries(attributes) };
}

function utf8Bytes(attributes: ReadonlyMap<string, string>): number {
  const encoder = new TextEncoder();
  return [...attributes].reduce((bytes, [name, value]) => bytes + name.length + encoder.encode(value).length, 0);
}

function attributeFault(name: string, value: string): string | null {
  if (!ATTRIBUTE_NAME.test(name)) return "the name must be 1 to 128 of a-z, 0-9, `_`, `.` and `-`";
  if (CONTROL_CHARACTER.test(value)) return "the value must not hold control characters";
  return null;
}

/**
 * The headers that carry attributes to a subscriber. A value of printable ASCII goes out as it is; any other
 * (and one with spaces at its ends, which HTTP would drop) is percent-encoded whole, as UTF-8, `%` included.
 */
export function attributeHeaders(attributes: Attributes): Record<string, string> {
  const headers: Record<string, string> = {};
  for (const [name, value] of Object.entries(attributes)) {
    headers[`${ATTRIBUTE_HEADER_PREFIX}${name}`] = PLAIN_HEADER_VALUE.test(value) ? value : percentEncode(value);
  }
  return headers;
}

function percentEncode(value: string): string {
  let encoded = "";
  for (const byte of new TextEncoder().encode(value)) {
    const character = String.fromCharCode(byte);
    encoded += PRINTABLE_BUT_PERCENT.test(character) ? character : `%${byte.toString(16).toUpperCase().padStart(2, "0")}`;
  }
  return encoded;
}
