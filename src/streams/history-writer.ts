import type { AttemptRecord, Verdict } from "../delivery/outcome.ts";
import { describeError, log } from "../log.ts";
import { HistoryFeed, openRecord, settledRecord } from "./history-feed.ts";
import type { HistoryBatch, HistoryDelivery } from "./history-records.ts";
import type { OpenDelivery, Settled } from "./outbox.ts";
import type { LogEntry } from "./segment-log.ts";
import type { UntoldEnds } from "./untold-ends.ts";

const DELAY_MS = 300;
const MAX_DELAY_MS = 30_000;
/** Ends that are told again with one batch. */
const UNTOLD_AT_ONCE = 1_000;

/** A message of the log with its deliveries as they stand. */
export type Retold = { readonly entry: LogEntry; readonly deliveries: readonly HistoryDelivery[] };

/** What the writer takes from its stream. */
export type HistoryWorld = {
  readonly stream: () => string;
  readonly write: (batch: HistoryBatch) => Promise<void>;
  readonly inBackground: (promise: Promise<unknown>) => void;
  /** Told when {@link HistoryWriter.writtenBefore} moved on. */
  readonly onWritten: () => void;
  /** First attempts before this offset have ended, or have a row. */
  readonly settledBefore: () => number;
  /** Some messages from an offset on, and where the next ones begin; null at the end of the log. */
  readonly retell: (fromOffset: number) => { readonly retold: readonly Retold[]; readonly nextOffset: number | null };
  readonly untold: UntoldEnds;
};

/**
 * Carries a stream's history to D1: in bulk, a moment later, one batch at a time and in order. What a kill took from
 * its memory, or what D1 was away too long for, it tells again: of first attempts from the log, up to `writtenBefore`,
 * and of all others from the ends that are untold.
 */
export class HistoryWriter {
  readonly #feed = new HistoryFeed();
  readonly #world: HistoryWorld;
  #timer: ReturnType<typeof setTimeout> | null = null;
  #delayMs = DELAY_MS;
  #writing: Promise<void> | null = null;
  #writtenBefore: number;
  /** Every message before it has been fed, or is told again. */
  #fedBefore: number;
  /** From here on messages are told again; null when there is none left. */
  #retellFrom: number | null;
  #hasUntold: boolean;
  /** Of what was told. */
  #latestMs = 0;

  /** Begins where a process before it may have ended: what D1 knows for certain are the messages before `writtenBefore`. */
  constructor(world: HistoryWorld, writtenBefore: number, nextOffset: number) {
    this.#world = world;
    this.#writtenBefore = writtenBefore;
    this.#fedBefore = nextOffset;
    this.#retellFrom = writtenBefore < nextOffset ? writtenBefore : null;
    this.#hasUntold = !world.untold.isEmpty;
  }

  /** Of every message before it D1 knows that it came, and how those of its deliveries ended that never had a row. */
  get writtenBefore(): number {
    return this.#writtenBefore;
  }

  /** Whether D1 has been told everything. */
  get isIdle(): boolean {
    return this.#feed.isEmpty && this.#retellFrom === null && !this.#hasUntold;
  }

  /** Takes messages just committed; all their deliveries are open. */
  committed(entries: readonly LogEntry[], nowMs: number): void {
    for (const entry of entries) {
      const { offset, id: messageId, timeMs: messageTimeMs } = entry;
      const deliveries = [...entry.endpointIds, ...entry.orderedIds].map((endpointId) =>
        openRecord({ offset, endpointId, messageId, messageTimeMs }, nowMs, messageTimeMs),
      );
      this.#tell({ entry, deliveries });
      this.#fedBefore = offset + 1;
    }
    this.schedule();
  }

  opened(delivery: OpenDelivery, nextAttemptAtMs: number, nowMs: number): void {
    this.#feed.delivery(openRecord(delivery, nextAttemptAtMs, this.#inOrder(nowMs)));
  }

  settled(delivery: Settled, verdict: Verdict, nowMs: number): void {
    const record = settledRecord(delivery, verdict, this.#inOrder(nowMs));
    const isTold = this.#feed.delivery(record);
    if (record.status === "open") return;
    // The log says that a first attempt came to its end, not which: it stands for the one that nearly all have.
    if (delivery.hadRow || record.status !== "delivered") {
      this.#world.untold.add(record);
      this.#hasUntold ||= !isTold;
    } else if (!isTold) {
      this.#retellFrom = Math.min(delivery.offset, this.#retellFrom ?? delivery.offset);
    }
  }

  /** @param by the endpoint that was attempted, where the target is not one */
  attempt({ messageId, offset, endpointId }: OpenDelivery, record: AttemptRecord, by?: string): void {
    this.#feed.attempt({ messageId, offset, endpointId, record, ...(by === undefined ? {} : { by }) });
  }

  schedule(): void {
    if (this.#timer !== null || this.isIdle) return;
    this.#timer = setTimeout(() => {
      this.#timer = null;
      this.#world.inBackground(this.flush());
    }, this.#delayMs);
  }

  /** Resolves when what is in the feed now is in D1, or stays in the feed because D1 did not take it. */
  async flush(): Promise<void> {
    while (this.#writing !== null) await this.#writing;
    if (this.isIdle) return;
    this.#writing = this.#writeBatch().finally(() => (this.#writing = null));
    await this.#writing;
  }

  async #writeBatch(): Promise<void> {
    this.#tellAgain();
    const before = Math.min(this.#fedBefore, this.#retellFrom ?? this.#fedBefore, this.#world.settledBefore());
    const stream = this.#world.stream();
    const batch = this.#feed.take(stream);
    try {
      await this.#world.write(batch);
      this.#writtenBefore = Math.max(before, this.#writtenBefore);
      this.#world.untold.told(batch.deliveries);
      this.#delayMs = DELAY_MS;
      this.#world.onWritten();
    } catch (error) {
      this.#feed.putBack(batch);
      this.#delayMs = Math.min(this.#delayMs * 2, MAX_DELAY_MS);
      log("warn", "history.write-failed", { stream, error: describeError(error) });
    }
    this.schedule();
  }

  /** A time that is not before what was told last, though the clock be set back: the newer record is the one that holds. */
  #inOrder(nowMs: number): number {
    this.#latestMs = Math.max(nowMs, this.#latestMs);
    return this.#latestMs;
  }

  /** Fills the feed with some of what was lost or left out, as far as there is room for it. */
  #tellAgain(): void {
    if (!this.#feed.hasRoom) return;
    if (this.#hasUntold) {
      const ends = this.#world.untold.some(UNTOLD_AT_ONCE);
      for (const end of ends) this.#feed.delivery(end);
      this.#hasUntold = ends.length === UNTOLD_AT_ONCE;
    }
    if (this.#retellFrom === null) return;
    const { retold, nextOffset } = this.#world.retell(this.#retellFrom);
    this.#retellFrom = nextOffset;
    for (const one of retold) this.#tell(one);
  }

  #tell({ entry, deliveries }: Retold): void {
    const told = [this.#feed.message(entry), ...deliveries.map((delivery) => this.#feed.delivery(delivery))];
    if (!told.every(Boolean)) this.#retellFrom = Math.min(entry.offset, this.#retellFrom ?? entry.offset);
  }
}
