import { isJsonMode, joinMessages, joinParts } from "./content.ts";
import type { Inherited, Missing, Overloaded, ReadResult, StreamInfo, Stretch } from "./contract.ts";
import type { ReadFrom } from "./offset.ts";
import { durableStreamStub } from "./stub.ts";

export type LogRead =
  | { readonly ok: true; readonly info: StreamInfo; readonly stretch: Stretch }
  | Missing
  | Overloaded
  | { readonly ok: false; readonly code: "beyond-head"; readonly tail: number }
  /** `earliest`: where what is left begins. */
  | { readonly ok: false; readonly code: "trimmed"; readonly earliest: number };

export type LogHead = { readonly ok: true; readonly info: StreamInfo } | Missing;

/** Whatever the protocol's reads work on. */
export interface ReadableLog {
  head(): Promise<LogHead>;
  /** A bounded stretch from there on; at the tail of what is still open, waits up to `waitMs` for more. */
  read(from: ReadFrom | Since, waitMs: number): Promise<LogRead>;
}

/** From the first message committed at this time or later. */
export type Since = { readonly sinceMs: number };

/** One answer: what a reader far behind makes the object and the Worker hold. */
export const MAX_READ_BYTES = 1024 * 1024;

/** A tenant's own stream, by the name of its object. What a fork inherits is read from where it is. */
export function openDurableStream(namespace: DurableObjectNamespace, name: string): ReadableLog {
  return {
    head: () => durableStreamStub(namespace, name).head(),
    async read(from, waitMs) {
      if (typeof from === "object") throw new Error("a stream of one's own has no times");
      const read = await durableStreamStub(namespace, name).read({ from, maxBytes: MAX_READ_BYTES, waitMs });
      return !read.ok || "stretch" in read ? read : readFork(namespace, name, read);
    },
  };
}

/** Puts together what a fork inherits and what is its own, up to the bound. */
async function readFork(namespace: DurableObjectNamespace, name: string, first: ReadResult & { readonly ok: true }): Promise<LogRead> {
  const parts: Uint8Array[] = [];
  let room = MAX_READ_BYTES;
  let read = first;
  let from: number | null = null;
  for (;;) {
    const stretch = "stretch" in read ? read.stretch : await readInherited(namespace, read.inherited, room);
    from ??= stretch.from;
    if (stretch.bytes.length > 0) parts.push(stretch.bytes);
    room -= stretch.bytes.length;
    if (room <= 0 || stretch.next === read.info.tail || stretch.next === stretch.from || "stretch" in read) {
      const bytes = isJsonMode(read.info.contentType) ? joinMessages(parts) : joinParts(parts, false);
      return { ok: true, info: read.info, stretch: { from, next: stretch.next, bytes } };
    }
    const more = await durableStreamStub(namespace, name).read({ from: stretch.next, maxBytes: room, waitMs: 0 });
    if (!more.ok) return more;
    read = more;
  }
}

/** From the first stream of the chain that holds it itself. */
async function readInherited(namespace: DurableObjectNamespace, inherited: Inherited, maxBytes: number): Promise<Stretch> {
  const { source, incarnation, from, to } = inherited;
  const range = await durableStreamStub(namespace, source).readRange(incarnation, from, to, maxBytes);
  if (!range.ok) throw new Error("the source of a fork is gone");
  return "stretch" in range ? range.stretch : readInherited(namespace, range.inherited, maxBytes);
}
