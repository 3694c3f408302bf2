import type { Content, Data } from "./content.ts";

/** Whose messages: a pull endpoint's (or a push endpoint's fallback), or those of one queue or several. */
export type ConsumeSource =
  | { readonly endpoint: string }
  | { readonly queue: string }
  | { readonly queues: readonly string[] };

/** A message as it was pulled. */
export type Message = Content & {
  readonly id: string;
  /** The topic; `queue/method` of a command or query; the node of a direct message. */
  readonly topic: string;
  readonly offset: number;
  /** When its stream committed it: RFC 3339, UTC. */
  readonly time: string;
  /** How often it was received, this time included. */
  readonly receiveCount: number;
  readonly attributes: Readonly<Record<string, string>>;
  /** Its CloudEvents context, empty where it has none. */
  readonly event: Readonly<Record<string, string>>;
  /** Of a query: until when its caller waits for the reply, RFC 3339; null for everything else. */
  readonly answerBy: string | null;
  /** Where queues are consumed: the one it came from; else null. */
  readonly queue: string | null;
};

/** What became of a receipt; a stale one (its visibility time is over, or it was settled) changes nothing. */
export type Settled = { readonly ok: true } | { readonly ok: false; readonly error: string };

/** A message with what can be done about it. What is not acknowledged comes again after its visibility time. */
export type Delivery = {
  readonly message: Message;
  /** Done: it does not come again. */
  readonly ack: () => Promise<Settled>;
  /** Not done: it comes again after the delay, 0 unless told otherwise. */
  readonly nack: (delaySeconds?: number) => Promise<Settled>;
  /** More time, counted from now; the consumer's `visibilitySeconds` unless told otherwise. */
  readonly extend: (visibilitySeconds?: number) => Promise<Settled>;
  /**
   * The answer to a query. Throws a PosternProblem when nobody waits for it any more, when it was answered before,
   * or when it was no query. It does not acknowledge the message.
   */
  readonly reply: (data: Data, options?: { readonly contentType?: string }) => Promise<void>;
};

/** What went wrong while consuming and was dealt with; no message is lost by any of these. */
export type ConsumeFault =
  /** Messages could not be received; asked again after `retryInSeconds`. */
  | { readonly kind: "receive"; readonly error: unknown; readonly retryInSeconds: number }
  /** The handler threw; the message comes again after `retryInSeconds`. */
  | { readonly kind: "handler"; readonly error: unknown; readonly message: Message; readonly retryInSeconds: number }
  /** What the handler returned for a query was refused: it came too late, or the query has its answer already. */
  | { readonly kind: "reply"; readonly error: unknown; readonly message: Message }
  /** The message could not be acknowledged, nacked or extended, so it may come again. */
  | { readonly kind: "settle"; readonly error: unknown; readonly message: Message };

export type ConsumeOptions = {
  /** Handlers of `run` at a time, default 1. */
  readonly concurrency?: number;
  /** Messages a call, 1 to 10, default 10. */
  readonly max?: number;
  /** How long a call waits for a first message, 0 to 20, default 20. */
  readonly waitSeconds?: number;
  /** How long a received message stays away from others, 0 to 43200, default 30. */
  readonly visibilitySeconds?: number;
  /** How long a message whose handler threw stays away. Absent: up to 2^receiveCount s, with jitter, at most 15 min. */
  readonly retryDelaySeconds?: (message: Message, error: unknown) => number;
  /** Told of what went wrong and was dealt with; what it throws is the consumer's end. */
  readonly onFault?: (fault: ConsumeFault) => void;
  /** Stops the consumer, as `stop()` does. */
  readonly signal?: AbortSignal;
};

/** For a query, what it returns (or resolves to) is the answer, unless undefined; for any other message it is ignored. */
export type Handler = (delivery: Delivery) => unknown;

/**
 * Messages one by one, or through a handler. Iterate or run it once.
 *
 * Iterating: what was not settled comes again after its visibility time; leaving the loop gives back at once what was
 * fetched and not yet yielded. What is refused for good (no such queue, no scope) is thrown; faults that pass are not.
 */
export interface Consumer extends AsyncIterable<Delivery> {
  /**
   * Runs the handler for each message: acknowledges when it returns, nacks with a growing delay when it throws, and
   * extends the visibility time while it works. A message the handler settled itself is left at that. Resolves after
   * `stop()`, once every handler has ended and every acknowledgement is through.
   */
  run(handler: Handler): Promise<void>;
  /** Receives no more. Handlers that work go on; what was fetched and not started is given back at once. */
  stop(): void;
}
