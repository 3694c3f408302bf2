import type { AppendRequest, AppendResult } from "./contract.ts";

export type PendingAppend = {
  readonly request: AppendRequest;
  readonly bytes: number;
  readonly resolve: (result: AppendResult) => void;
  readonly reject: (error: unknown) => void;
};

/** Beyond these a writer gets 503: what waits is memory. */
const MAX_PENDING_REQUESTS = 4_000;
const MAX_PENDING_BYTES = 40 * 1024 * 1024;
/** One commit: large enough to be shared by many, small enough not to hold up those behind it. */
const MAX_COMMIT_REQUESTS = 1_000;
const MAX_COMMIT_BYTES = 8 * 1024 * 1024;

/** The appends that wait for the next commit, within bounds. */
export class PendingAppends {
  #pending: PendingAppend[] = [];
  #bytes = 0;

  get isEmpty(): boolean {
    return this.#pending.length === 0;
  }

  /** Resolves when the commit that took it is on disk; at once, as overloaded, when there is no room. */
  push(request: AppendRequest): Promise<AppendResult> {
    const bytes = request.payload?.bytes.length ?? 0;
    if (this.#pending.length >= MAX_PENDING_REQUESTS || this.#bytes + bytes > MAX_PENDING_BYTES) {
      return Promise.resolve({ ok: false, code: "overloaded", retryAfterSeconds: 1 });
    }
    this.#bytes += bytes;
    return new Promise((resolve, reject) => this.#pending.push({ request, bytes, resolve, reject }));
  }

  /** Takes what goes into the next commit, in order: one request at least. */
  take(): PendingAppend[] {
    let count = 0;
    let bytes = 0;
    for (const pending of this.#pending) {
      if (count > 0 && (count >= MAX_COMMIT_REQUESTS || bytes + pending.bytes > MAX_COMMIT_BYTES)) break;
      count++;
      bytes += pending.bytes;
    }
    this.#bytes -= bytes;
    return this.#pending.splice(0, count);
  }
}
