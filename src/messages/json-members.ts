/**
 * Strict JSON (RFC 8259) read in place: what is where in a text, without building it. Values stay the published
 * characters, so numbers of any precision, key order and duplicate keys survive (invariant I4).
 * Linear in the text, and iterative: depth costs no stack.
 */

/** `text.slice(start, end)` is the value, without the white space around it. */
export type JsonSpan = { readonly start: number; readonly end: number };

/** A member of the top-level object; `key` is decoded. */
export type JsonMember = JsonSpan & { readonly key: string };

/** Where the text stops being JSON: an index into it, and what was wrong there. */
export type JsonFault = { readonly ok: false; readonly position: number; readonly detail: string };

/** Arrays and objects within each other, the outermost counted. */
export const MAX_JSON_DEPTH = 512;

type Cursor = {
  readonly text: string;
  position: number;
  detail: string;
  readonly watch: KeyWatch | null;
  /** Arrays and objects that the values being skipped lie in. */
  readonly depth: number;
};

/** Is told of every object's keys (raw, quoted) as they are passed. */
type KeyWatch = { enter(): void; key(start: number, end: number): void; leave(): void };

const QUOTE = 0x22;
const COMMA = 0x2c;
const COLON = 0x3a;
const OPEN_BRACKET = 0x5b;
const CLOSE_BRACKET = 0x5d;
const BACKSLASH = 0x5c;
const OPEN_BRACE = 0x7b;
const CLOSE_BRACE = 0x7d;
/** In ASCII, `]` follows `[`, and `}` follows `{`, at this distance. */
const CLOSER_DISTANCE = 2;

const SCALAR = /-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?|true|false|null/y;
const UNICODE_ESCAPE = /u[0-9A-Fa-f]{4}/y;
const SIMPLE_ESCAPES = new Set(Array.from('"\\/bfnrt', (character) => character.charCodeAt(0)));

/** The members of the object that this text is, in order; a key that comes twice is in both lists. */
export function scanMembers(
  text: string,
): { readonly ok: true; readonly members: readonly JsonMember[]; readonly duplicateKeys: readonly string[] } | JsonFault {
  const cursor = open(text, 1);
  if (!expect(cursor, OPEN_BRACE, "a JSON object is expected here")) return fault(cursor);
  const members: JsonMember[] = [];
  const seen = new Set<string>();
  const duplicates = new Set<string>();
  if (!takes(cursor, CLOSE_BRACE)) {
    do {
      const name = skipKey(cursor);
      if (name === null) return fault(cursor);
      const span = skipSpan(cursor);
      if (span === null) return fault(cursor);
      const key = decodeString(text.slice(name.start, name.end));
      if (seen.has(key)) duplicates.add(key);
      seen.add(key);
      members.push({ key, ...span });
    } while (takes(cursor, COMMA));
    if (!expect(cursor, CLOSE_BRACE, "`,` or `}` is expected here")) return fault(cursor);
  }
  return ends(cursor) ? { ok: true, members, duplicateKeys: [...duplicates] } : fault(cursor);
}

/** The elements of the array that this text is, in order. */
export function scanElements(text: string): { readonly ok: true; readonly elements: readonly JsonSpan[] } | JsonFault {
  const cursor = open(text, 1);
  if (!expect(cursor, OPEN_BRACKET, "a JSON array is expected here")) return fault(cursor);
  const elements: JsonSpan[] = [];
  if (!takes(cursor, CLOSE_BRACKET)) {
    do {
      const span = skipSpan(cursor);
      if (span === null) return fault(cursor);
      elements.push(span);
    } while (takes(cursor, COMMA));
    if (!expect(cursor, CLOSE_BRACKET, "`,` or `]` is expected here")) return fault(cursor);
  }
  return ends(cursor) ? { ok: true, elements } : fault(cursor);
}

/** Whether the text is one JSON value of any type. */
export function checkJson(text: string): { readonly ok: true } | JsonFault {
  const cursor = open(text, 0);
  return skipSpan(cursor) !== null && ends(cursor) ? { ok: true } : fault(cursor);
}

/** The first key that an object at any depth holds twice, decoded; null when every object's keys differ. */
export function findDuplicateKey(text: string): { readonly ok: true; readonly key: string | null } | JsonFault {
  const objects: Set<string>[] = [];
  let duplicate: string | null = null;
  const cursor = open(text, 0, {
    enter: () => objects.push(new Set()),
    key(start, end) {
      const keys = objects.at(-1);
      const key = decodeString(text.slice(start, end));
      if (keys?.has(key)) duplicate ??= key;
      keys?.add(key);
    },
    leave: () => objects.pop(),
  });
  return skipSpan(cursor) !== null && ends(cursor) ? { ok: true, key: duplicate } : fault(cursor);
}

/** The value of a JSON string literal, quotes included, that a scan has passed as valid. */
export function decodeString(literal: string): string {
  if (!literal.includes("\\")) return literal.slice(1, -1);
  const decoded: unknown = JSON.parse(literal);
  if (typeof decoded !== "string") throw new TypeError("not a JSON string literal");
  return decoded;
}

