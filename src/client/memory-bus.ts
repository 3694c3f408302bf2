import { newId } from "../ids.ts";
import type { Bus, QueryOptions } from "./bus.ts";
import { checkQueryTimeout, checkTarget } from "./checks.ts";
import { createConsumer } from "./consumer.ts";
import type { Content, Data } from "./content.ts";
import { problem } from "./errors.ts";
import { Bell, MemoryBox } from "./memory-box.ts";
import { type DeadLetter, MemoryDeliveries, type MemoryTarget } from "./memory-deliveries.ts";
import { MemoryDirectory, type MemoryEndpointOptions, type MemoryQueue, parsePatterns } from "./memory-endpoints.ts";
import { createMemoryPuller } from "./memory-puller.ts";
import { MemoryQueries } from "./memory-queries.ts";
import { MemoryStreams, type Outgoing, prepare } from "./memory-streams.ts";

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
const AT_ONCE_THREE_TIMES = [0, 0, 0];

type World = {
  readonly directory: MemoryDirectory;
  readonly queries: MemoryQueries;
  readonly bell: Bell;
  readonly deadLetters: DeadLetter[];
  readonly deliveries: MemoryDeliveries;
  readonly streams: MemoryStreams;
};

/** A bus in memory. It holds no timers but those of queries, retries and waiting consumers; fake ones are fine. */
export function createMemoryBus(): MemoryBus {
  const world = createWorld();
  const { directory, streams, deliveries, deadLetters } = world;
  const send = async (outgoing: Outgoing) => streams.accept(await prepare(directory, outgoing));
  return {
    publish: async (topic, data, options = {}) => send({ topic, data, options }),
    command: async (command, data, options = {}) => send({ command, data, options }),
    direct: async (node, data, options = {}) => send({ node, data, options }),
    batch: async (entries, { idempotencyKey, signal } = {}) => {
      signal?.throwIfAborted();
      return streams.acceptAll(directory, entries, idempotencyKey);
    },
    query: async (target, data, options = {}) => ask(world, target, data, options),
    consume: (source, options) => createConsumer(createMemoryPuller({ ...world, isMessage: (id) => streams.has(id) }, source), options),
    createQueue: (name, options = {}) => createQueue(world, name, options),
    createEndpoint: (options) => createEndpoint(world, options),
    deleteEndpoint: (id) => directory.remove(id),
    idle: () => deliveries.idle(),
    deadLetters: () => [...deadLetters],
  };
}

function createWorld(): World {
  const directory = new MemoryDirectory();
  const queries = new MemoryQueries();
  const deadLetters: DeadLetter[] = [];
  const deliveries = new MemoryDeliveries(directory, queries, (letter) => deadLetters.push(letter));
  return { directory, queries, bell: new Bell(), deadLetters, deliveries, streams: new MemoryStreams(directory, deliveries) };
}

/** Topics that are left out stay as they are; `maxReceives` is that of the queue's making. */
function createQueue(world: World, name: string, { topics, maxReceives }: MemoryQueueOptions): void {
  const patterns = topics === undefined ? undefined : parsePatterns(topics);
  const queue = queueNamed(world, name, maxReceives);
  if (patterns !== undefined) queue.patterns = patterns;
}

function createEndpoint(world: World, options: MemoryEndpointOptions): { readonly id: string } {
  const { topics = [], queue = null, node = null, handler = null, retrySchedule = AT_ONCE_THREE_TIMES } = options;
  const { directory, deliveries } = world;
  const patterns = parsePatterns(topics);
  if (node !== null && directory.atNode(checkTarget(node)) !== null) throw problem("conflict", `The node \`${node}\` is taken.`);
  const id = newId("ep", Date.now());
  const endpoint = { id, queue, node, patterns, handler, retrySchedule, box: boxOf(world, { kind: "endpoint", id }) };
  if (queue !== null) {
    const joined = queueNamed(world, queue);
    joined.members = [...joined.members, endpoint];
  }
  directory.endpoints.set(id, endpoint);
  deliveries.release(endpoint);
  return { id };
}

function queueNamed(world: World, name: string, maxReceives?: number): MemoryQueue {
  const known = world.directory.queues.get(checkTarget(name));
  if (known !== undefined) return known;
  const queue: MemoryQueue = { name, patterns: [], members: [], turn: 0, box: boxOf(world, { kind: "queue", name }, maxReceives) };
  world.directory.queues.set(name, queue);
  return queue;
}

function boxOf(
  { bell, deadLetters }: World,
  target: Exclude<MemoryTarget, { readonly kind: "node" }>,
  maxReceives = DEFAULT_MAX_RECEIVES,
): MemoryBox {
  const [key, queue] = target.kind === "queue" ? [`queue/${target.name}`, target.name] : [`endpoint/${target.id}`, null];
  return new MemoryBox(key, { queue, maxReceives, bell, dead: ({ id }) => deadLetters.push({ target, messageId: id }) });
}

async function ask({ directory, queries, streams }: World, command: string, data: Data, options: QueryOptions): Promise<Content> {
  const { timeoutSeconds = DEFAULT_QUERY_SECONDS, signal } = options;
  checkQueryTimeout(timeoutSeconds);
  const prepared = await prepare(directory, { command, data, options });
  signal?.throwIfAborted();
  const answer = queries.ask(prepared.id, timeoutSeconds, signal);
  streams.accept({ ...prepared, answerByMs: Date.now() + timeoutSeconds * 1000 });
  return answer;
}
