import type { Presence } from "../subscriptions/contract.ts";
import type { Payload } from "./content.ts";
import type { ReadFrom } from "./offset.ts";

/** One request of an idempotent producer (§5.2.1). */
export type ProducerRequest = { readonly id: string; readonly epoch: number; readonly seq: number };

/** What a stream says about itself. Positions count bytes, or messages in JSON mode. */
export type StreamInfo = {
  /** Differs for every stream that ever was at its path. */
  readonly incarnation: string;
  readonly contentType: string;
  readonly closed: boolean;
  readonly tail: number;
  readonly ttlSeconds: number | null;
  /** As it was given, RFC 3339. */
  readonly expiresAt: string | null;
};

/** Where a fork begins in its source: `position` absent means the source's tail. */
export type ForkRequest = {
  /** Name of the source's object. */
  readonly source: string;
  readonly position: number | null;
  /** Positions beyond it that are inherited as well. */
  readonly subOffset: number;
};

export type CreateRequest = {
  /** Of the object itself, which can not find it out. */
  readonly name: string;
  /** Null: that of the source for a fork, else the default. */
  readonly contentType: string | null;
  readonly payload: Payload | null;
  readonly closed: boolean;
  readonly ttlSeconds: number | null;
  readonly expiresAt: string | null;
  readonly fork: ForkRequest | null;
};

export type CreateResult =
  | { readonly ok: true; readonly created: boolean; readonly info: StreamInfo }
  | { readonly ok: false; readonly code: "conflict" | "deleted" | ForkRefusal };

export type ForkRefusal = "source-not-found" | "source-deleted" | "source-type" | "fork-offset";

export type AppendRequest = {
  /** Null only when there is no payload. */
  readonly contentType: string | null;
  /** Null: close only. */
  readonly payload: Payload | null;
  readonly seq: string | null;
  readonly producer: ProducerRequest | null;
  readonly close: boolean;
};

export type Missing = { readonly ok: false; readonly code: "not-found" | "deleted" };
export type Overloaded = { readonly ok: false; readonly code: "overloaded"; readonly retryAfterSeconds: number };

export type AppendResult =
  /** `acceptedSeq`: the highest of the producer's epoch, null without a producer. */
  | { readonly ok: true; readonly duplicate: boolean; readonly tail: number; readonly closed: boolean; readonly acceptedSeq: number | null }
  | Missing
  | Overloaded
  | { readonly ok: false; readonly code: "closed"; readonly tail: number }
  | { readonly ok: false; readonly code: "content-type"; readonly expected: string }
  | { readonly ok: false; readonly code: "sequence"; readonly last: string }
  | { readonly ok: false; readonly code: "stale-epoch"; readonly epoch: number }
  | { readonly ok: false; readonly code: "epoch-start" }
  | { readonly ok: false; readonly code: "producer-gap"; readonly expected: number; readonly received: number };

export type ReadRequest = { readonly from: ReadFrom; readonly maxBytes: number; readonly waitMs: number };

/** Bytes from `from` up to `next`, comma-joined in JSON mode; nothing when the two are equal. */
export type Stretch = { readonly from: number; readonly next: number; readonly bytes: Uint8Array };

/** A stretch of a fork that is its source's: to be read there, up to `to`. */
export type Inherited = { readonly source: string; readonly incarnation: string; readonly from: number; readonly to: number };

export type ReadResult =
  | { readonly ok: true; readonly info: StreamInfo; readonly stretch: Stretch }
  | { readonly ok: true; readonly info: StreamInfo; readonly inherited: Inherited }
  | Missing
  | Overloaded
  | { readonly ok: false; readonly code: "beyond-head"; readonly tail: number };

export type RangeResult =
  | { readonly ok: true; readonly stretch: Stretch }
  | { readonly ok: true; readonly inherited: Inherited }
  | { readonly ok: false; readonly code: "not-found" };

export type AddForkRequest = {
  readonly forkId: string;
  readonly position: number | null;
  readonly subOffset: number;
  readonly contentType: string | null;
};

export type AddForkResult =
  | { readonly ok: true; readonly position: number; readonly info: StreamInfo }
  | { readonly ok: false; readonly code: ForkRefusal };

/** The RPC face of the `DurableStream` object. Errors other than those listed are faults (retryable). */
export interface DurableStreamApi {
  create(request: CreateRequest): Promise<CreateResult>;
  /** Answers once it is on disk; concurrent appends share a commit. */
  append(request: AppendRequest): Promise<AppendResult>;
  head(): Promise<{ readonly ok: true; readonly info: StreamInfo } | Missing>;
  /** At most `maxBytes` (but at least one position); at the tail of an open stream waits up to `waitMs` for more. */
  read(request: ReadRequest): Promise<ReadResult>;
  remove(): Promise<{ readonly ok: true } | Missing>;
  /** Takes a reference for a fork: the data stays as long as it is there. */
  addFork(request: AddForkRequest): Promise<AddForkResult>;
  removeFork(forkId: string): Promise<void>;
  /** Removes the stream whatever reads from it, for all of its tenant's go. Throws while it can not give back a fork's reference. */
  destroy(): Promise<void>;
  /** From now on the subscription is told of every change; how the stream is now. There need not be one yet. */
  tellFromNowOn(stream: string, subscriptionId: string): Promise<Presence>;
  /** For forks: reads also what is deleted but still referred to. */
  readRange(incarnation: string, from: number, to: number, maxBytes: number): Promise<RangeResult>;
}
