import { Agent as HttpAgent, request as httpRequest } from "node:http";
import { Agent as HttpsAgent, request as httpsRequest } from "node:https";
import type { Post } from "./compose.ts";

/** One request to a subscriber, and what follows from its answer. */
export type PostReport = {
  readonly post: Post;
  /** From 1. */
  readonly attempt: number;
  /** Null when there was no answer within 15 s. */
  readonly statusCode: number | null;
  readonly outcome: "delivered" | "retried" | "dropped";
};

type Options = { readonly retryDelaysMs: readonly number[]; readonly onPost: (report: PostReport) => void };

/** SNS waits this long for an answer. */
const TIMEOUT_MS = 15_000;
const MAX_SOCKETS_PER_HOST = 64;

/** Posts to subscribers as SNS does: again after a 5xx, a 429 or no answer; never again after any other answer. */
export class Poster {
  readonly #options: Options;
  readonly #agents = {
    http: new HttpAgent({ keepAlive: true, maxSockets: MAX_SOCKETS_PER_HOST }),
    https: new HttpsAgent({ keepAlive: true, maxSockets: MAX_SOCKETS_PER_HOST }),
  };
  readonly #timers = new Set<NodeJS.Timeout>();
  #closed = false;
  #open = 0;

  constructor(options: Options) {
    this.#options = options;
  }

  /** Posts that have neither been delivered nor dropped yet. */
  get open(): number {
    return this.#open;
  }

  post(post: Post): void {
    this.#open++;
    this.#attempt(post, 1);
  }

  /** Forgets what is still open. */
  close(): void {
    this.#closed = true;
    for (const timer of this.#timers) clearTimeout(timer);
    this.#agents.http.destroy();
    this.#agents.https.destroy();
  }

  #attempt(post: Post, attempt: number): void {
    void this.#send(post).then((statusCode) => {
      if (!this.#closed) this.#settle(post, attempt, statusCode);
    });
  }

  #settle(post: Post, attempt: number, statusCode: number | null): void {
    const delayMs = this.#options.retryDelaysMs[attempt - 1];
    const delivered = statusCode !== null && statusCode >= 200 && statusCode < 300;
    const retryable = statusCode === null || statusCode >= 500 || statusCode === 429;
    const retried = !delivered && retryable && delayMs !== undefined;
    this.#options.onPost({ post, attempt, statusCode, outcome: delivered ? "delivered" : retried ? "retried" : "dropped" });
    if (!retried) {
      this.#open--;
      return;
    }
    const timer = setTimeout(() => {
      this.#timers.delete(timer);
      this.#attempt(post, attempt + 1);
    }, delayMs);
    this.#timers.add(timer);
  }

  /** The status of the answer; null when there was none. Never rejects. */
  #send(post: Post): Promise<number | null> {
    return new Promise((resolve) => {
      const https = post.endpoint.startsWith("https:");
      const send = https ? httpsRequest : httpRequest;
      const request = send(post.endpoint, {
        method: "POST",
        agent: https ? this.#agents.https : this.#agents.http,
        headers: { ...post.headers, "content-length": Buffer.byteLength(post.body) },
      });
      // of the whole answer: the socket's own timeout would start again with every byte
      const timer = setTimeout(() => request.destroy(), TIMEOUT_MS);
      const settle = (statusCode: number | null): void => {
        clearTimeout(timer);
        resolve(statusCode);
      };
      request.on("error", () => settle(null));
      request.on("response", (response) => {
        response.on("end", () => settle(response.statusCode ?? null));
        response.on("error", () => settle(null));
        response.on("close", () => settle(null));
        response.resume();
      });
      request.end(post.body);
    });
  }
}
