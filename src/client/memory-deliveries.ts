import { sleep } from "./backoff.ts";
import { encodeData } from "./content.ts";
import { type MemoryMessage, presentMessage } from "./memory-box.ts";
import type { MemoryDirectory, MemoryEndpoint, MemoryHandler } from "./memory-endpoints.ts";
import type { MemoryQueries } from "./memory-queries.ts";

/** Where a message goes; found anew at every attempt, for endpoints come and go. */
export type MemoryTarget =
  | { readonly kind: "endpoint"; readonly id: string }
  | { readonly kind: "queue"; readonly name: string }
  | { readonly kind: "node"; readonly name: string };

/** What was tried, or received, as often as it may be. `error` is what the handler threw last; undefined when none did. */
export type DeadLetter = { readonly target: MemoryTarget; readonly messageId: string; readonly error?: unknown };

type Outcome = { readonly ok: true } | { readonly ok: false; readonly error: unknown; readonly retrySchedule: readonly number[] };

const DONE: Outcome = { ok: true };

/** Hands messages to handlers, and to boxes where there is no handler; tries again what failed. */
export class MemoryDeliveries {
  readonly #directory: MemoryDirectory;
  readonly #queries: MemoryQueries;
  readonly #dead: (letter: DeadLetter) => void;
  readonly #underWay = new Set<Promise<void>>();
  /** Direct messages to nodes that nobody has. */
  readonly #heldByNode = new Map<string, MemoryMessage[]>();

  constructor(directory: MemoryDirectory, queries: MemoryQueries, dead: (letter: DeadLetter) => void) {
    this.#directory = directory;
    this.#queries = queries;
    this.#dead = dead;
  }

  send(message: MemoryMessage, target: MemoryTarget): void {
    // Never within the sender's own turn: a handler must not run before its message was accepted.
    const work = Promise.resolve()
      .then(() => this.#deliver(message, target))
      .finally(() => this.#underWay.delete(work));
    this.#underWay.add(work);
  }

  /** After an endpoint was made: what waited for one like it flows. */
  release(endpoint: MemoryEndpoint): void {
    if (endpoint.node !== null) {
      const name = endpoint.node;
      for (const message of this.#heldByNode.get(name) ?? []) this.send(message, { kind: "node", name });
      this.#heldByNode.delete(name);
    }
    const queue = endpoint.queue === null ? undefined : this.#directory.queues.get(endpoint.queue);
    if (queue === undefined || endpoint.handler === null) return;
    for (const message of queue.box.drain(Date.now())) this.send(message, { kind: "queue", name: queue.name });
  }

  async idle(): Promise<void> {
    while (this.#underWay.size > 0) await Promise.all(this.#underWay);
  }

  async #deliver(message: MemoryMessage, target: MemoryTarget): Promise<void> {
    for (let attempt = 0; ; attempt++) {
      const outcome = await this.#attempt(message, target);
      if (outcome.ok) return;
      const delaySeconds = outcome.retrySchedule[attempt];
      if (delaySeconds === undefined) return this.#dead({ target, messageId: message.id, error: outcome.error });
      await sleep(delaySeconds * 1000);
    }
  }

  async #attempt(message: MemoryMessage, target: MemoryTarget): Promise<Outcome> {
    switch (target.kind) {
      case "endpoint": {
        const endpoint = this.#directory.endpoints.get(target.id);
        return endpoint === undefined ? DONE : this.#handTo(endpoint, message, null);
      }
      case "node": {
        const endpoint = this.#directory.atNode(target.name);
        if (endpoint !== null) return this.#handTo(endpoint, message, null);
        this.#heldByNode.set(target.name, [...(this.#heldByNode.get(target.name) ?? []), message]);
        return DONE;
      }
      case "queue": {
        const queue = this.#directory.queues.get(target.name);
        if (queue === undefined) return DONE;
        const member = this.#directory.nextMember(queue);
        if (member !== null) return this.#handTo(member, message, queue.name);
        queue.box.put(message);
        return DONE;
      }
    }
  }

  async #handTo(endpoint: MemoryEndpoint, message: MemoryMessage, queue: string | null): Promise<Outcome> {
    const { handler, box, retrySchedule } = endpoint;
    if (message.answerByMs !== null && !this.#queries.isWaiting(message.id)) return DONE;
    if (handler === null) {
      box.put(message);
      return DONE;
    }
    return this.#push(handler, message, { queue, retrySchedule });
  }

  async #push(
    handler: MemoryHandler,
    message: MemoryMessage,
    { queue, retrySchedule }: { readonly queue: string | null; readonly retrySchedule: readonly number[] },
  ): Promise<Outcome> {
    try {
      const returned = await handler(presentMessage(message, 1, queue));
      // an answer that came too late is dropped, as the gateway drops it
      if (this.#queries.isWaiting(message.id)) this.#queries.answer(message.id, encodeData(returned ?? new Uint8Array()), true);
      return DONE;
    } catch (error) {
      return { ok: false, error, retrySchedule };
    }
  }
}
