import type { Missing, Overloaded, StreamInfo, Stretch } from "./contract.ts";
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
      if (!read.ok || "stretch" in read) return read;
      let { inherited } = read;
      for (;;) {
        const { source, incarnation, from: start, to } = inherited;
        const range = await durableStreamStub(namespace, source).readRange(incarnation, start, to, MAX_READ_BYTES);
        if (!range.ok) throw new Error("the source of a fork is gone");
        if ("stretch" in range) return { ok: true, info: read.info, stretch: range.stretch };
        inherited = range.inherited;
      }
    },
  };
}
