import { newId } from "../ids.ts";
import { MAX_BODY_BYTES } from "../messages/message.ts";
import { messageIdFor } from "../messages/message-id.ts";
import type { BatchEntry, Published, PublishOptions } from "./bus.ts";
import { checkAttributes, checkQueueMethod, checkTarget, checkTopic, invalid } from "./checks.ts";
import { bytesOf, type Data, encodeData } from "./content.ts";
import { type PosternProblem, problem } from "./errors.ts";
import type { MemoryMessage } from "./memory-box.ts";
import type { MemoryDeliveries, MemoryTarget } from "./memory-deliveries.ts";
import { matchesAny, type MemoryDirectory } from "./memory-endpoints.ts";

type Address = { readonly topic: string } | { readonly command: string } | { readonly node: string };

/** What is to be sent, not looked at yet. */
export type Outgoing = Address & { readonly data: Data; readonly options: PublishOptions };

/** What may be accepted: everything the gateway would refuse has been. */
export type Prepared = Omit<MemoryMessage, "offset" | "timeMs"> & {
  readonly address: MemoryTarget | { readonly kind: "topic" };
  readonly stream: string;
  readonly deduplicationKey: string | null;
};

const MAX_BATCH_MESSAGES = 500;
const MAX_BATCH_BYTES = 5 * 1024 * 1024;

/** Checks one message as the gateway does; throws the problem that it would answer. */
export async function prepare(directory: MemoryDirectory, { data, options, ...address }: Outgoing): Promise<Prepared> {
  options.signal?.throwIfAborted();
  const place = placeOf(directory, address);
  const attributes = checkAttributes(options.attributes);
  const encoded = encodeData(data, options.contentType);
  const bytes = bytesOf(encoded);
  if (bytes.length > MAX_BODY_BYTES) throw tooLarge(MAX_BODY_BYTES);
  const { id: chosenId = options.idempotencyKey === undefined ? null : `key ${options.idempotencyKey}` } = options;
  const id = chosenId === null ? newId("msg", Date.now()) : await messageIdFor(chosenId);
  const deduplicationKey = chosenId === null ? null : `${place.topic} ${id}`;
  return { ...place, id, contentType: encoded.contentType, bytes, attributes, answerByMs: null, deduplicationKey };
}

function placeOf(directory: MemoryDirectory, address: Address): Pick<Prepared, "address" | "stream" | "topic"> {
  if ("topic" in address) {
    const topic = checkTopic(address.topic);
    return { address: { kind: "topic" }, stream: `topics/${topic}`, topic };
  }
  if ("node" in address) {
    const name = checkTarget(address.node);
    return { address: { kind: "node", name }, stream: `nodes/${name}`, topic: name };
  }
  const { queue: name, method } = checkQueueMethod(address.command);
  directory.requireQueue(name);
  return { address: { kind: "queue", name }, stream: `queues/${name}`, topic: `${name}/${method}` };
}

function tooLarge(limitBytes: number): PosternProblem {
  return problem("payload-too-large", `Send at most ${limitBytes} bytes; store more elsewhere and send a reference.`);
}

/** The streams: they number messages and know the ids that were used. */
export class MemoryStreams {
  readonly #directory: MemoryDirectory;
  readonly #deliveries: MemoryDeliveries;
  readonly #lengths = new Map<string, number>();
  readonly #accepted = new Map<string, Published>();
  readonly #ids = new Set<string>();

  constructor(directory: MemoryDirectory, deliveries: MemoryDeliveries) {
    this.#directory = directory;
    this.#deliveries = deliveries;
  }

  has(id: string): boolean {
    return this.#ids.has(id);
  }

  accept({ address, stream, deduplicationKey, ...fields }: Prepared): Published {
    const key = deduplicationKey === null ? null : `${stream} ${deduplicationKey}`;
    const known = key === null ? undefined : this.#accepted.get(key);
    if (known !== undefined) return known;
    const message = { ...fields, offset: this.#lengths.get(stream) ?? 0, timeMs: Date.now() };
    this.#lengths.set(stream, message.offset + 1);
    this.#ids.add(message.id);
    const targets = address.kind === "topic" ? this.#subscribed(message.topic) : [address];
    for (const target of targets) this.#deliveries.send(message, target);
    const { id, topic, offset, timeMs } = message;
    const published = { id, topic, offset, time: new Date(timeMs).toISOString(), matched: targets.length };
    if (key !== null) this.#accepted.set(key, published);
    return published;
  }

  /** All are checked before any is accepted. */
  async acceptAll(directory: MemoryDirectory, entries: readonly BatchEntry[], idempotencyKey: string | undefined): Promise<readonly Published[]> {
    if (entries.length === 0 || entries.length > MAX_BATCH_MESSAGES) {
      const detail = `must hold 1 to ${MAX_BATCH_MESSAGES} messages, not ${entries.length}`;
      throw invalid([{ pointer: "/messages", detail }]);
    }
    const prepared = await Promise.all(
      entries.map(({ data, contentType, attributes, id, ...address }, index) => {
        const key = idempotencyKey === undefined ? {} : { idempotencyKey: `${idempotencyKey} ${index}` };
        const given = { ...(contentType && { contentType }), ...(attributes && { attributes }), ...(id && { id }) };
        return prepare(directory, { ...address, data, options: { ...given, ...key } });
      }),
    );
    const bytes = prepared.reduce((sum, message) => sum + message.bytes.length, 0);
    if (bytes > MAX_BATCH_BYTES) throw tooLarge(MAX_BATCH_BYTES);
    return prepared.map((message) => this.accept(message));
  }

  #subscribed(topic: string): MemoryTarget[] {
    const { endpoints, queues } = this.#directory;
    const bound = [...queues.values()].filter(
      ({ patterns, members }) => matchesAny(patterns, topic) || members.some((member) => matchesAny(member.patterns, topic)),
    );
    const subscribed = [...endpoints.values()].filter(({ queue, patterns }) => queue === null && matchesAny(patterns, topic));
    return [
      ...subscribed.map(({ id }): MemoryTarget => ({ kind: "endpoint", id })),
      ...bound.map(({ name }): MemoryTarget => ({ kind: "queue", name })),
    ];
  }
}
