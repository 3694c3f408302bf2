import {
  CreateQueueCommand,
  DeleteQueueCommand,
  GetQueueAttributesCommand,
  GetQueueUrlCommand,
  type QueueAttributeName,
  SetQueueAttributesCommand,
} from "@aws-sdk/client-sqs";
import { z } from "zod";
import { RecentMap } from "../recent-map.ts";
import type { BoxRef, MailboxFault } from "./mailbox.ts";
import type { SqsCaller } from "./sqs-client.ts";
import type { SqsFailure } from "./sqs-fault.ts";
import { type QueueNames, queueNames } from "./sqs-queue-name.ts";

type Attributes = Readonly<Partial<Record<QueueAttributeName, string>>>;
type Url = { readonly ok: true; readonly url: string } | MailboxFault;
type MaybeUrl = { readonly ok: true; readonly url: string | null } | MailboxFault;

/** A queue known to be there; `settings` as last seen or set there, null when nobody looked. */
type Known = { readonly url: string; readonly settings: string | null };

const MAX_KNOWN = 5_000;
const DEFAULT_VISIBILITY_SECONDS = 30;
const MIN_RETENTION_SECONDS = 60;
const MAX_RETENTION_SECONDS = 14 * 24 * 60 * 60;
const MAX_RECEIVE_COUNT = 1_000;

const RedrivePolicy = z.object({ deadLetterTargetArn: z.string(), maxReceiveCount: z.coerce.number() });

/**
 * The queues of boxes: found, made on demand, kept to their box's settings, deleted. Remembers where they are, as
 * values: a promise shared between requests would hang one of them.
 */
export class SqsQueues {
  readonly #sqs: SqsCaller;
  readonly #prefix: string;
  readonly #known = new RecentMap<Known>(MAX_KNOWN);

  constructor(sqs: SqsCaller, prefix: string) {
    this.#sqs = sqs;
    this.#prefix = prefix;
  }

  async names(box: BoxRef): Promise<QueueNames> {
    return queueNames(this.#prefix, box);
  }

  /** Null when there is no such queue. */
  async find(name: string): Promise<MaybeUrl> {
    const known = this.#known.get(name);
    if (known !== undefined) return { ok: true, url: known.url };
    const found = await this.#sqs.call("GetQueueUrl", (client, options) => client.send(new GetQueueUrlCommand({ QueueName: name }), options));
    if (!found.ok) return found.name === "QueueDoesNotExist" ? { ok: true, url: null } : found.fault;
    const url = found.output.QueueUrl ?? null;
    if (url !== null) this.#known.set(name, { url, settings: null });
    return { ok: true, url };
  }

  /** The box's queue, made if need be, with the settings the box has now. */
  async ensure(box: BoxRef): Promise<Url> {
    const names = await this.names(box);
    const settings = JSON.stringify(settingsOf(box));
    const known = this.#known.get(names.main);
    if (known?.settings === settings) return { ok: true, url: known.url };
    const found = await this.find(names.main);
    if (!found.ok) return found;
    const made = found.url === null ? await this.#create(box, names) : await this.#adjust(box, names, found.url);
    if (made.ok) this.#known.set(names.main, { url: made.url, settings });
    return made;
  }

  /** For a queue that turned out to be gone. */
  forget(name: string): void {
    this.#known.delete(name);
  }

  /** One that does not exist is deleted already. */
  async delete(name: string): Promise<{ readonly ok: true } | MailboxFault> {
    const found = await this.find(name);
    if (!found.ok) return found;
    if (found.url === null) return { ok: true };
    const QueueUrl = found.url;
    const deleted = await this.#sqs.call("DeleteQueue", (client, options) => client.send(new DeleteQueueCommand({ QueueUrl }), options));
    this.#known.delete(name);
    return deleted.ok || deleted.name === "QueueDoesNotExist" ? { ok: true } : deleted.fault;
  }

  async attributes(url: string, names: QueueAttributeName[]): Promise<{ readonly ok: true; readonly attributes: Attributes } | SqsFailure> {
    const answer = await this.#sqs.call("GetQueueAttributes", (client, options) =>
      client.send(new GetQueueAttributesCommand({ QueueUrl: url, AttributeNames: names }), options),
    );
    return answer.ok ? { ok: true, attributes: answer.output.Attributes ?? {} } : answer;
  }

