import { toBase64Url } from "../crypto/base64.ts";
import { RecentMap } from "../recent-map.ts";

/**
 * What a receiver holds: `<deadline, ms in base 36>.<nonce>.<SQS's receipt handle>`. SQS deletes with a handle for
 * whoever holds it, and says it did even where it deleted nothing; the deadline tells when that has to be asked first.
 */
export type SqsHandle = {
  /** When the message is visible again, unless that was changed since. */
  readonly deadlineMs: number;
  /** Ours, short enough to be remembered. */
  readonly nonce: string;
  readonly receiptHandle: string;
};

const FORMAT = /^([0-9a-z]{8,10})\.([A-Za-z0-9_-]{8,16})\.(.{1,2048})$/s;
const RANDOM_BYTES = 9;

export function formatHandle({ deadlineMs, nonce, receiptHandle }: SqsHandle): string {
  return `${deadlineMs.toString(36)}.${nonce}.${receiptHandle}`;
}

/** Null for what is no handle of ours. */
export function parseHandle(text: string): SqsHandle | null {
  const match = FORMAT.exec(text);
  const [, deadline, nonce, receiptHandle] = match ?? [];
  if (deadline === undefined || nonce === undefined || receiptHandle === undefined) return null;
  return { deadlineMs: Number.parseInt(deadline, 36), nonce, receiptHandle };
}

/** A nonce for each of `count` messages that were received together. */
export function newNonces(count: number): string[] {
  const random = toBase64Url(crypto.getRandomValues(new Uint8Array(RANDOM_BYTES)));
  return Array.from({ length: count }, (_, index) => `${random}${index.toString(36)}`);
}

const MAX_REMEMBERED = 20_000;

/**
 * What became of handles that this isolate has used: ended, or with another deadline than they say. Another isolate
 * does not know it, and takes a repeated ack for a first one until the deadline has passed; it deletes nothing either.
 */
export class HandleMemory {
  readonly #deadlines = new RecentMap<number | "ended">(MAX_REMEMBERED);

  end({ nonce }: SqsHandle): void {
    this.#deadlines.set(nonce, "ended");
  }

  extend({ nonce }: SqsHandle, deadlineMs: number): void {
    this.#deadlines.set(nonce, deadlineMs);
  }

  /** `overdue`: the message may have gone to someone else, SQS must be asked. */
  state({ nonce, deadlineMs }: SqsHandle, nowMs: number): "live" | "overdue" | "ended" {
    const known = this.#deadlines.get(nonce) ?? deadlineMs;
    if (known === "ended") return "ended";
    return nowMs < known ? "live" : "overdue";
  }
}
