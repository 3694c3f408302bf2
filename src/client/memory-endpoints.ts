import { matchesTopic, parsePattern, type TopicPattern } from "../messages/topic.ts";
import { checkTarget } from "./checks.ts";
import type { Message } from "./consume.ts";
import type { Data } from "./content.ts";
import { problem } from "./errors.ts";
import type { MemoryBox } from "./memory-box.ts";

/** A push endpoint in this process: what it returns for a query is the answer; a throw is a failed attempt. */
export type MemoryHandler = (message: Message) => Data | undefined | void | Promise<Data | undefined | void>;

export type MemoryEndpointOptions = {
  /** Topic patterns: `orders.created`, `orders.*`, `orders.**`, `**`. With a queue, what the queue gets. */
  readonly topics?: readonly string[];
  /** A member of this queue, which is made where there is none. */
  readonly queue?: string;
  /** The address of direct messages. */
  readonly node?: string;
  /** Absent: a pull endpoint. */
  readonly handler?: MemoryHandler;
  /** Seconds between attempts of the handler; default three more, at once. */
  readonly retrySchedule?: readonly number[];
};

export type MemoryEndpoint = {
  readonly id: string;
  readonly queue: string | null;
  readonly node: string | null;
  /** Its own subscriptions; those of a queue's member are bindings of the queue. */
  readonly patterns: readonly TopicPattern[];
  readonly handler: MemoryHandler | null;
  readonly retrySchedule: readonly number[];
  readonly box: MemoryBox;
};

export type MemoryQueue = {
  readonly name: string;
  patterns: readonly TopicPattern[];
  members: readonly MemoryEndpoint[];
  readonly box: MemoryBox;
  /** Whose turn it is. */
  turn: number;
};

/** The patterns, parsed; an invalid one is the problem that the gateway has for it. */
export function parsePatterns(topics: readonly string[]): readonly TopicPattern[] {
  return topics.map((text, index) => {
    const parsed = parsePattern(text);
    if (parsed.ok) return parsed.pattern;
    throw problem("malformed-target", "Mend the listed fields and send the request again.", [
      { pointer: `/topics/${index}`, detail: parsed.detail },
    ]);
  });
}

export function matchesAny(patterns: readonly TopicPattern[], topic: string): boolean {
  return patterns.some((pattern) => matchesTopic(pattern, topic));
}

/** Who is there: endpoints by id, queues and nodes by name. */
export class MemoryDirectory {
  readonly endpoints = new Map<string, MemoryEndpoint>();
  readonly queues = new Map<string, MemoryQueue>();

  requireQueue(name: string): MemoryQueue {
    const queue = this.queues.get(checkTarget(name));
    if (queue !== undefined) return queue;
    throw problem("unknown-queue", "There is no queue of this name: create it first.");
  }

  requirePullBox(endpointId: string): MemoryBox {
    const endpoint = this.endpoints.get(endpointId);
    if (endpoint === undefined) throw problem("not-found", "There is no endpoint with this id.");
    if (endpoint.handler !== null) throw problem("conflict", "This endpoint has a handler, and so no mailbox.");
    return endpoint.box;
  }

  atNode(node: string): MemoryEndpoint | null {
    return [...this.endpoints.values()].find((endpoint) => endpoint.node === node) ?? null;
  }

  remove(endpointId: string): void {
    const endpoint = this.endpoints.get(endpointId);
    if (endpoint === undefined) throw problem("not-found", "There is no endpoint with this id.");
    this.endpoints.delete(endpointId);
    for (const queue of this.queues.values()) queue.members = queue.members.filter((member) => member !== endpoint);
  }

  /** The next push member of the queue; null when it has none. */
  nextMember(queue: MemoryQueue): MemoryEndpoint | null {
    const pushing = queue.members.filter(({ handler }) => handler !== null);
    return pushing[queue.turn++ % pushing.length] ?? null;
  }
}
