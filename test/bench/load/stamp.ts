/**
 * How a message is told apart at the receiver: its body begins with `{"id":"`, four characters of the run and
 * twelve digits, the number of the message in its run. Whatever carries the bytes unchanged carries that.
 */
export const STAMP_OFFSET = 7;
export const TAG_LENGTH = 4;
const DIGITS = 12;

const PREFIX = '{"id":"';
const MIDDLE = '","text":"';
const SUFFIX = '"}';
const MIN_BODY_BYTES = PREFIX.length + TAG_LENGTH + DIGITS + MIDDLE.length + SUFFIX.length;

/** The JSON body of message `index`, of exactly `bytes` bytes. */
export function stampedBody(tag: string, index: number, bytes: number): Buffer {
  if (bytes < MIN_BODY_BYTES) throw new Error(`a body has at least ${MIN_BODY_BYTES} bytes`);
  const filler = "postern bench ".repeat(Math.ceil(bytes / 14)).slice(0, bytes - MIN_BODY_BYTES);
  return Buffer.from(`${PREFIX}${tag}${String(index).padStart(DIGITS, "0")}${MIDDLE}${filler}${SUFFIX}`, "latin1");
}

/** Writes another index into a body that {@link stampedBody} made and that starts at `bodyStart`. */
export function restamp(buffer: Buffer, bodyStart: number, index: number): void {
  let rest = index;
  for (let at = bodyStart + STAMP_OFFSET + TAG_LENGTH + DIGITS - 1; at >= bodyStart + STAMP_OFFSET + TAG_LENGTH; at -= 1) {
    buffer[at] = 0x30 + (rest % 10);
    rest = Math.floor(rest / 10);
  }
}

/** The run and the index a body is stamped with; null when it is none of ours. */
export function readStamp(body: Buffer): { readonly tag: string; readonly index: number } | null {
  const stampEnd = STAMP_OFFSET + TAG_LENGTH + DIGITS;
  if (body.length < stampEnd) return null;
  const index = Number(body.toString("latin1", STAMP_OFFSET + TAG_LENGTH, stampEnd));
  return Number.isInteger(index) ? { tag: body.toString("latin1", STAMP_OFFSET, STAMP_OFFSET + TAG_LENGTH), index } : null;
}
