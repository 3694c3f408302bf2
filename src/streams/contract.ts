import type { DeliveryRef, DeliveryResult } from "../delivery/outcome.ts";
import type { NewMessage, StoredMessage } from "../messages/message.ts";
import type { LogReadRequest, LogReadResult } from "./log-reading.ts";

/** The attribute that makes lanes, by the id of an ordered endpoint; those with one lane are not in it. */
export type OrderingKeys = Readonly<Record<string, string>>;

/** A message with the endpoints it goes to, resolved by the publisher's request. */
export type Append = {
  readonly message: NewMessage;
  readonly endpointIds: readonly string[];
  /** Further endpoints, that want their messages in the order of the stream and one at a time. */
  readonly orderedIds?: readonly string[];
  /** By endpoint, of those that want them so for each value of an attribute: its name. */
  readonly orderingKeys?: OrderingKeys;
  /** De-duplicates in place of a chosen id, for what is handed on from another stream. */
  readonly deduplicationKey?: string;
};

/** What the publisher is told; `duplicate` when the id was seen in the last 24 h and nothing was added. */
export type Appended = {
  readonly id: string;
  readonly offset: number;
  readonly timeMs: number;
  readonly matched: number;
  readonly duplicate: boolean;
};

export type AppendResult =
  | { readonly ok: true; readonly appended: readonly Appended[] }
  | { readonly ok: false; readonly code: "overloaded"; readonly retryAfterSeconds: number };

/** One delivery handed out for an attempt. `attemptNumber` counts from 1; `reopenedAtMs` tells apart its openings after the first. */
export type Claim = DeliveryRef & { readonly attemptNumber: number; readonly reopenedAtMs?: number };

/** A message with the deliveries of it that are to be attempted now. */
export type Work = { readonly message: StoredMessage; readonly claims: readonly Claim[] };

/** A committed group on its way to the deliverer; `uncached`: its endpoints are read anew, for it has waited. */
export type DeliveryGroup = { readonly stream: string; readonly work: readonly Work[]; readonly uncached?: true };

/** A message of the queue `deliveries`: a reference, never a payload. */
export type DeliveryJob = { readonly v: 1; readonly stream: string; readonly refs: readonly DeliveryRef[] };

export type Content =
  | { readonly ok: true; readonly contentType: string; readonly body: Uint8Array }
  | { readonly ok: false; readonly code: "not-found" | "expunged" };

/** Which stretch of a log is to be delivered to an endpoint again. */
export type ReplayRequest = {
  /** Null only counts. */
  readonly jobId: string | null;
  readonly endpointId: string;
  /** Offset or time of its first message; null for the earliest there is. */
  readonly from: { readonly offset: number } | { readonly timeMs: number } | null;
  /** Messages committed before this time; null for all there are now. */
  readonly untilMs: number | null;
  /** Of an endpoint that wants its messages in order. */
  readonly ordered?: { /** The attribute that makes lanes; null: there is one. */ readonly orderingKey: string | null };
};

export type ReplayStarted =
  /** `untilOffset` is not part of it. */
  | { readonly ok: true; readonly count: number; readonly fromOffset: number; readonly untilOffset: number }
  | { readonly ok: false; readonly code: "beyond-head"; readonly nextOffset: number }
  | { readonly ok: false; readonly code: "trimmed"; readonly earliestOffset: number }
  | { readonly ok: false; readonly code: "too-many" };

/** How long, and how much of, a stream is kept: the oldest goes first. `maxBytes` null: whatever it is. */
export type RetentionSettings = { readonly retentionSeconds: number; readonly maxBytes: number | null };

/** What a log holds now. `earliestOffset` equals `nextOffset` when it is empty. */
export type LogDescription = {
  readonly earliestOffset: number;
  readonly nextOffset: number;
  /** ms; null when it is empty. */
  readonly earliestTimeMs: number | null;
  /** Bodies and metadata. */
  readonly bytes: number;
};

/**
 * The RPC face of the `Stream` Durable Object. Every call names the stream (`tenant/kind/name`), for the object
 * can not read its own name after a restart. Errors other than those listed are faults (retryable).
 */
export interface StreamApi {
  /** Answers when an object can be reached and started at all. */
  ping(): "pong" | Promise<"pong">;
  /** Commits the messages as one; answers once they are on disk. */
  append(stream: string, appends: readonly Append[]): Promise<AppendResult>;
  /** The messages of those refs that are still open and not being attempted by someone else. */
  claim(stream: string, refs: readonly DeliveryRef[]): Promise<readonly Work[]>;
  /** Applies results, durably before it answers. A result of a delivery that is closed already is ignored. */
  settle(stream: string, results: readonly DeliveryResult[]): Promise<void>;
  /** Opens deliveries again (resend, replay of dead letters): counts those opened. */
  reopen(stream: string, refs: readonly DeliveryRef[]): Promise<number>;
  /** Lets the held deliveries of a resumed endpoint flow; a deleted one's are cancelled on their next attempt. */
  release(stream: string, endpointId: string): Promise<number>;
  content(stream: string, offset: number): Promise<Content>;
  /** Removes the bytes of a message for good and cancels its open deliveries; false when there is no such message. */
  expunge(stream: string, offset: number): Promise<boolean>;
  /** Cancels every open delivery; how many. */
  purge(stream: string): Promise<number>;
  /** How much waits here, and since when (ms; null when nothing does). */
  backlog(stream: string): Promise<{ readonly open: number; readonly oldestTimeMs: number | null }>;
  /** Writes what history has not seen yet, now. */
  flushHistory(stream: string): Promise<void>;
  /** Counts a stretch and, unless it only counts, begins to deliver it in portions; its job is shown in D1. */
  replay(stream: string, request: ReplayRequest): Promise<ReplayStarted>;
  /** Ends a replay: what it has opened goes on. One that ended already, or never was, stays as it is. */
  stopReplay(stream: string, jobId: string): Promise<void>;
  /** Removes the stream with everything in it. The object is as one that never was; what is under way ends nowhere. */
  destroy(stream: string): Promise<void>;
  /** Sees to it that what is open has an alarm to watch over it. */
  wake(stream: string): Promise<void>;
  describe(stream: string): Promise<LogDescription>;
  /** A bounded stretch of the log; at its end waits for more, where asked to. */
  readLog(stream: string, request: LogReadRequest): Promise<LogReadResult>;
  /** From now on the log is kept this long; null for the default. */
  retain(stream: string, settings: RetentionSettings | null): Promise<void>;
}