  async #create(box: BoxRef, names: QueueNames): Promise<Url> {
    const deadLetters = await this.#deadLetterArn(box, names);
    if (!deadLetters.ok) return deadLetters;
    const attributes = { ...fifoAttributes(box), ...mainAttributes(box, deadLetters.arn) };
    const made = await this.#createQueue(box, names.main, attributes);
    if (!made.ok) return made;
    if (made.url !== null) return { ok: true, url: made.url };
    // Someone else made it meanwhile, with other settings.
    const found = await this.#urlOf(names.main);
    return found.ok ? this.#set(found.url, attributes) : found;
  }

  /** Brings the settings of a queue that is there to those of the box; one read where they are so already. */
  async #adjust(box: BoxRef, names: QueueNames, url: string): Promise<Url> {
    const current = await this.attributes(url, ["RedrivePolicy", "MessageRetentionPeriod"]);
    if (!current.ok) {
      if (current.name !== "QueueDoesNotExist") return current.fault;
      this.forget(names.main);
      return this.#create(box, names);
    }
    const { maxReceives, retentionSeconds } = settingsOf(box);
    const policy = parsePolicy(current.attributes.RedrivePolicy);
    const same = policy?.maxReceiveCount === maxReceives && current.attributes.MessageRetentionPeriod === String(retentionSeconds);
    if (same) return { ok: true, url };
    const deadLetters = policy === null ? await this.#deadLetterArn(box, names) : { ok: true as const, arn: policy.deadLetterTargetArn };
    return deadLetters.ok ? this.#set(url, mainAttributes(box, deadLetters.arn)) : deadLetters;
  }

  async #deadLetterArn(box: BoxRef, names: QueueNames): Promise<{ readonly ok: true; readonly arn: string } | MailboxFault> {
    // The longest there is: time in the box counts here too, and what is dead waits for a person.
    const retention = { MessageRetentionPeriod: String(MAX_RETENTION_SECONDS) };
    const made = await this.#createQueue(box, names.deadLetters, { ...fifoAttributes(box), ...retention });
    if (!made.ok) return made;
    const found = made.url === null ? await this.#urlOf(names.deadLetters) : { ok: true as const, url: made.url };
    if (!found.ok) return found;
    this.#known.set(names.deadLetters, { url: found.url, settings: null });
    const read = await this.attributes(found.url, ["QueueArn"]);
    return read.ok ? { ok: true, arn: read.attributes.QueueArn ?? "" } : read.fault;
  }

  /** Null when there is one with other attributes. */
  async #createQueue(box: BoxRef, name: string, attributes: Attributes): Promise<MaybeUrl> {
    const tags = { "postern:tenant": box.tenantId, "postern:box": `${box.kind}/${box.id}` };
    const made = await this.#sqs.call("CreateQueue", (client, options) =>
      client.send(new CreateQueueCommand({ QueueName: name, Attributes: { ...attributes }, tags }), options),
    );
    if (made.ok) return { ok: true, url: made.output.QueueUrl ?? null };
    return made.name === "QueueNameExists" || made.name === "QueueAlreadyExists" ? { ok: true, url: null } : made.fault;
  }

  async #urlOf(name: string): Promise<Url> {
    const found = await this.find(name);
    if (!found.ok) return found;
    return found.url === null ? vanished(name) : { ok: true, url: found.url };
  }

  async #set(url: string, attributes: Attributes): Promise<Url> {
    // FIFO queues are made so, and can not become so
    const { FifoQueue: _fifo, ...settable } = attributes;
    const set = await this.#sqs.call("SetQueueAttributes", (client, options) =>
      client.send(new SetQueueAttributesCommand({ QueueUrl: url, Attributes: settable }), options),
    );
    return set.ok ? { ok: true, url } : set.fault;
  }
}

function vanished(name: string): MailboxFault {
  return { ok: false, code: "throttled", detail: `The queue ${name} was deleted while it was being made: try again.` };
}

/** Within what SQS accepts. */
function settingsOf(box: BoxRef): { readonly maxReceives: number; readonly retentionSeconds: number } {
  return {
    maxReceives: Math.min(Math.max(box.maxReceives, 1), MAX_RECEIVE_COUNT),
    retentionSeconds: Math.min(Math.max(box.retentionSeconds, MIN_RETENTION_SECONDS), MAX_RETENTION_SECONDS),
  };
}

function mainAttributes(box: BoxRef, deadLetterTargetArn: string): Attributes {
  const { maxReceives, retentionSeconds } = settingsOf(box);
  return {
    VisibilityTimeout: String(DEFAULT_VISIBILITY_SECONDS),
    MessageRetentionPeriod: String(retentionSeconds),
    RedrivePolicy: JSON.stringify({ deadLetterTargetArn, maxReceiveCount: maxReceives }),
  };
}

/** Groups are independent of each other, in order and in throughput. */
function fifoAttributes(box: BoxRef): Attributes {
  if (!box.ordered) return {};
  return { FifoQueue: "true", DeduplicationScope: "messageGroup", FifoThroughputLimit: "perMessageGroupId" };
}

function parsePolicy(text: string | undefined): z.infer<typeof RedrivePolicy> | null {
  if (text === undefined || text === "") return null;
  const policy = RedrivePolicy.safeParse(JSON.parse(text));
  return policy.success ? policy.data : null;
}
