import { attemptPush, type PushContext, type PushTask } from "./attempt-push.ts";
import type { Slot, SlotRefusal } from "./attempt-slots.ts";
import { withPermit } from "./cap-concurrency.ts";
import { CACHE_MAX_AGE_MS } from "./freshness.ts";
import type { Verdict } from "./outcome.ts";
import type { SendSpacing } from "./send-spacing.ts";

type CrewContext = PushContext & {
  /** When the endpoints were read. */
  readonly readAtMs: number;
  readonly spacing: SendSpacing;
};

const NO_ROOM_DELAY_MS = 1_000;
/** How often room is looked for again: others' attempts end, and those that turn slow make room without ending. */
const RECHECK_ROOM_MS = 5;
/** How long room is looked for before a message goes to the queue; as long as an attempt takes at least to turn slow. */
const MAX_ROOM_WAIT_MS = 300;
const ENDPOINT_BUSY_DELAY_MS = 2_000;

/**
 * Makes the pushes of one call, each as soon as there is room: looked for a short while, and for as long as this call
 * itself takes some up; a push that finds none is deferred without counting as an attempt.
 */
export class PushCrew {
  readonly #context: CrewContext;
  #running = 0;
  /** Told of the next attempt that ends. */
  #onEnd: (() => void) | null = null;

  constructor(context: CrewContext) {
    this.#context = context;
  }

  /** Resolves when the push is under way, or was deferred. */
  async start(task: PushTask): Promise<void> {
    if (task.endpoint.rateLimit !== null) await this.#keepApart(task.endpoint.id, task.endpoint.rateLimit);
    const slot = this.#tryAcquire(task) ?? (await this.#awaitRoom(task));
    if (typeof slot === "string") return this.#defer(task, slot);
    // Room took long to come: the endpoint may have been deleted meanwhile (I5).
    if (this.#isStale()) {
      slot.release();
      return this.#defer(task, "no-room");
    }
    void this.#attempt(task, slot);
  }

  /** Resolves when nothing is under way any more. */
  async done(): Promise<void> {
    while (this.#running > 0) await this.#nextEnd();
  }

  async #attempt(task: PushTask, slot: Slot): Promise<void> {
    this.#running++;
    await withPermit(task, this.#context.onResult, (onResult) => attemptPush(task, { ...this.#context, onResult }));
    slot.release();
    this.#running--;
    this.#onEnd?.();
    this.#onEnd = null;
  }

  /** What will not be sent takes no turn: those behind it would be late as well, and so on. */
  async #keepApart(endpointId: string, perSecond: number): Promise<void> {
    const { spacing, world } = this.#context;
    while (!this.#isStale()) {
      const waitMs = spacing.tryStart(endpointId, perSecond, world.now());
      if (waitMs === 0) return;
      await pause(waitMs);
    }
  }

  #isStale(): boolean {
    return this.#context.world.now() - this.#context.readAtMs >= CACHE_MAX_AGE_MS;
  }

  /** Null when there is no room right now. */
  #tryAcquire({ endpoint }: PushTask): Slot | "endpoint-busy" | null {
    const slot = this.#context.slots.tryAcquire(endpoint.id, this.#context.world.now());
    return slot === "no-room" ? null : slot;
  }

  async #awaitRoom(task: PushTask): Promise<Slot | SlotRefusal> {
    const { world } = this.#context;
    for (const startedAtMs = world.now(); ; ) {
      if (world.now() - startedAtMs > MAX_ROOM_WAIT_MS && this.#running === 0) return "no-room";
      // Never another request's promise, only time and attempts of our own.
      await (this.#running === 0 ? pause(RECHECK_ROOM_MS) : Promise.race([this.#nextEnd(), pause(RECHECK_ROOM_MS)]));
      const slot = this.#tryAcquire(task);
      if (slot !== null) return slot;
    }
  }

  #nextEnd(): Promise<void> {
    return new Promise((resolve) => {
      const before = this.#onEnd;
      this.#onEnd = () => {
        before?.();
        resolve();
      };
    });
  }

  async #defer(task: PushTask, refusal: SlotRefusal): Promise<void> {
    const { message, claim: { endpointId } } = task;
    const { world, onResult } = this.#context;
    await task.leave?.();
    const delayMs = refusal === "no-room" ? NO_ROOM_DELAY_MS : ENDPOINT_BUSY_DELAY_MS;
    const nextAttemptAtMs = Math.round(world.now() + delayMs * (0.5 + world.random()));
    const verdict: Verdict = { status: "open", nextAttemptAtMs, counted: false, ...(refusal === "endpoint-busy" ? { busy: true } : {}) };
    onResult({ offset: message.offset, endpointId, verdict });
  }
}

export function pause(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}
