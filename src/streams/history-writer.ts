import { describeError, log } from "../log.ts";
import { HistoryFeed } from "./history-feed.ts";
import type { HistoryBatch } from "./history-records.ts";
import type { LogEntry } from "./segment-log.ts";

const DELAY_MS = 300;
const MAX_DELAY_MS = 30_000;

/** What the writer takes from its stream. */
export type HistoryWorld = {
  readonly stream: () => string;
  readonly write: (batch: HistoryBatch) => Promise<void>;
  readonly inBackground: (promise: Promise<unknown>) => void;
  /** Told when {@link HistoryWriter.writtenBefore} moved on. */
  readonly onWritten: () => void;
};

/** Carries a stream's history to D1: in bulk, a moment later, one batch at a time and in order. */
export class HistoryWriter {
  readonly feed = new HistoryFeed();
  readonly #world: HistoryWorld;
  #timer: ReturnType<typeof setTimeout> | null = null;
  #delayMs = DELAY_MS;
  #writing: Promise<void> | null = null;
  #writtenBefore: number;
  #fedBefore: number;

  /** Every message before `writtenBefore` is in D1, every one before `fedBefore` need not be told any more. */
  constructor(world: HistoryWorld, writtenBefore: number, fedBefore: number) {
    this.#world = world;
    this.#writtenBefore = writtenBefore;
    this.#fedBefore = fedBefore;
  }

  get writtenBefore(): number {
    return this.#writtenBefore;
  }

  /** Takes messages just committed; all their deliveries are open. */
  committed(entries: readonly LogEntry[], nowMs: number): void {
    for (const entry of entries) {
      this.feed.message(entry);
      const { offset, id: messageId, timeMs: messageTimeMs } = entry;
      for (const endpointId of [...entry.endpointIds, ...entry.orderedIds]) {
        this.feed.opened({ offset, endpointId, messageId, messageTimeMs }, nowMs, messageTimeMs);
      }
      this.#fedBefore = offset + 1;
    }
    this.schedule();
  }

  /**
   * Tells again, after a restart, what history may have missed: a delivery before the checkpoint without a row was
   * delivered, unless history knows better; what was written of it before is newer than the time given here.
   */
  retell(entry: LogEntry): void {
    this.feed.message(entry);
    const { offset, id: messageId, timeMs: messageTimeMs } = entry;
    for (const endpointId of [...entry.endpointIds, ...entry.orderedIds]) {
      this.feed.settled({ offset, endpointId, messageId, messageTimeMs }, { status: "delivered" }, messageTimeMs + 1);
    }
  }

  schedule(): void {
    if (this.#timer !== null || this.feed.isEmpty) return;
    this.#timer = setTimeout(() => {
      this.#timer = null;
      this.#world.inBackground(this.flush());
    }, this.#delayMs);
  }

  /** Resolves when what is in the feed now is in D1, or stays in the feed because D1 did not take it. */
  async flush(): Promise<void> {
    while (this.#writing !== null) await this.#writing;
    if (this.feed.isEmpty) return;
    this.#writing = this.#writeBatch().finally(() => (this.#writing = null));
    await this.#writing;
  }

  async #writeBatch(): Promise<void> {
    const before = this.#fedBefore;
    const stream = this.#world.stream();
    const batch = this.feed.take(stream);
    try {
      await this.#world.write(batch);
      if (!this.feed.hasGaps) this.#writtenBefore = before;
      this.#delayMs = DELAY_MS;
      this.#world.onWritten();
    } catch (error) {
      this.feed.putBack(batch);
      this.#delayMs = Math.min(this.#delayMs * 2, MAX_DELAY_MS);
      log("warn", "history.write-failed", { stream, error: describeError(error) });
      this.schedule();
    }
  }
}