function open(text: string, depth: number, watch: KeyWatch | null = null): Cursor {
  return { text, position: 0, detail: "", watch, depth };
}

function fault(cursor: Cursor): JsonFault {
  const detail = cursor.position >= cursor.text.length ? "the text ends too early" : cursor.detail;
  return { ok: false, position: cursor.position, detail };
}

function refuse(cursor: Cursor, detail: string): false {
  cursor.detail = detail;
  return false;
}

function peek(cursor: Cursor): number {
  skipSpace(cursor);
  return cursor.text.charCodeAt(cursor.position);
}

function takes(cursor: Cursor, code: number): boolean {
  if (peek(cursor) !== code) return false;
  cursor.position++;
  return true;
}

function expect(cursor: Cursor, code: number, detail: string): boolean {
  return takes(cursor, code) || refuse(cursor, detail);
}

function ends(cursor: Cursor): boolean {
  skipSpace(cursor);
  return cursor.position === cursor.text.length || refuse(cursor, "nothing may follow the value");
}

function skipSpan(cursor: Cursor): JsonSpan | null {
  skipSpace(cursor);
  const start = cursor.position;
  return skipValue(cursor) ? { start, end: cursor.position } : null;
}

function skipValue(cursor: Cursor): boolean {
  const closers: number[] = [];
  for (;;) {
    const code = peek(cursor);
    if (code === OPEN_BRACE || code === OPEN_BRACKET) {
      if (cursor.depth + closers.length === MAX_JSON_DEPTH) return refuse(cursor, `nested deeper than ${MAX_JSON_DEPTH} levels`);
      cursor.position++;
      closers.push(code + CLOSER_DISTANCE);
      if (code === OPEN_BRACE) cursor.watch?.enter();
      if (peek(cursor) !== code + CLOSER_DISTANCE) {
        if (code === OPEN_BRACE && skipKey(cursor) === null) return false;
        continue;
      }
    } else if (!skipScalar(cursor, code)) {
      return false;
    }
    if (!closeValues(cursor, closers)) return false;
    if (closers.length === 0) return true;
  }
}

/** After a value: closes what ends here, up to a comma (with the next key, in an object) or the outermost end. */
function closeValues(cursor: Cursor, closers: number[]): boolean {
  for (let closer = closers.at(-1); closer !== undefined; closer = closers.at(-1)) {
    const inObject = closer === CLOSE_BRACE;
    if (takes(cursor, COMMA)) return !inObject || skipKey(cursor) !== null;
    if (!expect(cursor, closer, inObject ? "`,` or `}` is expected here" : "`,` or `]` is expected here")) return false;
    if (inObject) cursor.watch?.leave();
    closers.pop();
  }
  return true;
}

/** Passes `"key" :`; the span is that of the key, quotes included. */
function skipKey(cursor: Cursor): JsonSpan | null {
  if (peek(cursor) !== QUOTE) {
    refuse(cursor, "a quoted key is expected here");
    return null;
  }
  const start = cursor.position;
  if (!skipString(cursor)) return null;
  const end = cursor.position;
  cursor.watch?.key(start, end);
  return expect(cursor, COLON, "`:` is expected here") ? { start, end } : null;
}

function skipScalar(cursor: Cursor, code: number): boolean {
  if (code === QUOTE) return skipString(cursor);
  SCALAR.lastIndex = cursor.position;
  if (!SCALAR.test(cursor.text)) return refuse(cursor, "a JSON value is expected here");
  cursor.position = SCALAR.lastIndex;
  return true;
}

function skipString(cursor: Cursor): boolean {
  const { text } = cursor;
  for (let position = cursor.position + 1; position < text.length; position++) {
    const code = text.charCodeAt(position);
    if (code === QUOTE) {
      cursor.position = position + 1;
      return true;
    }
    if (code < 0x20) {
      cursor.position = position;
      return refuse(cursor, "a control character in a string must be escaped");
    }
    if (code === BACKSLASH) {
      const end = escapeEnd(text, position + 1);
      if (end === null) {
        cursor.position = position;
        return refuse(cursor, "unknown escape in a string");
      }
      position = end - 1;
    }
  }
  cursor.position = text.length;
  return false;
}

function escapeEnd(text: string, position: number): number | null {
  if (SIMPLE_ESCAPES.has(text.charCodeAt(position))) return position + 1;
  UNICODE_ESCAPE.lastIndex = position;
  return UNICODE_ESCAPE.test(text) ? UNICODE_ESCAPE.lastIndex : null;
}

function skipSpace(cursor: Cursor): void {
  const { text } = cursor;
  let { position } = cursor;
  for (;;) {
    const code = text.charCodeAt(position);
    if (code !== 0x20 && code !== 0x0a && code !== 0x0d && code !== 0x09) break;
    position++;
  }
  cursor.position = position;
}
