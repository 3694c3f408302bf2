import { ListQueuesCommand, PurgeQueueCommand } from "@aws-sdk/client-sqs";
import { type ContentLoader, fillContents } from "./claim-check.ts";
import { longPoll } from "./long-poll.ts";
import type { BoxDepth, BoxMessage, BoxRef, HandleResult, Mailbox, MailboxFault, ReceivedMessage, ReceiveOptions } from "./mailbox.ts";
import { createSqsCaller, type SqsAnswer, type SqsCaller, type SqsSettings } from "./sqs-client.ts";
import { moveBack } from "./sqs-dead-letters.ts";
import { HandleMemory } from "./sqs-handles.ts";
import { SqsQueues } from "./sqs-queues.ts";
import { deadline, receiveBatch } from "./sqs-receive.ts";
import { batchesOf, entriesOf, sendBatch } from "./sqs-send.ts";
import { deleteHandles, extendHandles, releaseHandles, type Settling } from "./sqs-settle.ts";

type Done = { readonly ok: true } | MailboxFault;
type Used<Output> = { readonly ok: true; readonly output: Output } | MailboxFault;

/**
 * An asker that goes away is noticed after this long at most; each slice is a call that costs, and 4 of them make the
 * longest wait.
 */
const WAIT_SLICE_SECONDS = 5;
/** SQS waits for whole seconds: what rounds to none would be asking without end. */
const SHORTEST_SLICE_SECONDS = 0.5;

/** Mailboxes in Amazon SQS: a queue and a dead-letter queue a box. One for the whole isolate. */
export class SqsMailbox implements Mailbox {
  readonly kind = "sqs";
  readonly #sqs: SqsCaller;
  readonly #prefix: string;
  readonly #queues: SqsQueues;
  readonly #memory = new HandleMemory();
  readonly #loadContent: ContentLoader;

  constructor(settings: SqsSettings, loadContent: ContentLoader) {
    this.#sqs = createSqsCaller(settings);
    this.#prefix = settings.queuePrefix;
    this.#queues = new SqsQueues(this.#sqs, settings.queuePrefix);
    this.#loadContent = loadContent;
  }

  async check(): Promise<Done> {
    const command = new ListQueuesCommand({ QueueNamePrefix: `${this.#prefix}-`, MaxResults: 1 });
    const listed = await this.#sqs.call("ListQueues", (client, options) => client.send(command, options));
    return listed.ok ? { ok: true } : listed.fault;
  }

  async send(box: BoxRef, messages: readonly BoxMessage[]): Promise<readonly Done[]> {
    const results: Done[] = [];
    for (const batch of batchesOf(await entriesOf(messages, box.ordered))) {
      const sent = await this.#usingMade(box, (url) => sendBatch(this.#sqs, url, batch));
      // What SQS did not answer now it will not answer for the next batch either; each waits for its own retry.
      if (!sent.ok) return messages.map((_, index) => results[index] ?? sent);
      results.push(...sent.output);
    }
    return results;
  }

  async receive(
    box: BoxRef,
    { signal, ...options }: ReceiveOptions,
  ): Promise<{ readonly ok: true; readonly messages: readonly ReceivedMessage[] } | MailboxFault> {
    return longPoll({
      waitSeconds: options.waitSeconds,
      ...(signal === undefined ? {} : { signal }),
      sliceSeconds: WAIT_SLICE_SECONDS,
      shortestSliceSeconds: SHORTEST_SLICE_SECONDS,
      take: async (waitSeconds) => {
        const taken = await this.#usingMade(box, (url) => receiveBatch(this.#sqs, url, box, { ...options, waitSeconds }));
        if (!taken.ok) return taken;
        const { messages, expunged } = await fillContents(taken.output, this.#loadContent);
        if (expunged.length > 0) await this.ack(box, expunged);
        return { ok: true, messages };
      },
      release: async (messages) => {
        await this.nack(box, messages.map(({ handle }) => handle), 0);
      },
    });
  }

  async ack(box: BoxRef, handles: readonly string[]): Promise<readonly HandleResult[] | MailboxFault> {
    return this.#settle(box, handles, (settling) => deleteHandles(settling, handles));
  }

  async nack(box: BoxRef, handles: readonly string[], delaySeconds: number): Promise<readonly HandleResult[] | MailboxFault> {
    return this.#settle(box, handles, (settling) => releaseHandles(settling, handles, delaySeconds));
  }

  async extend(box: BoxRef, handles: readonly string[], visibilitySeconds: number): Promise<readonly HandleResult[] | MailboxFault> {
    return this.#settle(box, handles, (settling) =>
      extendHandles(settling, handles, { visibilitySeconds, deadlineMs: deadline(Date.now(), visibilitySeconds) }),
    );
  }

