import { type ContentLoader, fillContents, MAX_INLINE_BYTES } from "./claim-check.ts";
import type { BoxedMessage, MailboxObjectApi, Take } from "./durable-object-contract.ts";
import { longPoll } from "./long-poll.ts";
import type { BoxDepth, BoxMessage, BoxRef, HandleResult, Mailbox, MailboxFault, ReceivedMessage, ReceiveOptions } from "./mailbox.ts";

type Done = { readonly ok: true } | MailboxFault;
type Answer<Output> = { readonly ok: true; readonly output: Output } | MailboxFault;

/** The object can not see that its asker is gone: it is asked again and again instead. */
const WAIT_SLICE_SECONDS = 2;
const SHORTEST_SLICE_SECONDS = 0.05;
/** An RPC carries 32 MiB. */
const MAX_CALL_BYTES = 8 * 1024 * 1024;
/** No box has this name, for a box's holds slashes: the object is there to answer only. */
const PROBE_OBJECT = "readiness";

/** Mailboxes in Durable Objects: one object a box. */
export class DurableObjectMailbox implements Mailbox {
  readonly kind = "durable-object";
  readonly #objectOf: (name: string) => MailboxObjectApi;
  readonly #loadContent: ContentLoader;

  constructor(objectOf: (name: string) => MailboxObjectApi, loadContent: ContentLoader) {
    this.#objectOf = objectOf;
    this.#loadContent = loadContent;
  }

  async check(): Promise<Done> {
    return settled(await answer(async () => this.#objectOf(PROBE_OBJECT).ping()));
  }

  async send(box: BoxRef, messages: readonly BoxMessage[]): Promise<readonly Done[]> {
    const results: Done[] = [];
    for (const batch of batchesOf(messages.map(boxed))) {
      const sent = await answer(() => this.#object(box).send(settingsOf(box), batch));
      if (!sent.ok) return messages.map((_, index) => results[index] ?? sent);
      results.push(...batch.map((): Done => ({ ok: true })));
    }
    return results;
  }

  async receive(
    box: BoxRef,
    { max, waitSeconds, visibilitySeconds, signal }: ReceiveOptions,
  ): Promise<{ readonly ok: true; readonly messages: readonly ReceivedMessage[] } | MailboxFault> {
    let place: number | null = null;
    return longPoll({
      waitSeconds,
      ...(signal === undefined ? {} : { signal }),
      sliceSeconds: WAIT_SLICE_SECONDS,
      shortestSliceSeconds: SHORTEST_SLICE_SECONDS,
      take: async (sliceSeconds) => {
        const options = { max, visibilitySeconds, waitMs: sliceSeconds * 1000, place };
        const taken: Answer<Take> = await answer(() => this.#object(box).take(settingsOf(box), options));
        if (!taken.ok) return taken;
        place = taken.output.place;
        const { messages, expunged } = await fillContents(taken.output.messages, this.#loadContent);
        if (expunged.length > 0) await this.ack(box, expunged);
        return { ok: true, messages };
      },
      release: async (messages) => {
        await this.nack(box, messages.map(({ handle }) => handle), 0);
      },
    });
  }

  async ack(box: BoxRef, handles: readonly string[]): Promise<readonly HandleResult[] | MailboxFault> {
    return outputOf(await answer(() => this.#object(box).ack(handles)));
  }

  async nack(box: BoxRef, handles: readonly string[], delaySeconds: number): Promise<readonly HandleResult[] | MailboxFault> {
    return outputOf(await answer(() => this.#object(box).nack(handles, delaySeconds)));
  }

  async extend(box: BoxRef, handles: readonly string[], visibilitySeconds: number): Promise<readonly HandleResult[] | MailboxFault> {
    return outputOf(await answer(() => this.#object(box).extend(handles, visibilitySeconds)));
  }

  async depth(box: BoxRef): Promise<({ readonly ok: true } & BoxDepth) | MailboxFault> {
    const depth = await answer(() => this.#object(box).depth(settingsOf(box)));
    return depth.ok ? { ok: true, ...depth.output } : depth;
  }

  async purge(box: BoxRef): Promise<Done> {
    return settled(await answer(() => this.#object(box).purge()));
  }

  async expunge(box: BoxRef, message: { readonly id: string; readonly offset: number }): Promise<Done> {
    return settled(await answer(() => this.#object(box).expunge(message)));
  }

  async redrive(box: BoxRef): Promise<{ readonly ok: true; readonly count: number } | MailboxFault> {
    const moved = await answer(() => this.#object(box).redrive(settingsOf(box)));
    return moved.ok ? { ok: true, count: moved.output } : moved;
  }

  async remove(box: BoxRef): Promise<Done> {
    return settled(await answer(() => this.#object(box).remove()));
  }

  /** The tenant is part of the name, so none reaches another's. */
  #object({ tenantId, kind, id }: BoxRef): MailboxObjectApi {
    return this.#objectOf(`${tenantId}/${kind}/${id}`);
  }
}

function boxed(message: BoxMessage): BoxedMessage {
  return message.body.length > MAX_INLINE_BYTES ? { ...message, body: null } : message;
}

function batchesOf(messages: readonly BoxedMessage[]): BoxedMessage[][] {
  const batches: BoxedMessage[][] = [];
  let bytes = Infinity;
  for (const message of messages) {
    const size = message.body?.length ?? 0;
    const current = batches.at(-1);
    if (current === undefined || bytes + size > MAX_CALL_BYTES) {
      batches.push([message]);
      bytes = size;
    } else {
      current.push(message);
      bytes += size;
    }
  }
  return batches;
}

function settingsOf({ ordered, maxReceives, retentionSeconds }: BoxRef): Pick<BoxRef, "ordered" | "maxReceives" | "retentionSeconds"> {
  return { ordered, maxReceives, retentionSeconds };
}

/** Asks the object; what is thrown on the way says by a property whether there was too much of it. */
async function answer<Output>(ask: () => Output | Promise<Output>): Promise<Answer<Output>> {
  try {
    return { ok: true, output: await ask() };
  } catch (thrown) {
    const overloaded = typeof thrown === "object" && thrown !== null && "overloaded" in thrown && thrown.overloaded === true;
    return overloaded
      ? { ok: false, code: "throttled", detail: "The mailbox's object has more to do than it can: try again later." }
      : { ok: false, code: "unreachable", detail: "The mailbox's object could not be reached: try again." };
  }
}

function settled(answered: Answer<unknown>): Done {
  return answered.ok ? { ok: true } : answered;
}

function outputOf<Output>(answered: Answer<Output>): Output | MailboxFault {
  return answered.ok ? answered.output : answered;
}
