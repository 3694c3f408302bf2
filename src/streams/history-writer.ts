import type { DeliveryResult } from "../delivery/outcome.ts";
import { describeError, log } from "../log.ts";
import { AttemptPacker, isFoundByMessage, packWithoutResponses } from "../storage/attempt-pack.ts";
import { HistoryFeed, keyOf, openRecord, settledRecord } from "./history-feed.ts";
import { type HistorySource, nextStretch, packEach, type Packed, packStretch, type Stretch } from "./history-packing.ts";
import { attemptKey, type DeliveryRecord, type HistoryAttempt, type HistoryBatch, type HistoryDelivery } from "./history-records.ts";
import type { OpenDelivery, Settled } from "./outbox.ts";
import { parseStreamName } from "./ref.ts";
import { Takers } from "./takers.ts";
import type { UntoldEnds } from "./untold-ends.ts";

const DELAY_MS = 300;
/** After a batch of many messages: fewer, larger packs are fewer rows. */
const BUSY_DELAY_MS = 600;
/** While there is more to tell than one batch takes: others have a turn in between. */
const CATCH_UP_DELAY_MS = 20;
const BUSY_MESSAGES = 20;
/** While first attempts are waited for. */
const WAITING_DELAY_MS = 150;
const MAX_DELAY_MS = 30_000;
/** Ends that are told again with one batch. */
const UNTOLD_AT_ONCE = 1_000;

/** What the writer takes from its stream. */
export type HistoryWorld = HistorySource & {
  readonly stream: () => string;
  readonly write: (batch: HistoryBatch) => Promise<void>;
  readonly inBackground: (promise: Promise<unknown>) => void;
  /** Told when {@link HistoryWriter.writtenBefore} moved on. */
  readonly onWritten: () => void;
  /** First attempts before this offset have ended, or have a row. */
  readonly settledBefore: () => number;
  /** Whether history is to have what was delivered at once as well. */
  readonly keepsSuccesses: () => boolean;
  readonly untold: UntoldEnds;
};

/** A batch on its way, the same until D1 has taken it; after that every message before `before` is told. */
type Prepared = { readonly batch: HistoryBatch; readonly before: number; readonly nextDelayMs: number };

type Outcome = Pick<DeliveryResult, "verdict" | "attempt" | "by">;

/**
 * Carries a stream's history to D1: in bulk, a moment later, one batch at a time and in order. It reads messages from
 * the log, once their first attempts have ended, up to `writtenBefore`; so what a kill took from its memory, or what D1
 * was away too long for, is told from the disk: who a message was for and what is open of it, and how deliveries with a
 * row of their own ended, from the ends that are untold. Only attempts are in memory alone.
 */
export class HistoryWriter {
  readonly #feed = new HistoryFeed();
  readonly #attempts = new AttemptPacker();
  readonly #takers = new Takers();
  readonly #world: HistoryWorld;
  /** Packs of messages before it may be in D1 already, from a process before this one. */
  readonly #mayBeThereBefore: number;
  #timer: ReturnType<typeof setTimeout> | null = null;
  #delayMs = DELAY_MS;
  #prepared: Prepared | null = null;
  #writing: Promise<void> | null = null;
  #writtenBefore: number;
  /** D1 may have a row of deliveries of messages before it. */
  #rowsBefore: number;
  #hasUntold: boolean;
  /** Messages that a record was told of, where not all messages are. */
  readonly #mentioned = new Set<number>();
  /** Deliveries that were told before their messages, with those messages' offsets: what was told says more than their rows. */
  readonly #toldAhead = new Map<string, number>();
  #lastNumber = 0;
  /** Of what was told. */
  #latestMs = 0;

  /** Begins where a process before it may have ended: what D1 knows for certain are the messages before `writtenBefore`. */
  constructor(world: HistoryWorld, writtenBefore: number) {
    this.#world = world;
    this.#writtenBefore = writtenBefore;
    this.#rowsBefore = world.log.nextOffset;
    this.#mayBeThereBefore = world.log.nextOffset;
    this.#hasUntold = !world.untold.isEmpty;
  }

  /** Of every message before it D1 knows that it came, and how those of its deliveries ended that never had a row. */
  get writtenBefore(): number {
    return this.#writtenBefore;
  }

