import type { BoxRef, HandleResult, Mailbox, MailboxFault, ReceivedMessage, ReceiveOptions } from "../../../src/mailbox/mailbox.ts";

export const UNREACHABLE: MailboxFault = { ok: false, code: "unreachable", detail: "SQS does not answer" };

export function boxNamed(id: string, kind: BoxRef["kind"] = "queue"): BoxRef {
  return { tenantId: "ten_a", kind, id, ordered: false, maxReceives: 5, retentionSeconds: 60 };
}

export function message(handle: string): ReceivedMessage {
  return {
    id: `msg_${handle}`,
    topic: "orders.created",
    offset: 0,
    timeMs: 0,
    contentType: "text/plain",
    attributes: {},
    body: new TextEncoder().encode(handle),
    receiveCount: 1,
    handle,
  };
}

type Waiter = { readonly box: BoxRef; readonly options: ReceiveOptions; readonly answer: (messages: readonly string[]) => void };

/**
 * A mailbox whose boxes hold what the test puts in, and which writes down what it is asked. A receive that waits stays
 * open until the test answers it, or its signal aborts.
 */
export class FakeMailbox implements Mailbox {
  readonly kind = "durable-object";
  readonly held = new Map<string, string[]>();
  readonly faulty = new Set<string>();
  readonly asked: { readonly box: string; readonly max: number; readonly waitSeconds: number }[] = [];
  readonly settled: { readonly verb: string; readonly box: string; readonly handles: readonly string[]; readonly seconds: number | null }[] = [];
  readonly waiting: Waiter[] = [];
  results: ((handle: string) => HandleResult) = () => ({ ok: true });

  async receive(box: BoxRef, options: ReceiveOptions): ReturnType<Mailbox["receive"]> {
    this.asked.push({ box: box.id, max: options.max, waitSeconds: options.waitSeconds });
    if (this.faulty.has(box.id)) return UNREACHABLE;
    const taken = this.held.get(box.id)?.splice(0, options.max) ?? [];
    if (taken.length > 0 || options.waitSeconds === 0) return { ok: true, messages: taken.map(message) };
    return new Promise((resolve) => {
      const answer = (handles: readonly string[]): void => resolve({ ok: true, messages: handles.map(message) });
      this.waiting.push({ box, options, answer });
      options.signal?.addEventListener("abort", () => answer([]));
    });
  }

  ack(box: BoxRef, handles: readonly string[]): Promise<readonly HandleResult[] | MailboxFault> {
    return this.#settle("ack", box, handles, null);
  }

  nack(box: BoxRef, handles: readonly string[], delaySeconds: number): Promise<readonly HandleResult[] | MailboxFault> {
    return this.#settle("nack", box, handles, delaySeconds);
  }

  extend(box: BoxRef, handles: readonly string[], visibilitySeconds: number): Promise<readonly HandleResult[] | MailboxFault> {
    return this.#settle("extend", box, handles, visibilitySeconds);
  }

  async #settle(verb: string, box: BoxRef, handles: readonly string[], seconds: number | null): Promise<readonly HandleResult[] | MailboxFault> {
    if (this.faulty.has(box.id)) return UNREACHABLE;
    this.settled.push({ verb, box: box.id, handles, seconds });
    return handles.map(this.results);
  }

  check = unused;
  send = unused;
  depth = unused;
  purge = unused;
  expunge = unused;
  redrive = unused;
  remove = unused;
}

async function unused(): Promise<never> {
  throw new Error("pulling does not use this");
}
