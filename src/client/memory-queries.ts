import { type Content, contentOf, type EncodedData, bytesOf } from "./content.ts";
import { problem } from "./errors.ts";

type Waiting = { readonly resolve: (answer: Content) => void; readonly reject: (error: unknown) => void };

/** A query lives on after its answer or its deadline, so that a second and a late answer are told what they are. */
type Query = { state: "waiting"; readonly waiting: Waiting } | { state: "answered" } | { state: "over" };

/** Where the callers of queries and their answers meet. */
export class MemoryQueries {
  readonly #queries = new Map<string, Query>();

  /** Waits for the answer; silence is the problem `query-timeout`. */
  ask(messageId: string, timeoutSeconds: number, signal: AbortSignal | undefined): Promise<Content> {
    return new Promise((resolve, reject) => {
      const end = (settle: () => void): void => {
        clearTimeout(timer);
        signal?.removeEventListener("abort", leave);
        settle();
      };
      const leave = (): void => {
        this.#queries.set(messageId, { state: "over" });
        end(() => reject(signal?.reason));
      };
      const timer = setTimeout(() => {
        this.#queries.set(messageId, { state: "over" });
        end(() => reject(problem("query-timeout", "No worker answered in time; an answer that still comes is dropped.")));
      }, timeoutSeconds * 1000);
      signal?.addEventListener("abort", leave);
      const waiting = { resolve: (answer: Content) => end(() => resolve(answer)), reject };
      this.#queries.set(messageId, { state: "waiting", waiting });
    });
  }

  /** Throws a problem when nobody waits for this answer; `exists` says whether there is such a message at all. */
  answer(messageId: string, data: EncodedData, exists: boolean): void {
    const query = this.#queries.get(messageId);
    switch (query?.state) {
      case "waiting":
        this.#queries.set(messageId, { state: "answered" });
        return query.waiting.resolve(contentOf(data.contentType, bytesOf(data).slice()));
      case "answered":
        throw problem("conflict", "The query has its answer already: this one was dropped.");
      case "over":
        throw problem("gone", "The answer came too late and was dropped: its caller no longer waits.");
      case undefined:
        if (!exists) throw problem("not-found", "There is no message with this id.");
        throw problem("conflict", "Nobody waits for an answer: the message is no query.");
    }
  }

  isWaiting(messageId: string): boolean {
    return this.#queries.get(messageId)?.state === "waiting";
  }
}
