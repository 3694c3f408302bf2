import type { Consumer, ConsumeOptions, ConsumeSource } from "./consume.ts";
import type { Content, Data } from "./content.ts";

/** Where an accepted message is. */
export type Published = {
  /** Goes out as `webhook-id`. */
  readonly id: string;
  readonly topic: string;
  /** Its place in its stream, from 0. */
  readonly offset: number;
  /** RFC 3339, UTC. */
  readonly time: string;
  /** Endpoints and queues it is delivered to. */
  readonly matched: number;
};

export type SendOptions = {
  /** Absent: `text/plain` for a string, `application/octet-stream` for bytes, else `application/json`. */
  readonly contentType?: string;
  /** Names are case-insensitive: a-z, 0-9, `_`, `.` and `-`. */
  readonly attributes?: Readonly<Record<string, string>>;
  /** The gateway answers a repeat of the request with what it answered the first time, for 24 h. */
  readonly idempotencyKey?: string;
  /** Gives up, and throws the signal's reason. */
  readonly signal?: AbortSignal;
};

export type PublishOptions = SendOptions & {
  /** De-duplicates on its topic, `queue/method` or node for 24 h. Absent: one is made, so that retries never send twice. */
  readonly id?: string;
};

export type QueryOptions = SendOptions & {
  /** 1 to 60, default 15. */
  readonly timeoutSeconds?: number;
};

/** One message of a batch: to a topic, to one member of a queue (`queue/method`), or to a node. */
export type BatchEntry = (
  | { readonly topic: string }
  | { readonly command: string }
  | { readonly node: string }
) & {
  readonly data: Data;
  readonly contentType?: string;
  readonly attributes?: Readonly<Record<string, string>>;
  readonly id?: string;
};

export type BatchOptions = Pick<SendOptions, "idempotencyKey" | "signal">;

/**
 * The four ways to send and the one to receive, on a gateway (`createClient`) and in memory (`createMemoryBus`).
 * Every call throws a PosternProblem for what the gateway refuses and a PosternConnectionError when it does not answer.
 */
export interface Bus {
  /** An event: to every subscription that matches the topic. */
  publish(topic: string, data: Data, options?: PublishOptions): Promise<Published>;
  /** Up to 500 messages and 5 MiB, accepted as one or not at all; results in the same order. */
  batch(entries: readonly BatchEntry[], options?: BatchOptions): Promise<readonly Published[]>;
  /** A command: to exactly one member of the queue. `target` is `queue/method`. */
  command(target: string, data: Data, options?: PublishOptions): Promise<Published>;
  /** A query: to exactly one member of the queue, whose answer this returns. Silence is the problem `query-timeout`. */
  query(target: string, data: Data, options?: QueryOptions): Promise<Content>;
  /** To the endpoint that has this node name, or will have it. */
  direct(node: string, data: Data, options?: PublishOptions): Promise<Published>;
  /** Pulls messages; nothing is asked for before the consumer is iterated over or run. */
  consume(source: ConsumeSource, options?: ConsumeOptions): Consumer;
}
