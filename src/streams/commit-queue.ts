import type { Append, Appended, AppendResult } from "./contract.ts";

/** One publisher's append, waiting for the commit that takes it. */
export type PendingAppend = {
  readonly appends: readonly Append[];
  readonly bytes: number;
  readonly resolve: (result: AppendResult) => void;
  readonly reject: (error: unknown) => void;
};

/** Beyond these a publisher gets 503: what waits is memory, and waiting longer helps nobody. */
const MAX_PENDING_MESSAGES = 4_000;
const MAX_PENDING_BYTES = 32 * 1024 * 1024;
/** One commit: large enough to be shared by many, small enough not to hold up those behind it. */
const MAX_COMMIT_MESSAGES = 1_000;
const MAX_COMMIT_BYTES = 8 * 1024 * 1024;

/** The appends that wait for the next commit, within bounds. */
export class CommitQueue {
  #pending: PendingAppend[] = [];
  #messages = 0;
  #bytes = 0;

  get isEmpty(): boolean {
    return this.#pending.length === 0;
  }

  /** Resolves when the commit that took the appends is on disk; at once, as overloaded, when there is no room. */
  push(appends: readonly Append[]): Promise<AppendResult> {
    const bytes = appends.reduce((sum, { message }) => sum + message.body.length, 0);
    if (this.#messages + appends.length > MAX_PENDING_MESSAGES || this.#bytes + bytes > MAX_PENDING_BYTES) {
      return Promise.resolve({ ok: false, code: "overloaded", retryAfterSeconds: 1 });
    }
    this.#messages += appends.length;
    this.#bytes += bytes;
    return new Promise((resolve, reject) => this.#pending.push({ appends, bytes, resolve, reject }));
  }

  /**
   * Takes what goes into the next commit, in order: always whole appends, and at least one.
   *
   * @param maxTargets how many targets there is room for
   */
  take(maxTargets: number): PendingAppend[] {
    let count = 0;
    let messages = 0;
    let bytes = 0;
    let targets = 0;
    for (const pending of this.#pending) {
      const own = pending.appends.reduce((sum, { endpointIds }) => sum + endpointIds.length, 0);
      const fits = messages + pending.appends.length <= MAX_COMMIT_MESSAGES && bytes + pending.bytes <= MAX_COMMIT_BYTES;
      if (count > 0 && !(fits && targets + own <= maxTargets)) break;
      count++;
      messages += pending.appends.length;
      bytes += pending.bytes;
      targets += own;
    }
    this.#messages -= messages;
    this.#bytes -= bytes;
    return this.#pending.splice(0, count);
  }
}

/** Answers every append of a commit that is on disk. */
export function answerAll(taken: readonly PendingAppend[], results: readonly (readonly Appended[])[]): void {
  taken.forEach(({ resolve }, index) => resolve({ ok: true, appended: results[index] ?? [] }));
}