  /** Every message before it is needed no more: whatever happened to it was told. */
  get toldBefore(): number {
    const offsets = [this.#world.untold.lowestOffset(), this.#feed.lowestOffset(), ...this.#mentioned];
    for (const { offset } of this.#prepared?.batch.deliveries ?? []) offsets.push(offset);
    return offsets.reduce<number>((lowest, offset) => Math.min(lowest, offset ?? lowest), this.#writtenBefore);
  }

  /** Whether D1 has been told everything. */
  get isIdle(): boolean {
    const isTold = this.#prepared === null && this.#feed.isEmpty && this.#attempts.isEmpty && !this.#hasUntold;
    return isTold && this.#writtenBefore >= this.#world.log.nextOffset;
  }

  opened(delivery: OpenDelivery, nextAttemptAtMs: number, nowMs: number): void {
    this.#feed.tell(openRecord(delivery, nextAttemptAtMs, this.#inOrder(nowMs)));
  }

  settled(delivery: Settled, { verdict, attempt, by }: Outcome, nowMs: number): void {
    const { offset, messageId, endpointId } = delivery;
    const made: HistoryAttempt | null =
      attempt === undefined ? null : { messageId, offset, endpointId, record: attempt, ...(by === undefined ? {} : { by }) };
    if (this.#goesWithoutSaying(delivery, verdict.status, made)) {
      if (made !== null && this.#world.keepsSuccesses()) this.#keep(made);
      return;
    }
    const record = settledRecord(delivery, verdict, this.#inOrder(nowMs));
    const isTold = this.#feed.tell(record, made === null ? undefined : attemptKey(made));
    if (made !== null) this.#keep(made);
    if (record.status === "open" || (!delivery.hadRow && record.status === "delivered")) return;
    this.#world.untold.add(record);
    this.#hasUntold ||= !isTold;
  }

  /** Forgets what was answered to attempts at this message, as far as D1 does not have it. */
  forgetResponses(offset: number): void {
    this.#attempts.forgetResponses(offset);
    if (this.#prepared === null) return;
    const { batch, ...rest } = this.#prepared;
    this.#prepared = { ...rest, batch: { ...batch, attempts: batch.attempts.map((pack) => packWithoutResponses(pack, offset)) } };
  }

  schedule(): void {
    if (this.#timer !== null || this.isIdle) return;
    this.#timer = setTimeout(() => {
      this.#timer = null;
      this.#world.inBackground(this.flush());
    }, this.#delayMs);
  }

  /** Resolves when what there is to tell now is in D1, or waits because D1 did not take it. */
  async flush(): Promise<void> {
    while (this.#writing !== null) await this.#writing;
    this.#writing = this.#writeBatches().finally(() => (this.#writing = null));
    await this.#writing;
    this.schedule();
  }

  /**
   * Whether the pack of its message says all there is to say: delivered at once, and nothing else was ever told of it.
   * Of a delivery that has no row nothing was, for its message waits for it.
   */
  #goesWithoutSaying(delivery: Settled, status: DeliveryRecord["status"] | "held", made: HistoryAttempt | null): boolean {
    if (status !== "delivered") return false;
    if (made !== null && !isFoundByMessage(delivery.messageTimeMs, made.record.startedAtMs)) return false;
    if (!delivery.hadRow) return true;
    return delivery.isOrdered && delivery.offset >= this.#rowsBefore && !this.#feed.has(delivery);
  }

  #keep(made: HistoryAttempt): void {
    this.#attempts.add(made);
    if (made.by !== undefined) this.#takers.add(made.by, made.offset);
  }

  /** What D1 did not take before comes first. */
  async #writeBatches(): Promise<void> {
    if (this.#prepared !== null && !(await this.#write(this.#prepared))) return;
    this.#prepared = this.#prepare();
    if (this.#prepared !== null) await this.#write(this.#prepared);
  }

  /** What there is to tell; null when that is nothing yet. */
  #prepare(): Prepared | null {
    this.#tellAgain();
    const { log: messages, settledBefore } = this.#world;
    const from = Math.max(this.#writtenBefore, messages.earliestOffset);
    const to = Math.max(from, settledBefore());
    const nowMs = this.#inOrder(Date.now());
    const stretch = nextStretch(this.#world, from, to, nowMs);
    const batch = this.#batchOf(stretch, nowMs);
    const count = stretch.before - from;
    const isEmpty = batch.messages.length + batch.deliveries.length + batch.attempts.length === 0 && batch.beganAtMs === null;
    if (!isEmpty) {
      const nextDelayMs = stretch.before < to ? CATCH_UP_DELAY_MS : count >= BUSY_MESSAGES ? BUSY_DELAY_MS : DELAY_MS;
      return { batch, before: stretch.before, nextDelayMs };
    }
    this.#writtenBefore = stretch.before;
    this.#delayMs = count === 0 ? WAITING_DELAY_MS : DELAY_MS;
    return null;
  }

  #batchOf(stretch: Stretch, nowMs: number): HistoryBatch {
    const { from, before } = stretch;
    const stream = this.#world.stream();
    const { tenantId, name } = parseStreamName(stream);
    const told = this.#feed.take();
    const deliveries = withOthers(told, stretch.deliveries.filter((row) => !this.#toldAhead.has(keyOf(row))));
    this.#noteAhead(told, before);
    const packed = this.#pack(stretch, deliveries);
    this.#takers.forgetBefore(before);
    this.#rowsBefore = deliveries.reduce((highest, { offset }) => Math.max(highest, offset + 1), Math.max(this.#rowsBefore, before));
    return {
      tenantId,
      stream,
      topic: name,
      beganAtMs: from === 0 && before > 0 ? this.#world.log.oldestTimeMs() : null,
      messages: packed.packs,
      replaces: this.#world.keepsSuccesses() && from < this.#mayBeThereBefore,
      ids: packed.ids,
      deliveries,
      attempts: this.#attempts.take(() => this.#nextNumber(nowMs)),
    };
  }

  /** Of the messages that are still to be told, the deliveries that are told already. */
  #noteAhead(told: readonly HistoryDelivery[], before: number): void {
    for (const [key, offset] of this.#toldAhead) if (offset < before) this.#toldAhead.delete(key);
    for (const record of told) if (record.offset >= before) this.#toldAhead.set(keyOf(record), record.offset);
  }

  /** All messages of the stretch, or those that a record is of: once their other first attempts have ended as well. */
  #pack(stretch: Stretch, records: readonly HistoryDelivery[]): Packed {
    const takers = this.#takers.names();
    if (this.#world.keepsSuccesses()) return packStretch(this.#world, stretch, takers);
    for (const { offset } of records) this.#mentioned.add(offset);
    const told = [...this.#mentioned].filter((offset) => offset < stretch.before);
    for (const offset of told) this.#mentioned.delete(offset);
    return packEach(this.#world, told, takers);
  }

  /** Whether D1 took it. */
  async #write({ batch, before, nextDelayMs }: Prepared): Promise<boolean> {
    try {
      await this.#world.write(batch);
    } catch (error) {
      this.#delayMs = Math.min(Math.max(this.#delayMs, DELAY_MS) * 2, MAX_DELAY_MS);
      log("warn", "history.write-failed", { stream: batch.stream, error: describeError(error) });
      return false;
    }
    this.#prepared = null;
    this.#writtenBefore = before;
    this.#world.untold.told(batch.deliveries);
    this.#delayMs = nextDelayMs;
    this.#world.onWritten();
    return true;
  }

  /** Fills the feed with some of what was lost or left out, as far as there is room for it. */
  #tellAgain(): void {
    if (!this.#hasUntold || !this.#feed.hasRoom) return;
    const ends = this.#world.untold.some(UNTOLD_AT_ONCE);
    for (const end of ends) this.#feed.tell(end);
    this.#hasUntold = ends.length === UNTOLD_AT_ONCE;
  }

  /** A time that is not before what was told last, though the clock be set back: the newer record is the one that holds. */
  #inOrder(nowMs: number): number {
    this.#latestMs = Math.max(nowMs, this.#latestMs);
    return this.#latestMs;
  }

  #nextNumber(nowMs: number): number {
    this.#lastNumber = Math.max(nowMs, this.#lastNumber + 1);
    return this.#lastNumber;
  }
}

/** What was told of a delivery goes before what its row says. */
function withOthers(told: readonly DeliveryRecord[], rows: readonly HistoryDelivery[]): readonly DeliveryRecord[] {
  if (rows.length === 0) return told;
  const known = new Set(told.map(keyOf));
  const others = rows.filter((row) => !known.has(keyOf(row)));
  return [...told, ...others.map((record) => ({ ...record, attemptKeys: [] }))];
}
