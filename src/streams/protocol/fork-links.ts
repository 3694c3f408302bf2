import { describeError, log } from "../../log.ts";
import type { ForkRefusal, ForkRequest, Inherited, StreamInfo } from "./contract.ts";
import type { ForkOrigin, StreamState, StreamStore } from "./store.ts";
import { durableStreamStub } from "./stub.ts";

/** `info`: the source's. */
export type TakenFork =
  | { readonly ok: true; readonly origin: ForkOrigin; readonly info: StreamInfo }
  | { readonly ok: false; readonly code: ForkRefusal };

/**
 * The references that this object's stream has on others. One is owed back from before it is asked for until the fork
 * exists, so that none stays on a source for a fork that never came to be.
 */
export class ForkLinks {
  readonly #store: StreamStore;
  readonly #namespace: DurableObjectNamespace;
  /** Asked for right now: not to be given back. */
  readonly #taking = new Set<string>();

  constructor(store: StreamStore, namespace: DurableObjectNamespace) {
    this.#store = store;
    this.#namespace = namespace;
  }

  get isTaking(): boolean {
    return this.#taking.size > 0;
  }

  /** Takes a reference on the source. Call {@link release} when the fork exists, or never will. */
  async take(forkId: string, { source, position, subOffset }: ForkRequest, contentType: string | null): Promise<TakenFork> {
    this.#taking.add(forkId);
    this.#store.oweFork(forkId, source);
    const added = await durableStreamStub(this.#namespace, source).addFork({ forkId, position, subOffset, contentType });
    if (!added.ok) {
      this.#store.settleFork(forkId);
      return added;
    }
    const { incarnation } = added.info;
    const origin = { forkId, source, incarnation, position: added.position, askedPosition: position, askedSubOffset: subOffset };
    return { ok: true, origin, info: added.info };
  }

  release(forkId: string): void {
    this.#taking.delete(forkId);
  }

  /** Gives back what is owed; what fails stays owed. */
  async giveBack(): Promise<void> {
    for (const { forkId, source } of this.#store.owedForks()) {
      if (this.#taking.has(forkId)) continue;
      try {
        await durableStreamStub(this.#namespace, source).removeFork(forkId);
        this.#store.settleFork(forkId);
      } catch (error) {
        log("warn", "durable-stream.fork-not-given-back", describeError(error));
      }
    }
  }
}

/** The part of `[from, to)` that is the source's; null when there is none at `from`. */
export function inheritedOf({ fork }: StreamState, from: number, to: number): Inherited | null {
  if (fork === null || from >= fork.position || from >= to) return null;
  return { source: fork.source, incarnation: fork.incarnation, from, to: Math.min(fork.position, to) };
}