  /** As SQS counts, which is approximately; the oldest age it tells to CloudWatch only. */
  async depth(box: BoxRef): Promise<({ readonly ok: true } & BoxDepth) | MailboxFault> {
    const names = await this.#queues.names(box);
    const [main, dead] = await Promise.all([this.#counts(names.main), this.#counts(names.deadLetters)]);
    if (!main.ok) return main;
    if (!dead.ok) return dead;
    return {
      ok: true,
      visible: main.output.visible,
      inFlight: main.output.hidden,
      dead: dead.output.visible + dead.output.hidden,
      oldestAgeSeconds: null,
    };
  }

  async purge(box: BoxRef): Promise<Done> {
    const { main } = await this.#queues.names(box);
    const purged = await this.#usingFound<unknown>(main, null, (url) =>
      this.#sqs.call("PurgeQueue", (client, options) => client.send(new PurgeQueueCommand({ QueueUrl: url }), options)),
    );
    return purged.ok ? { ok: true } : purged;
  }

  async redrive(box: BoxRef): Promise<{ readonly ok: true; readonly count: number } | MailboxFault> {
    const { deadLetters } = await this.#queues.names(box);
    const found = await this.#queues.find(deadLetters);
    if (!found.ok) return found;
    if (found.url === null) return { ok: true, count: 0 };
    const main = await this.#queues.ensure(box);
    if (!main.ok) return main;
    const moved = await this.#usingFound(deadLetters, 0, async (url) => {
      const read = await this.#queues.attributes(url, ["QueueArn", "ApproximateNumberOfMessages"]);
      if (!read.ok) return read;
      const { QueueArn: arn = "", ApproximateNumberOfMessages: count = "0" } = read.attributes;
      return moveBack(this.#sqs, { url, arn, count: Number(count), mainUrl: main.url });
    });
    return moved.ok ? { ok: true, count: moved.output } : moved;
  }

  /** The queue before its dead letters, and those it had while it was, or was not, ordered. */
  /** SQS deletes by receipt alone: whoever receives the message next drops it. */
  async expunge(): Promise<Done> {
    return { ok: true };
  }

  async remove(box: BoxRef): Promise<Done> {
    for (const ordered of [box.ordered, !box.ordered]) {
      const { main, deadLetters } = await this.#queues.names({ ...box, ordered });
      for (const name of [main, deadLetters]) {
        const removed = await this.#queues.delete(name);
        if (!removed.ok) return removed;
      }
    }
    return { ok: true };
  }

  async #settle(
    box: BoxRef,
    handles: readonly string[],
    settle: (settling: Settling) => Promise<SqsAnswer<readonly HandleResult[]>>,
  ): Promise<readonly HandleResult[] | MailboxFault> {
    const { main } = await this.#queues.names(box);
    // In a queue that is gone nothing is held any more.
    const gone = handles.map((): HandleResult => ({ ok: false, reason: "stale" }));
    const settled = await this.#usingFound(main, gone, (url) => settle({ sqs: this.#sqs, url, memory: this.#memory }));
    return settled.ok ? settled.output : settled;
  }

  async #counts(name: string): Promise<Used<{ readonly visible: number; readonly hidden: number }>> {
    return this.#usingFound(name, { visible: 0, hidden: 0 }, async (url) => {
      const read = await this.#queues.attributes(url, [
        "ApproximateNumberOfMessages",
        "ApproximateNumberOfMessagesNotVisible",
        "ApproximateNumberOfMessagesDelayed",
      ]);
      if (!read.ok) return read;
      const { ApproximateNumberOfMessages = 0, ApproximateNumberOfMessagesNotVisible = 0, ApproximateNumberOfMessagesDelayed = 0 } = read.attributes;
      const hidden = Number(ApproximateNumberOfMessagesNotVisible) + Number(ApproximateNumberOfMessagesDelayed);
      return { ok: true, output: { visible: Number(ApproximateNumberOfMessages), hidden } };
    });
  }

  /** Uses the box's queue, made if need be; once more where it vanished since we knew it. */
  async #usingMade<Output>(box: BoxRef, use: (url: string) => Promise<SqsAnswer<Output>>): Promise<Used<Output>> {
    const made = await this.#queues.ensure(box);
    if (!made.ok) return made;
    const used = await use(made.url);
    if (used.ok) return used;
    if (used.name !== "QueueDoesNotExist") return used.fault;
    this.#queues.forget((await this.#queues.names(box)).main);
    const again = await this.#queues.ensure(box);
    if (!again.ok) return again;
    const usedAgain = await use(again.url);
    return usedAgain.ok ? usedAgain : usedAgain.fault;
  }

  /** Uses a queue if it is there. */
  async #usingFound<Output>(name: string, absent: Output, use: (url: string) => Promise<SqsAnswer<Output>>): Promise<Used<Output>> {
    const found = await this.#queues.find(name);
    if (!found.ok) return found;
    if (found.url === null) return { ok: true, output: absent };
    const used = await use(found.url);
    if (used.ok) return used;
    if (used.name !== "QueueDoesNotExist") return used.fault;
    this.#queues.forget(name);
    return { ok: true, output: absent };
  }
}
