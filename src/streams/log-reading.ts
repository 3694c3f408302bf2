import type { ReadFrom } from "./protocol/offset.ts";

export type LogReadRequest = {
  /** `sinceMs`: the first message committed at this time or later. */
  readonly from: ReadFrom | { readonly sinceMs: number };
  readonly maxBytes: number;
  readonly waitMs: number;
};

/** A segment as it is stored: parsed by whoever asked, so that it costs the object nothing. */
export type StoredSegment = {
  readonly firstOffset: number;
  readonly timeMs: number;
  readonly messages: string;
  readonly bodies: Uint8Array;
};

export type LogReadResult =
  /** The segments that hold `from` and what follows; the first may begin before it. */
  | { readonly ok: true; readonly from: number; readonly tail: number; readonly segments: readonly StoredSegment[] }
  | { readonly ok: false; readonly code: "beyond-head"; readonly tail: number }
  | { readonly ok: false; readonly code: "trimmed"; readonly earliest: number }
  | { readonly ok: false; readonly code: "overloaded"; readonly retryAfterSeconds: number };
