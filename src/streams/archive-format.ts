/** How segments lie in an object of the bucket, and what their rows hold in place of them. */

export type RunRow = { first_offset: number; messages: string; bodies: ArrayBuffer };
export type ArchivedRow = RunRow & { time: number };

/** Where a segment is: its messages, and right after them its bodies. */
export type Position = { readonly position: number; readonly messagesBytes: number; readonly bodiesBytes: number };
/** `archiveOffset`: the first offset of the object, which is part of its key. */
export type Pointer = Position & { readonly id: string; readonly archiveOffset: number };

const MARK = "@";
const DIGITS = 16;

/** The key of an object: those of a tenant, and of a stream, begin alike. */
export function archiveKey(stream: string, { id, first_offset }: { readonly id: string; readonly first_offset: number }): string {
  return `${stream}/${String(first_offset).padStart(DIGITS, "0")}-${id}`;
}

/** Whether the `messages` of a row, which are JSON else, are a pointer. */
export function isArchived(messages: string): boolean {
  return messages.startsWith(MARK);
}

export function formatPointer({ id, archiveOffset, position, messagesBytes, bodiesBytes }: Pointer): string {
  return `${MARK}${id} ${archiveOffset} ${position} ${messagesBytes} ${bodiesBytes}`;
}

/** Only what {@link formatPointer} wrote is ever parsed. */
export function parsePointer(text: string): Pointer {
  const [id = "", ...numbers] = text.slice(MARK.length).split(" ");
  const [archiveOffset = Number.NaN, position = Number.NaN, messagesBytes = Number.NaN, bodiesBytes = Number.NaN] = numbers.map(Number);
  if (!isArchived(text) || Number.isNaN(bodiesBytes)) throw new Error("not a pointer into the archive");
  return { id, archiveOffset, position, messagesBytes, bodiesBytes };
}

/** What reading the row would bring, in bytes. */
export function sizeOf({ messages, bodies }: Pick<RunRow, "messages" | "bodies">): number {
  if (!isArchived(messages)) return messages.length + bodies.byteLength;
  const { messagesBytes, bodiesBytes } = parsePointer(messages);
  return messagesBytes + bodiesBytes;
}

/** Segments as one object. */
export function packSegments(rows: readonly RunRow[]): { readonly bytes: Uint8Array; readonly positions: readonly (Position & { readonly firstOffset: number })[] } {
  const encoder = new TextEncoder();
  const texts = rows.map(({ messages }) => encoder.encode(messages));
  const bytes = new Uint8Array(rows.reduce((sum, { bodies }, index) => sum + (texts[index]?.length ?? 0) + bodies.byteLength, 0));
  let position = 0;
  const positions = rows.map(({ first_offset: firstOffset, bodies }, index) => {
    const text = texts[index] ?? new Uint8Array();
    const placed = { firstOffset, position, messagesBytes: text.length, bodiesBytes: bodies.byteLength };
    bytes.set(text, position);
    bytes.set(new Uint8Array(bodies), position + text.length);
    position += text.length + bodies.byteLength;
    return placed;
  });
  return { bytes, positions };
}

/** One segment of an object, or of a stretch of it. Throws when it is not all there. */
export function readArchived(bytes: Uint8Array, { position, messagesBytes, bodiesBytes }: Position): { readonly messages: string; readonly bodies: ArrayBuffer } {
  const bodiesAt = position + messagesBytes;
  if (bodiesAt + bodiesBytes > bytes.length) throw new Error("an object of the archive is shorter than it was");
  const messages = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes.subarray(position, bodiesAt));
  const bodies = bytes.slice(bodiesAt, bodiesAt + bodiesBytes);
  return { messages, bodies: bodies.buffer };
}
