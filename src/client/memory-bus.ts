import { newId } from "../ids.ts";
import type { Bus, QueryOptions } from "./bus.ts";
import type { ConsumeSource } from "./consume.ts";
import { createConsumer } from "./consumer.ts";
import type { Content, Data } from "./content.ts";
import { problem } from "./errors.ts";
import { Bell, MemoryBox } from "./memory-box.ts";
import { type DeadLetter, MemoryDeliveries, type MemoryTarget } from "./memory-deliveries.ts";
import { MemoryDirectory, type MemoryEndpointOptions, type MemoryQueue, parsePatterns } from "./memory-endpoints.ts";
import { createMemoryPuller } from "./memory-puller.ts";
import { MemoryQueries } from "./memory-queries.ts";
import { MemoryStreams, type Outgoing, prepare } from "./memory-streams.ts";
import { checkTarget } from "./target.ts";

export type MemoryQueueOptions = {
  /** Patterns of the topics whose events become messages of the queue. */
  readonly topics?: readonly string[];
  /** Receives after which a message is a dead letter, default 5. */
  readonly maxReceives?: number;
};

/** A bus in this process, for tests: the same interface and semantics, and what it takes to set it up. */
export type MemoryBus = Bus & {
  /** Makes the queue, or binds other topics to it. */
  createQueue(name: string, options?: MemoryQueueOptions): void;
  /** A subscriber: with a handler it is pushed to, without one it is pulled from. */
  createEndpoint(options: MemoryEndpointOptions): { readonly id: string };
  deleteEndpoint(id: string): void;
  /** Resolves when no handler works or waits for its next attempt. */
  idle(): Promise<void>;
  deadLetters(): readonly DeadLetter[];
};

const DEFAULT_MAX_RECEIVES = 5;
const DEFAULT_QUERY_SECONDS = 15;
const MAX_QUERY_SECONDS = 60;
const AT_ONCE_THREE_TIMES = [0, 0, 0];

/** A bus in memory. It holds no timers but those of queries, retries and waiting consumers; fake ones are fine. */
export function createMemoryBus(): MemoryBus {
  const directory = new MemoryDirectory();
  const queries = new MemoryQueries();
  const bell = new Bell();
  const deadLetters: DeadLetter[] = [];
  const deliveries = new MemoryDeliveries(directory, queries, (letter) => deadLetters.push(letter));
  const streams = new MemoryStreams(directory, deliveries);

  const boxOf = (target: MemoryTarget, maxReceives: number, queue: string | null): MemoryBox => {
    const key = target.kind === "endpoint" ? `endpoint/${target.id}` : `queue/${target.name}`;
    return new MemoryBox(key, { queue, maxReceives, bell, dead: ({ id }) => deadLetters.push({ target, messageId: id }) });
  };
  const queueNamed = (name: string, maxReceives = DEFAULT_MAX_RECEIVES): MemoryQueue => {
    const known = directory.queues.get(checkTarget(name));
    if (known !== undefined) return known;
    const queue: MemoryQueue = { name, patterns: [], members: [], box: boxOf({ kind: "queue", name }, maxReceives, name), turn: 0 };
    directory.queues.set(name, queue);
    return queue;
  };
  const sendOne = async (outgoing: Outgoing) => streams.accept(await prepare(directory, outgoing));

  return {
    publish: async (topic, data, options = {}) => sendOne({ topic, data, options }),
    command: async (command, data, options = {}) => sendOne({ command, data, options }),
    direct: async (node, data, options = {}) => sendOne({ node, data, options }),
    batch: async (entries, { idempotencyKey, signal } = {}) => {
      signal?.throwIfAborted();
      return streams.acceptAll(directory, entries, idempotencyKey);
    },
    query: async (target, data, options = {}) => ask({ directory, queries, streams }, target, data, options),
    consume: (source: ConsumeSource, options) =>
      createConsumer(createMemoryPuller({ directory, queries, bell, isMessage: (id) => streams.has(id) }, source), options),

    createQueue: (name, { topics, maxReceives } = {}) => {
      const patterns = parsePatterns(topics ?? []);
      const queue = queueNamed(name, maxReceives);
      if (topics !== undefined) queue.patterns = patterns;
    },
    createEndpoint: ({ topics = [], queue, node, handler, retrySchedule = AT_ONCE_THREE_TIMES }) => {
      const patterns = parsePatterns(topics);
      if (node !== undefined && directory.atNode(checkTarget(node)) !== null) throw problem("conflict", `The node \`${node}\` is taken.`);
      const id = newId("ep", Date.now());
      const box = boxOf({ kind: "endpoint", id }, DEFAULT_MAX_RECEIVES, null);
      const endpoint = { id, queue: queue ?? null, node: node ?? null, patterns, handler: handler ?? null, retrySchedule, box };
      if (queue !== undefined) {
        const joined = queueNamed(queue);
        joined.members = [...joined.members, endpoint];
      }
      directory.endpoints.set(id, endpoint);
      deliveries.release(endpoint);
      return { id };
    },
    deleteEndpoint: (id) => directory.remove(id),
    idle: () => deliveries.idle(),
    deadLetters: () => [...deadLetters],
  };
}

type AskWorld = { readonly directory: MemoryDirectory; readonly queries: MemoryQueries; readonly streams: MemoryStreams };

async function ask({ directory, queries, streams }: AskWorld, command: string, data: Data, options: QueryOptions): Promise<Content> {
  const { timeoutSeconds = DEFAULT_QUERY_SECONDS, signal } = options;
  if (!(timeoutSeconds >= 1 && timeoutSeconds <= MAX_QUERY_SECONDS)) {
    const detail = `Must be a number of seconds from 1 to ${MAX_QUERY_SECONDS}.`;
    throw problem("invalid-request", "Mend the listed fields and send the request again.", [{ pointer: "?timeout", detail }]);
  }
  const prepared = await prepare(directory, { command, data, options });
  signal?.throwIfAborted();
  const answer = queries.ask(prepared.id, timeoutSeconds, signal);
  streams.accept({ ...prepared, answerByMs: Date.now() + timeoutSeconds * 1000 });
  return answer;
}
