import { attemptPush, type PushContext, type PushTask } from "./attempt-push.ts";
import type { Slot, SlotRefusal } from "./attempt-slots.ts";
import { CACHE_MAX_AGE_MS } from "./freshness.ts";
import type { DeliveryResult, Verdict } from "./outcome.ts";
import type { SendSpacing } from "./send-spacing.ts";

type CrewContext = PushContext & {
  /** When the endpoints were read. */
  readonly readAtMs: number;
  readonly spacing: SendSpacing;
  /** Told, maybe again and again, that no push waits for this isolate: none waits for room, or those only whose endpoints are slow. */
  readonly onRoom: () => void;
};

/** A push that has its turn, in `delayMs`. */
export type DuePush = { readonly task: PushTask; readonly delayMs: number };

/** The pushes of one call to one endpoint, begun one after the other: what waits for its endpoint waits here (I6). */
type Row = {
  readonly pushes: readonly DuePush[];
  /** How many of them were begun, or deferred. */
  taken: number;
  /** Before this its next push is not tried. */
  dueAtMs: number;
  /** Its next push has its place in the spacing of its endpoint's requests. */
  isSpaced: boolean;
};

const NO_ROOM_DELAY_MS = 1_000;
/** How often room is looked for again: others' attempts end, and those that turn slow make room without ending. */
const RECHECK_ROOM_MS = 5;
/** Looks for room that took no longer than they should, one after the other, until it is not this isolate that is behind. */
const LOOKS_IN_TIME = 5;
const ENDPOINT_BUSY_DELAY_MS = 2_000;
/** Nothing has its turn further ahead than that. */
const MAX_AHEAD_MS = 2_000;

/**
 * Makes the pushes of one call, each as soon as there is room: looked for as long as what was read of the endpoints may
 * be used; a push that finds none is deferred without counting as an attempt. The endpoints take turns, and none waits
 * for what another one has to wait for.
 */
export class PushCrew {
  readonly #context: CrewContext;
  readonly #startedAtMs: number;
  readonly #deferring: Promise<void>[] = [];
  #rows: Row[] = [];
  #running = 0;
  #looksInTime = 0;
  /** Told of the next attempt that ends. */
  #onEnd: (() => void) | null = null;

  constructor(context: CrewContext) {
    this.#context = context;
    this.#startedAtMs = context.world.now();
  }

