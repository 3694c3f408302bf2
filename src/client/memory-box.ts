import { sleep } from "./backoff.ts";
import type { Message, Settled } from "./consume.ts";
import { contentOf } from "./content.ts";
import type { ReceiveRequest, SettleAction } from "./puller.ts";

/** A message of a bus in memory. */
export type MemoryMessage = {
  readonly id: string;
  readonly topic: string;
  readonly offset: number;
  readonly timeMs: number;
  readonly contentType: string;
  readonly bytes: Uint8Array;
  readonly attributes: Readonly<Record<string, string>>;
  /** Of a query: until when its caller waits. */
  readonly answerByMs: number | null;
};

/** As its consumers see it: with bytes of their own, so that none can change another's. */
export function presentMessage(message: MemoryMessage, receiveCount: number, queue: string | null): Message {
  const { id, topic, offset, timeMs, contentType, bytes, attributes, answerByMs } = message;
  return {
    ...contentOf(contentType, bytes.slice()),
    id,
    topic,
    offset,
    time: new Date(timeMs).toISOString(),
    receiveCount,
    attributes,
    event: {},
    answerBy: answerByMs === null ? null : new Date(answerByMs).toISOString(),
    queue,
  };
}

/** Wakes everyone who waits for messages. */
export class Bell {
  #rung = new AbortController();

  ring(): void {
    this.#rung.abort();
    this.#rung = new AbortController();
  }

  wait(ms: number, signal: AbortSignal): Promise<void> {
    return sleep(ms, AbortSignal.any([signal, this.#rung.signal]));
  }
}

/** `receipt` is that of its last receive; every receive gives a new one, so older ones are stale. */
type Held = { readonly message: MemoryMessage; receiveCount: number; visibleAtMs: number; receipt: string | null };

export type TakenMessage = { readonly message: Message; readonly receipt: string };

/** A mailbox in memory, with the gateway's semantics: visibility timeout, receive count, dead letters. */
export class MemoryBox {
  readonly key: string;
  readonly #queue: string | null;
  readonly #maxReceives: number;
  readonly #bell: Bell;
  readonly #dead: (message: MemoryMessage) => void;
  #held: Held[] = [];
  #receives = 0;

  constructor(key: string, options: { queue: string | null; maxReceives: number; bell: Bell; dead: (message: MemoryMessage) => void }) {
    this.key = key;
    this.#queue = options.queue;
    this.#maxReceives = options.maxReceives;
    this.#bell = options.bell;
    this.#dead = options.dead;
  }

  put(message: MemoryMessage): void {
    this.#held.push({ message, receiveCount: 0, visibleAtMs: 0, receipt: null });
    this.#bell.ring();
  }

  take(max: number, visibilitySeconds: number, nowMs: number): TakenMessage[] {
    this.#bury(nowMs);
    const taken = this.#visible(nowMs).slice(0, max);
    return taken.map((held) => {
      const receipt = `${this.key}#${++this.#receives}`;
      held.receiveCount++;
      held.visibleAtMs = nowMs + visibilitySeconds * 1000;
      held.receipt = receipt;
      return { message: presentMessage(held.message, held.receiveCount, this.#queue), receipt };
    });
  }

  /** Takes out for good what nobody holds at the moment: what is to be pushed from now on. */
  drain(nowMs: number): readonly MemoryMessage[] {
    this.#bury(nowMs);
    const drained = this.#visible(nowMs);
    this.#held = this.#held.filter((held) => !drained.includes(held));
    return drained.map(({ message }) => message);
  }

  settle(action: SettleAction, receipts: readonly string[], nowMs: number): Settled[] {
    const results = receipts.map((receipt, index) => this.#settleOne(action, receipt, receipts.indexOf(receipt) < index, nowMs));
    this.#bell.ring();
    return results;
  }

  /** When something becomes visible by itself; Infinity when nothing will. */
  nextVisibleMs(): number {
    return Math.min(Number.POSITIVE_INFINITY, ...this.#held.map(({ visibleAtMs }) => visibleAtMs));
  }

  #settleOne(action: SettleAction, receipt: string, repeated: boolean, nowMs: number): Settled {
    if (!receipt.startsWith(`${this.key}#`)) return { ok: false, error: receipt.includes("#") ? "foreign" : "malformed" };
    if (repeated) return { ok: false, error: "repeated" };
    const held = this.#held.find((one) => one.receipt === receipt && one.visibleAtMs > nowMs);
    if (held === undefined) return { ok: false, error: "stale" };
    switch (action.kind) {
      case "ack":
        this.#held = this.#held.filter((one) => one !== held);
        break;
      case "nack":
        held.visibleAtMs = nowMs + action.delaySeconds * 1000;
        held.receipt = null;
        break;
      case "extend":
        held.visibleAtMs = nowMs + action.visibilitySeconds * 1000;
    }
    return { ok: true };
  }

  #visible(nowMs: number): Held[] {
    return this.#held.filter(({ visibleAtMs }) => visibleAtMs <= nowMs);
  }

  /** Queries that nobody waits for any more are dropped; what was received too often is a dead letter. */
  #bury(nowMs: number): void {
    const isOver = ({ message }: Held): boolean => message.answerByMs !== null && message.answerByMs <= nowMs;
    const isDead = (held: Held): boolean => held.visibleAtMs <= nowMs && held.receiveCount >= this.#maxReceives;
    for (const held of this.#held) if (!isOver(held) && isDead(held)) this.#dead(held.message);
    this.#held = this.#held.filter((held) => !isOver(held) && !isDead(held));
  }
}

/** Takes from several boxes in turn; waits until one has something, the time is over or the consumer stops. */
export async function receiveFrom<Box extends MemoryBox>(
  boxes: readonly Box[],
  { max, waitSeconds, visibilitySeconds, signal }: ReceiveRequest,
  bell: Bell,
): Promise<readonly { readonly box: Box; readonly taken: TakenMessage }[]> {
  const untilMs = Date.now() + waitSeconds * 1000;
  for (;;) {
    const nowMs = Date.now();
    const received: { readonly box: Box; readonly taken: TakenMessage }[] = [];
    if (signal.aborted) return received;
    for (const box of boxes) {
      for (const taken of box.take(max - received.length, visibilitySeconds, nowMs)) received.push({ box, taken });
    }
    if (received.length > 0 || nowMs >= untilMs) return received;
    const nextMs = Math.min(untilMs, ...boxes.map((box) => box.nextVisibleMs()));
    await bell.wait(Math.max(1, nextMs - nowMs), signal);
  }
}
