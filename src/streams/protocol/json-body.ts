import { checkJson, type JsonFault, MAX_JSON_DEPTH, scanElements } from "../../messages/json-members.ts";

/** Where the messages of a body are, in its bytes: the start and the end of each, one after the other. */
export type JsonBounds = { readonly ok: true; readonly bounds: Uint32Array } | { readonly ok: false; readonly detail: string };

const QUOTE = 0x22;
const PLUS = 0x2b;
const COMMA = 0x2c;
const MINUS = 0x2d;
const POINT = 0x2e;
const ZERO = 0x30;
const NINE = 0x39;
const COLON = 0x3a;
const OPEN_BRACKET = 0x5b;
const BACKSLASH = 0x5c;
const CLOSE_BRACKET = 0x5d;
const SMALL_E = 0x65;
const OPEN_BRACE = 0x7b;
/** In ASCII, `]` follows `[`, and `}` follows `{`, at this distance. */
const CLOSER_DISTANCE = 2;
const LOWER_CASE = 0x20;
const BYTE_ORDER_MARK = [0xef, 0xbb, 0xbf];
const WORDS = ["true", "false", "null"].map((word) => new TextEncoder().encode(word));
const SIMPLE_ESCAPES = new Set(new TextEncoder().encode('"\\/bfnrt'));
const SMALL_U = 0x75;
const NOT_JSON = -1;

/**
 * The messages of a JSON body: the elements of an array (one level of it, §7.1), or the one value. Read in the bytes as
 * they came, and nothing is built: what is appended is stored as it was sent, and may be large.
 */
export function jsonBounds(body: Uint8Array): JsonBounds {
  let text: string;
  try {
    text = new TextDecoder("utf-8", { fatal: true, ignoreBOM: false }).decode(body);
  } catch {
    return { ok: false, detail: "The body is not valid UTF-8." };
  }
  const bounds = scan(body, BYTE_ORDER_MARK.every((byte, index) => body[index] === byte) ? BYTE_ORDER_MARK.length : 0);
  return bounds === null ? faulty(text) : { ok: true, bounds };
}

