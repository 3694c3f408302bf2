import { fillFromPool } from "./random-pool.ts";

/** The prefixes of §3: an id says what it names. */
export type IdPrefix = "ep" | "sub" | "msg" | "dlv" | "att" | "src" | "tok" | "ten" | "req" | "aud" | "sec" | "key" | "job" | "pco";

/** Crockford base 32. */
const DIGITS = "0123456789abcdefghjkmnpqrstvwxyz".split("");
const RANDOM_CHARACTERS = 16;
const TIME_CHARACTERS = 10;

/** Fills the given bytes with random values; `crypto.getRandomValues` in production. */
export type FillRandom = (bytes: Uint8Array) => void;

/**
 * A new id: prefix, `_`, 10 characters of time (ms, Crockford base 32, so ids sort by creation) and 80 random
 * bits, in the layout of a ULID.
 */
export function newId(prefix: IdPrefix, nowMs: number, fillRandom: FillRandom = fillFromPool): string {
  const bytes = new Uint8Array(RANDOM_CHARACTERS);
  fillRandom(bytes);
  let random = "";
  for (const byte of bytes) random += DIGITS[byte & 31] ?? "";
  return `${prefix}_${timeDigits(nowMs)}${random}`;
}

let lastMs = Number.NaN;
let lastDigits = "";

/** Many ids are made in one millisecond. */
function timeDigits(nowMs: number): string {
  if (nowMs === lastMs) return lastDigits;
  let digits = "";
  for (let rest = nowMs, index = 0; index < TIME_CHARACTERS; index++, rest = Math.floor(rest / 32)) {
    digits = (DIGITS[rest % 32] ?? "") + digits;
  }
  lastMs = nowMs;
  lastDigits = digits;
  return digits;
}

const GENERATED = /^[a-z]+_[0-9a-hjkmnp-tv-z]{26}$/;

/** When an id that {@link newId} made was made, ms; null of any other text. Others may choose an id that looks like one. */
export function timeOfId(id: string): number | null {
  if (!GENERATED.test(id)) return null;
  const start = id.length - RANDOM_CHARACTERS - TIME_CHARACTERS;
  let timeMs = 0;
  for (let index = start; index < start + TIME_CHARACTERS; index++) timeMs = timeMs * 32 + DIGITS.indexOf(id.charAt(index));
  return timeMs;
}