  /** Resolves when every push was made, or deferred. */
  async push(pushes: readonly DuePush[]): Promise<void> {
    for (const row of Map.groupBy(pushes, ({ task }) => task.endpoint.id).values()) {
      this.#rows.push({ pushes: row, taken: 0, dueAtMs: this.#dueAtMs(row[0]), isSpaced: false });
    }
    while (this.#rows.length > 0) {
      const isRoomWanted = this.#beginWhatMay();
      if (!isRoomWanted || this.#looksInTime >= LOOKS_IN_TIME) this.#context.onRoom();
      if (this.#isStale()) this.#deferRest();
      else if (this.#rows.length > 0) await this.#nextChance(isRoomWanted);
    }
    this.#context.onRoom();
    while (this.#running > 0) await this.#nextEnd();
    await Promise.all(this.#deferring);
  }

  /** The rows take turns until none can go on. Whether any of them wants more room than there is. */
  #beginWhatMay(): boolean {
    const rows = this.#rows;
    const waiting: Row[] = [];
    let isRoomWanted = false;
    let tried = 0;
    // What goes on is put behind the others, where it is come to again.
    for (const row of rows) {
      const turn = this.#tryNext(row);
      if (turn === "no-room" || turn === "endpoint-full") isRoomWanted = true;
      if (turn === "no-room") break;
      tried++;
      if (turn !== "taken") waiting.push(row);
      else if (row.taken < row.pushes.length) rows.push(row);
    }
    this.#rows = [...rows.slice(tried), ...waiting];
    return isRoomWanted;
  }

  #tryNext(row: Row): "taken" | "not-due" | "no-room" | "endpoint-full" {
    const { slots, spacing, world } = this.#context;
    const task = row.pushes[row.taken]?.task;
    const nowMs = world.now();
    // What will not be sent takes no turn of its endpoint's rate: those behind it would be late as well, and so on.
    if (task === undefined || this.#isEarly(row, nowMs) || this.#isStale()) return "not-due";
    const { id, rateLimit } = task.endpoint;
    if (rateLimit !== null && !row.isSpaced) {
      const waitMs = spacing.tryStart(id, rateLimit, nowMs);
      if (waitMs > 0) {
        row.dueAtMs = nowMs + waitMs;
        return "not-due";
      }
      row.isSpaced = true;
    }
    const slot = slots.tryAcquire(id, nowMs);
    if (slot === "no-room" || slot === "endpoint-full") return slot;
    row.taken++;
    row.isSpaced = false;
    row.dueAtMs = this.#dueAtMs(row.pushes[row.taken]);
    if (slot === "endpoint-busy") this.#deferring.push(this.#deferTask(task, slot));
    else void this.#attempt(task, slot);
    return "taken";
  }

  /** What is due further ahead than anything can be is due now: the clock was set back. */
  #isEarly({ dueAtMs }: Row, nowMs: number): boolean {
    return nowMs < dueAtMs && dueAtMs - nowMs <= MAX_AHEAD_MS;
  }

  #dueAtMs(push: DuePush | undefined): number {
    return this.#startedAtMs + (push?.delayMs ?? 0);
  }

  async #attempt(task: PushTask, slot: Slot): Promise<void> {
    this.#running++;
    await (task.leave === undefined ? attemptPush(task, this.#context) : this.#attemptWithPermit(task, task.leave));
    slot.release();
    this.#running--;
    this.#onEnd?.();
    this.#onEnd = null;
  }

  /** The permit is given back before the result is told: another may be sent for it at once. */
  async #attemptWithPermit(task: PushTask, leave: () => Promise<void>): Promise<void> {
    const results: DeliveryResult[] = [];
    await attemptPush(task, { ...this.#context, onResult: (result) => results.push(result) });
    await leave();
    for (const result of results) this.#context.onResult(result);
  }

  /** Room, or a turn, took long to come: an endpoint may have been deleted meanwhile (I5). */
  #isStale(): boolean {
    return this.#context.world.now() - this.#context.readAtMs >= CACHE_MAX_AGE_MS;
  }

  /** Never waits for another request's promise, only for time and attempts of our own. */
  async #nextChance(isRoomWanted: boolean): Promise<void> {
    if (!isRoomWanted) return pause(Math.min(MAX_AHEAD_MS, ...this.#rows.map(({ dueAtMs }) => dueAtMs - this.#context.world.now())));
    const beforeMs = this.#context.world.now();
    await (this.#running === 0 ? pause(RECHECK_ROOM_MS) : Promise.race([this.#nextEnd(), pause(RECHECK_ROOM_MS)]));
    const tookMs = this.#context.world.now() - beforeMs;
    if (tookMs >= RECHECK_ROOM_MS) this.#looksInTime = tookMs < 2 * RECHECK_ROOM_MS ? this.#looksInTime + 1 : 0;
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

  #deferRest(): void {
    for (const { pushes, taken } of this.#rows) {
      for (const { task } of pushes.slice(taken)) this.#deferring.push(this.#deferTask(task, "no-room"));
    }
    this.#rows = [];
  }

  async #deferTask(task: PushTask, refusal: SlotRefusal): Promise<void> {
    const { message, claim: { endpointId } } = task;
    const { world, onResult } = this.#context;
    await task.leave?.();
    const delayMs = refusal === "endpoint-busy" ? ENDPOINT_BUSY_DELAY_MS : NO_ROOM_DELAY_MS;
    const nextAttemptAtMs = Math.round(world.now() + delayMs * (0.5 + world.random()));
    const verdict: Verdict = { status: "open", nextAttemptAtMs, counted: false, ...(refusal === "endpoint-busy" ? { busy: true } : {}) };
    onResult({ offset: message.offset, endpointId, verdict });
  }
}

function pause(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}
