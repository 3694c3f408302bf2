import type { FillRandom } from "../ids.ts";

/**
 * W3C Trace Context: the `traceparent` header, `version-trace id-parent id-flags` in lower-case hex.
 * https://www.w3.org/TR/trace-context/#traceparent-header
 */
const TRACEPARENT = /^([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?$/;
const TRACE_ID_BYTES = 16;
const SPAN_ID_BYTES = 8;
/** Where the span id begins in version 00: after `00-`, the trace id in hex and a hyphen. */
const SPAN_ID_AT = 3 + 2 * TRACE_ID_BYTES + 1;
/** `sampled` and `random-trace-id`: the flags that are defined; others must not be passed on. */
const KNOWN_FLAGS = 0x03;
const SAMPLED = "01";
const HEX = Array.from({ length: 256 }, (_, byte) => byte.toString(16).padStart(2, "0"));

/** The header in its version 00 form; null when it is absent or breaks the grammar, and a new trace must start. */
export function parseTraceparent(header: string | null): string | null {
  const match = header === null ? null : TRACEPARENT.exec(header.trim());
  if (match === null) return null;
  const [, version, traceId = "", spanId = "", flags = "", rest] = match;
  if (version === "ff" || (version === "00" && rest !== undefined)) return null;
  if (/^0+$/.test(traceId) || /^0+$/.test(spanId)) return null;
  const known = Number.parseInt(flags, 16) & KNOWN_FLAGS;
  return `00-${traceId}-${spanId}-${known.toString(16).padStart(2, "0")}`;
}

/** A new, sampled trace. */
export function newTraceparent(fillRandom: FillRandom): string {
  return `00-${randomId(TRACE_ID_BYTES, fillRandom)}-${randomId(SPAN_ID_BYTES, fillRandom)}-${SAMPLED}`;
}

/** The same trace with a new span; a new trace when the parent is not a valid `traceparent` (§3.3.1 of the standard). */
export function childTraceparent(parent: string, fillRandom: FillRandom): string {
  const valid = parseTraceparent(parent);
  if (valid === null) return newTraceparent(fillRandom);
  return valid.slice(0, SPAN_ID_AT) + randomId(SPAN_ID_BYTES, fillRandom) + valid.slice(SPAN_ID_AT + 2 * SPAN_ID_BYTES);
}

function randomId(byteCount: number, fillRandom: FillRandom): string {
  const bytes = new Uint8Array(byteCount);
  fillRandom(bytes);
  // an id of zeros only means "invalid"
  if (bytes.every((byte) => byte === 0)) bytes[byteCount - 1] = 1;
  let hex = "";
  for (const byte of bytes) hex += HEX[byte] ?? "";
  return hex;
}