/** What is wrong, and where: found by the reader that can tell. */
function faulty(text: string): JsonBounds {
  const scanned: { readonly ok: true } | JsonFault = /^[ \t\r\n]*\[/.test(text) ? scanElements(text) : checkJson(text);
  if (scanned.ok) throw new Error("two readers of JSON do not agree");
  return { ok: false, detail: `The body is not valid JSON: ${scanned.detail}, at character ${scanned.position + 1}.` };
}

/** Null when it is not JSON, or nested too deep. */
function scan(bytes: Uint8Array, from: number): Uint32Array | null {
  const start = skipSpace(bytes, from);
  const isArray = bytes[start] === OPEN_BRACKET;
  const messages = new Bounds();
  let at = isArray ? skipSpace(bytes, start + 1) : start;
  const isEmpty = isArray && bytes[at] === CLOSE_BRACKET;
  while (!isEmpty) {
    const end = skipValue(bytes, at, isArray ? 1 : 0);
    if (end === NOT_JSON) return null;
    messages.add(at, end);
    at = skipSpace(bytes, end);
    if (!isArray || bytes[at] !== COMMA) break;
    at = skipSpace(bytes, at + 1);
  }
  if (isArray && bytes[at++] !== CLOSE_BRACKET) return null;
  return skipSpace(bytes, at) === bytes.length ? messages.all() : null;
}

/** Where the value ends that begins here, whatever is in it. */
function skipValue(bytes: Uint8Array, from: number, outerDepth: number): number {
  const closers: number[] = [];
  for (let at = from; ; ) {
    const byte = bytes[at];
    if (byte === OPEN_BRACE || byte === OPEN_BRACKET) {
      if (outerDepth + closers.length === MAX_JSON_DEPTH) return NOT_JSON;
      const closer = byte + CLOSER_DISTANCE;
      closers.push(closer);
      at = skipSpace(bytes, at + 1);
      if (bytes[at] !== closer) {
        if (byte === OPEN_BRACE) at = skipKey(bytes, at);
        if (at === NOT_JSON) return at;
        continue;
      }
    } else {
      at = byte === QUOTE ? skipString(bytes, at) : skipScalar(bytes, at);
      if (at === NOT_JSON || closers.length === 0) return at;
      at = skipSpace(bytes, at);
    }
    at = closeValues(bytes, at, closers);
    if (at === NOT_JSON || closers.length === 0) return at;
  }
}

/** After a value within others: closes what ends here, up to a comma (and the next key, in an object) or the outermost end. */
function closeValues(bytes: Uint8Array, from: number, closers: number[]): number {
  for (let at = from; ; at = skipSpace(bytes, at)) {
    const closer = closers.at(-1);
    if (bytes[at] === COMMA) {
      const next = skipSpace(bytes, at + 1);
      return closer === CLOSE_BRACKET ? next : skipKey(bytes, next);
    }
    if (bytes[at] !== closer) return NOT_JSON;
    closers.pop();
    at++;
    if (closers.length === 0) return at;
  }
}

/** Passes `"key" :`, and what space follows. */
function skipKey(bytes: Uint8Array, at: number): number {
  const end = bytes[at] === QUOTE ? skipString(bytes, at) : NOT_JSON;
  const colonAt = end === NOT_JSON ? NOT_JSON : skipSpace(bytes, end);
  return bytes[colonAt] === COLON ? skipSpace(bytes, colonAt + 1) : NOT_JSON;
}

function skipString(bytes: Uint8Array, openedAt: number): number {
  for (let at = openedAt + 1; at < bytes.length; at++) {
    const byte = bytes[at] ?? 0;
    if (byte > QUOTE && byte !== BACKSLASH) continue; // what most of a string is
    if (byte === QUOTE) return at + 1;
    if (byte < 0x20) return NOT_JSON;
    if (byte !== BACKSLASH) continue;
    at++;
    if (bytes[at] === SMALL_U) {
      for (let digit = 0; digit < 4; digit++) if (!isHex(bytes[++at] ?? 0)) return NOT_JSON;
    } else if (!SIMPLE_ESCAPES.has(bytes[at] ?? 0)) return NOT_JSON;
  }
  return NOT_JSON;
}

/** A number (RFC 8259 §6), `true`, `false` or `null`. */
function skipScalar(bytes: Uint8Array, from: number): number {
  const word = WORDS.find((one) => one[0] === bytes[from]);
  if (word !== undefined) return word.every((byte, index) => bytes[from + index] === byte) ? from + word.length : NOT_JSON;
  let at = bytes[from] === MINUS ? from + 1 : from;
  at = bytes[at] === ZERO ? at + 1 : skipDigits(bytes, at);
  if (at !== NOT_JSON && bytes[at] === POINT) at = skipDigits(bytes, at + 1);
  if (at !== NOT_JSON && ((bytes[at] ?? 0) | LOWER_CASE) === SMALL_E) {
    const sign = bytes[at + 1];
    at = skipDigits(bytes, sign === PLUS || sign === MINUS ? at + 2 : at + 1);
  }
  return at;
}

/** One at least. */
function skipDigits(bytes: Uint8Array, from: number): number {
  let at = from;
  while (isDigit(bytes[at])) at++;
  return at === from ? NOT_JSON : at;
}

function isDigit(byte: number | undefined): boolean {
  return byte !== undefined && byte >= ZERO && byte <= NINE;
}

function isHex(byte: number): boolean {
  const letter = byte | LOWER_CASE;
  return isDigit(byte) || (letter >= 0x61 && letter <= 0x66);
}

function skipSpace(bytes: Uint8Array, from: number): number {
  let at = from;
  for (;;) {
    const byte = bytes[at];
    if (byte !== 0x20 && byte !== 0x0a && byte !== 0x0d && byte !== 0x09) return at;
    at++;
  }
}

/** Starts and ends, as many as there are. */
class Bounds {
  #numbers = new Uint32Array(1_024);
  #used = 0;

  add(start: number, end: number): void {
    if (this.#used === this.#numbers.length) {
      const larger = new Uint32Array(this.#used * 4);
      larger.set(this.#numbers);
      this.#numbers = larger;
    }
    this.#numbers[this.#used++] = start;
    this.#numbers[this.#used++] = end;
  }

  all(): Uint32Array {
    return this.#numbers.subarray(0, this.#used);
  }
}
