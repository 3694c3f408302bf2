import { toBase64 } from "../../crypto/base64.ts";

/** The control event after every data event (§5.8). */
export type Control = {
  readonly streamNextOffset: string;
  readonly streamCursor?: string;
  readonly upToDate?: true;
  readonly streamClosed?: true;
};

const SEQUENCE_LENGTHS = [
  { mask: 0b1110_0000, lead: 0b1100_0000, length: 2 },
  { mask: 0b1111_0000, lead: 0b1110_0000, length: 3 },
  { mask: 0b1111_1000, lead: 0b1111_0000, length: 4 },
] as const;

// A byte order mark is content.
const lenientUtf8 = new TextDecoder("utf-8", { fatal: false, ignoreBOM: true });

export function dataEvent(bytes: Uint8Array, isText: boolean): string {
  return frame("data", isText ? lenientUtf8.decode(bytes) : toBase64(bytes));
}

export function controlEvent(control: Control): string {
  return frame("control", JSON.stringify(control));
}

/**
 * Every line of the payload is a `data` field, however it ends (CRLF, CR or LF all end one), so that nothing in it is
 * taken for a field of its own. A reader removes one space after the colon: one that is content gets another.
 */
function frame(event: string, payload: string): string {
  const lines = payload.split(/\r\n|\r|\n/).map((line) => (line.startsWith(" ") ? `data: ${line}` : `data:${line}`));
  return `event: ${event}\n${lines.join("\n")}\n\n`;
}

/** How many bytes from the beginning end with a whole character: the start of one at the end is left out. */
export function wholeCharacters(bytes: Uint8Array): number {
  for (let back = 1; back <= 3 && back <= bytes.length; back++) {
    const byte = bytes[bytes.length - back] ?? 0;
    if ((byte & 0b1100_0000) === 0b1000_0000) continue; // in the middle of one
    const sequence = SEQUENCE_LENGTHS.find(({ mask, lead }) => (byte & mask) === lead);
    return sequence !== undefined && sequence.length > back ? bytes.length - back : bytes.length;
  }
  return bytes.length;
}
