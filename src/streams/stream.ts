import { DurableObject } from "cloudflare:workers";
import type { DeliveryRef, DeliveryResult } from "../delivery/outcome.ts";
import { isolateOf } from "../isolate.ts";
import { describeError, log } from "../log.ts";
import { tellCircuit } from "../operator-events/circuits.ts";
import { allOrNothing } from "./all-or-nothing.ts";
import { archiveBucketOf } from "./archive-bucket.ts";
import { SegmentArchive } from "./archive.ts";
import { ChosenIds } from "./chosen-ids.ts";
import type {
  Append, AppendResult, Content, DeliveryJob, LogDescription, ReplayRequest, ReplayStarted, RetentionSettings, StreamApi, Work,
} from "./contract.ts";
import { FirstAttempts } from "./first-attempts.ts";
import { FlowRunner } from "./flow-runner.ts";
import { HistoryWriter } from "./history-writer.ts";
import type { HistoryBatch } from "./history-records.ts";
import { type Due, jobsFor, sendJobs } from "./jobs.ts";
import { laneOf } from "./lanes.ts";
import { LogReader } from "./log-reader.ts";
import type { LogReadRequest, LogReadResult } from "./log-reading.ts";
import { ObjectAlarm } from "./object-alarm.ts";
import { reopening } from "./open-row.ts";
import { Outbox, SWEEP_GRACE_MS } from "./outbox.ts";
import { ReplayRunner } from "./replay-runner.ts";
import type { Replayed } from "./replays.ts";
import { Retention } from "./retention.ts";
import { createTables } from "./schema.ts";
import { type LogEntry, MAX_LOGGED_TARGETS, SegmentLog } from "./segment-log.ts";
import { Sequencer } from "./sequencer.ts";
import { delivererOf } from "./stub.ts";
import { tellHistory } from "./tell-history.ts";
import { UntoldEnds } from "./untold-ends.ts";

/** While anything is open, the object wakes at least this often, also after the process was killed. */
const WATCH_INTERVAL_MS = 5_000;
/** After a restart: time for attempts that outlived it to report, before they are made again. */
const RECOVERY_DELAY_MS = 2_000;
/** Settled first attempts are made durable by the next commit, or after this long. */
const CHECKPOINT_DELAY_MS = 1_000;
/** After a commit as recent as this another one is to be expected, which brings the checkpoint along. */
const COMMITS_FOLLOW_MS = 500;
const SWEEP_LIMIT = 2_000;

/** What results lead to: deliveries to be sent for again, and endpoints whose held ones may flow. */
type Consequences = { readonly due: readonly Due[]; readonly answering: ReadonlySet<string> };

/**
 * One stream of one tenant: its sequencer, durable log and outbox. A message is accepted when it is on disk here;
 * its first attempts are handed to the deliverer in groups, retries travel the queue, and the alarm finds whatever
 * was lost on the way. Method shapes and errors: `StreamApi`.
 */
export class Stream extends DurableObject<Cloudflare.Env> implements StreamApi {
  readonly #log: SegmentLog;
  readonly #archive: SegmentArchive;
  readonly #reader: LogReader;
  readonly #outbox: Outbox;
  readonly #chosenIds: ChosenIds;
  readonly #retention: Retention;
  readonly #replays: ReplayRunner;
  readonly #history: HistoryWriter;
  readonly #sequencer: Sequencer;
  readonly #firstAttempts: FirstAttempts;
  readonly #flow: FlowRunner;
  #name: string | null;
  readonly #alarm: ObjectAlarm;
  #checkpointTimer: ReturnType<typeof setTimeout> | null = null;

  constructor(ctx: DurableObjectState, env: Cloudflare.Env) {
    super(ctx, env);
    const { sql, kv } = ctx.storage;
    createTables(sql);
    this.#alarm = new ObjectAlarm(ctx);
    this.#log = new SegmentLog(sql);
    this.#archive = new SegmentArchive({
      storage: ctx.storage,
      bucket: archiveBucketOf(env),
      stream: () => this.#stream(),
      afterMs: () => isolateOf(env).config.archiveAfterSeconds * 1000,
      workedOffBefore: () => Math.min(this.#neededFrom(), this.#history.toldBefore),
    });
    this.#reader = new LogReader(sql, this.#log, this.#archive);
    this.#outbox = new Outbox(sql);
    this.#chosenIds = new ChosenIds(sql);
    this.#retention = new Retention(kv, this.#log);
    this.#name = kv.get<string>("name") ?? null;
    const untold = new UntoldEnds(sql);
    const inBackground = (promise: Promise<unknown>): void => ctx.waitUntil(promise);
    const telling = { env, log: this.#log, untold, inBackground };
    const historyWorld = {
      stream: () => this.#stream(),
      write: (batch: HistoryBatch) => tellHistory(telling, batch),
      inBackground,
      onWritten: () => this.#scheduleCheckpoint(),
      settledBefore: () => this.#settledBefore(),
      keepsSuccesses: () => isolateOf(env).config.history === "full",
      log: this.#log,
      outbox: this.#outbox,
      untold,
    };
    const { settledBefore, historyBefore } = this.#log.checkpoint;
    this.#history = new HistoryWriter(historyWorld, Math.min(settledBefore, historyBefore));
    this.#replays = new ReplayRunner({ sql, log: this.#log, archive: this.#archive, history: this.#history, db: env.DB });
    const deliverer = delivererOf(ctx);
    const apply = (results: readonly DeliveryResult[]): void => this.#apply(results);
    this.#firstAttempts = new FirstAttempts(deliverer, apply);
    this.#sequencer = new Sequencer({
      ctx, log: this.#log, outbox: this.#outbox, chosenIds: this.#chosenIds,
      room: () => this.#firstAttempts.room(),
      checkpoint: () => this.#checkpointNow(),
      onWritten: () => this.#watch(null),
      onCommitted: (entries, bodies) => {
        this.#reader.wake();
        this.#startFirstAttempts(entries, bodies);
      },
    });
    this.#flow = new FlowRunner({
      sql, log: this.#log, outbox: this.#outbox, deliverer, apply, inBackground,
      stream: () => this.#stream(),
      tell: (endpointId, circuit) => tellCircuit(env, this.#stream(), endpointId, circuit),
    });
    void ctx.blockConcurrencyWhile(async () => {
      await this.#alarm.load(Date.now());
      this.#recover();
    });
  }

  ping(): "pong" {
    return "pong";
  }

  async append(stream: string, appends: readonly Append[]): Promise<AppendResult> {
    this.#remember(stream);
    return this.#sequencer.append(appends);
  }

  async readLog(_stream: string, request: LogReadRequest): Promise<LogReadResult> {
    return this.#reader.read(request);
  }

  async claim(stream: string, refs: readonly DeliveryRef[]): Promise<readonly Work[]> {
    this.#remember(stream);
    const nowMs = Date.now();
    const work: Work[] = [];
    for (const [offset, refsOfMessage] of Map.groupBy(refs, (ref) => ref.offset)) {
      const found = this.#log.read(offset);
      if (found === null || found.entry.expunged) continue;
      const claims = this.#outbox.claim(this.#flow.admit(refsOfMessage, nowMs), nowMs);
      if (claims.length > 0) work.push({ message: found.message, claims });
    }
    this.#flow.pump(nowMs);
    return work;
  }

  async settle(stream: string, results: readonly DeliveryResult[]): Promise<void> {
    this.#remember(stream);
    this.#apply(results);
    this.#saveCheckpoint();
  }

  async reopen(stream: string, refs: readonly DeliveryRef[]): Promise<number> {
    this.#remember(stream);
    await this.#archive.bringBack(refs.map(({ offset }) => offset));
    const found: Replayed[] = [];
    for (const { offset, endpointId } of refs) {
      const [entry] = this.#log.entriesFrom(offset, 1);
      if (entry?.offset !== offset || entry.expunged) continue;
      const wasOrdered = entry.orderedIds.includes(endpointId) ? laneOf(entry, endpointId, entry.orderingKeys?.[endpointId]) : null;
      const lane = this.#outbox.laneOf({ offset, endpointId }) ?? wasOrdered;
      found.push({ entry, endpointId, ...(lane === null ? {} : { lane }) });
    }
    const nowMs = Date.now();
    this.#enqueue(this.#open(found, nowMs));
    this.#startAdvanced(nowMs);
    this.#history.schedule();
    return found.length;
  }

  async replay(stream: string, request: ReplayRequest): Promise<ReplayStarted> {
    const nowMs = Date.now();
    const started = this.#replays.start(request, nowMs);
    if (!started.ok || request.jobId === null) return started;
    this.#remember(stream);
    this.#alarm.set(nowMs);
    await this.#replays.report(stream, nowMs);
    return started;
  }

  async stopReplay(stream: string, jobId: string): Promise<void> {
    this.#replays.stop(jobId, Date.now());
    await this.#replays.report(stream, Date.now());
  }

  async destroy(_stream: string): Promise<void> {
    await this.#archive.destroy();
    await this.ctx.storage.deleteAlarm();
    await this.ctx.storage.deleteAll();
    await this.ctx.storage.sync();
    // What is in memory is of what was: the next call finds an object that is new.
    setTimeout(() => this.ctx.abort("destroyed"), 0);
  }

  async wake(stream: string): Promise<void> {
    this.#remember(stream);
    this.#watch(null);
  }

  async describe(_stream: string): Promise<LogDescription> {
    const { earliestOffset, nextOffset, bytes } = this.#log;
    return { earliestOffset, nextOffset, earliestTimeMs: this.#log.oldestTimeMs(), bytes };
  }

  async retain(stream: string, settings: RetentionSettings | null): Promise<void> {
    this.#remember(stream);
    this.#retention.change(settings);
    this.#alarm.set(this.#retention.nextTrimMs() ?? Number.POSITIVE_INFINITY);
  }

  async release(stream: string, endpointId: string): Promise<number> {
    this.#remember(stream);
    const count = this.#flow.release(endpointId, Date.now());
    this.#watch(null);
    return count;
  }

  async content(_stream: string, offset: number): Promise<Content> {
    return (await this.#archive.content(offset)) ?? this.#log.content(offset);
  }

  async expunge(stream: string, offset: number): Promise<boolean> {
    this.#remember(stream);
    await this.#archive.bringBack([offset]);
    const nowMs = Date.now();
    const cancelled = this.#outbox.cancelMessage(offset, nowMs);
    for (const delivery of cancelled) {
      this.#history.settled(delivery, { verdict: { status: "cancelled", reason: "The content was expunged." } }, nowMs);
    }
    this.#startAdvanced(nowMs);
    this.#history.forgetResponses(offset);
    this.#history.schedule();
    const isExpunged = this.#log.expunge(offset);
    await this.#archive.expunged();
    return isExpunged;
  }

  async purge(stream: string): Promise<number> {
    this.#remember(stream);
    const nowMs = Date.now();
    const cancelled = this.#outbox.cancelAll(nowMs);
    for (const delivery of cancelled) {
      this.#history.settled(delivery, { verdict: { status: "cancelled", reason: "The queue was purged." } }, nowMs);
    }
    this.#saveCheckpoint();
    this.#history.schedule();
    return cancelled.length;
  }

  async backlog(_stream: string): Promise<{ open: number; oldestTimeMs: number | null }> {
    return this.#outbox.backlog();
  }

  async flushHistory(stream: string): Promise<void> {
    this.#remember(stream);
    await this.#history.flush();
  }

  /** Finds what is overdue, asks held endpoints again, trims the log; then sets the next alarm. */
  override async alarm(): Promise<void> {
    this.#alarm.runs();
    const nowMs = Date.now();
    this.#outbox.spill(nowMs);
    const overdue = this.#outbox.sweep(nowMs, SWEEP_LIMIT);
    const probes = this.#outbox.probes(nowMs, (endpointId) => this.#flow.isFree(endpointId));
    const refs = [...this.#flow.admitSwept(overdue, nowMs), ...probes];
    this.#flow.pump(nowMs);
    const replayed = this.ctx.storage.transactionSync(() => this.#open(this.#replays.step(nowMs), nowMs));
    this.#startAdvanced(nowMs);
    this.#saveCheckpoint();
    this.#trim(nowMs);
    this.ctx.waitUntil(this.#archive.step(nowMs).then(() => this.#watch(null)));
    this.#watch(overdue.length === SWEEP_LIMIT ? nowMs : null);
    this.#enqueue([...refs.map((ref) => ({ ...ref, atMs: nowMs })), ...replayed]);
    await this.#history.flush();
    await this.#replays.fetchWanted();
    await this.#flow.report();
    await this.#replays.report(this.#stream(), nowMs);
  }

  #startFirstAttempts(entries: readonly LogEntry[], bodies: readonly Uint8Array[]): void {
    const nowMs = Date.now();
    this.#history.schedule();
    const admitted = this.#flow.admitFirst(entries, nowMs);
    const queued = this.#firstAttempts.start(this.#stream(), admitted, bodies, (offset, endpointIds) =>
      this.#outbox.claimFirst(offset, endpointIds, nowMs),
    );
    this.#enqueue(queued.map((ref) => ({ ...ref, atMs: nowMs })));
    this.#startAdvanced(nowMs);
    if (entries.some((entry) => entry.matched > MAX_LOGGED_TARGETS)) this.#alarm.set(nowMs);
    if (admitted !== entries) this.#flow.pump(nowMs);
  }

  /** Applies results and sends what is to be tried again. Durable with the next commit, or the next checkpoint. */
  #apply(results: readonly DeliveryResult[]): void {
    const nowMs = Date.now();
    // An end that is not told, or a lane without its next head, would stay so.
    const { due, answering } = allOrNothing(this.ctx, "settling", () => this.#settleEach(results, nowMs));
    for (const endpointId of answering) this.#flow.release(endpointId, nowMs);
    this.#enqueue(due);
    this.#startAdvanced(nowMs);
    this.#flow.pump(nowMs);
    if (due.length > 0 || answering.size > 0) this.#watch(null);
    this.#history.schedule();
    this.#scheduleCheckpoint();
  }

  #settleEach(results: readonly DeliveryResult[], nowMs: number): Consequences {
    const due: Due[] = [];
    const answering = new Set<string>();
    for (const result of results) {
      const delivery = this.#outbox.settle(result, result.verdict, nowMs);
      const comesAgain = this.#flow.settled(result, nowMs);
      if (delivery === null) continue;
      this.#history.settled(delivery, result, nowMs);
      if (result.verdict.status === "cancelled") this.#replays.endpointDeleted(delivery.endpointId, nowMs);
      if (result.verdict.status === "open" && comesAgain) due.push({ ...delivery, atMs: result.verdict.nextAttemptAtMs });
      if (delivery.wasHeld && result.verdict.status !== "held" && this.#flow.isFree(delivery.endpointId)) answering.add(delivery.endpointId);
    }
    return { due, answering };
  }

  /** Starts what became the head of its lane. */
  #startAdvanced(nowMs: number): void {
    const work: Work[] = [];
    for (const { offset, endpointId, reopenedAtMs } of this.#flow.admitHeads(this.#outbox.takeAdvanced(nowMs), nowMs)) {
      const found = this.#log.read(offset);
      if (found === null) continue;
      work.push({ message: found.message, claims: [{ offset, endpointId, attemptNumber: 1, ...reopening(reopenedAtMs) }] });
    }
    this.#firstAttempts.send(this.#stream(), work);
  }

  /** Opens deliveries, again or for the first time; those returned are due at once, the others are in their lanes. */
  #open(replayed: readonly Replayed[], nowMs: number): Due[] {
    return replayed.flatMap(({ entry, endpointId, lane }) => {
      const { offset, id: messageId, timeMs: messageTimeMs } = entry;
      const delivery = { offset, endpointId, messageId, messageTimeMs };
      this.#history.opened(delivery, nowMs, nowMs);
      if (lane !== undefined) {
        this.#outbox.reopenOrdered(entry, lane, nowMs);
        return [];
      }
      this.#outbox.reopen(delivery, nowMs);
      return [{ offset, endpointId, atMs: nowMs }];
    });
  }

  /** Puts references on the queue; a queue that refuses is no loss, for the sweep finds what is overdue. */
  #enqueue(due: readonly Due[]): void {
    if (due.length === 0) return;
    const jobs = jobsFor(this.#stream(), due, Date.now());
    const queue: Queue<DeliveryJob> = this.env.DELIVERIES;
    this.ctx.waitUntil(
      sendJobs(queue, jobs).catch((error: unknown) => {
        log("warn", "queue.send-failed", { stream: this.#name, jobs: jobs.length, error: describeError(error) });
      }),
    );
  }

  /** First attempts before this offset have ended, or have a row: those that take long get one now. */
  #settledBefore(): number {
    this.#outbox.spill(Date.now());
    return this.#outbox.settledBefore(this.#log.nextOffset);
  }

  #checkpointNow(): { settledBefore: number; historyBefore: number } {
    const settledBefore = this.#outbox.settledBefore(this.#log.nextOffset);
    return { settledBefore, historyBefore: Math.min(this.#history.writtenBefore, this.#log.nextOffset) };
  }

  #saveCheckpoint(): void {
    const now = this.#checkpointNow();
    const saved = this.#log.checkpoint;
    if (now.settledBefore === saved.settledBefore && now.historyBefore === saved.historyBefore) return;
    this.#log.saveCheckpoint(now);
  }

  #scheduleCheckpoint(): void {
    if (this.#checkpointTimer !== null) return;
    this.#checkpointTimer = setTimeout(() => {
      this.#checkpointTimer = null;
      const nowMs = Date.now();
      this.#outbox.spill(nowMs);
      const sinceCommitMs = nowMs - this.#log.lastTimeMs;
      const commitsFollow = sinceCommitMs >= 0 && sinceCommitMs < COMMITS_FOLLOW_MS;
      if (!commitsFollow) this.#saveCheckpoint();
      this.#watch(null);
      if (commitsFollow || this.#outbox.hasInFlight()) this.#scheduleCheckpoint();
    }, CHECKPOINT_DELAY_MS);
  }

  /** After a restart: what the checkpoint does not cover is open. */
  #recover(): void {
    const nowMs = Date.now();
    // Nobody sends jobs for what a restart finds open: the alarm sweeps it.
    // Not all streams at the same moment, for they all start after an outage.
    const delayMs = Math.round(RECOVERY_DELAY_MS * (1 + Math.random()));
    const dueAtMs = nowMs + delayMs - SWEEP_GRACE_MS;
    this.#outbox.forgetAttempts(dueAtMs);
    this.#outbox.probeAllBy(nowMs + delayMs);
    const { nextOffset, checkpoint } = this.#log;
    for (let offset = checkpoint.settledBefore; offset < nextOffset; ) {
      const entries = this.#log.entriesFrom(offset, 500);
      for (const entry of entries) if (!entry.expunged) this.#outbox.addRows(entry, entry.endpointIds, dueAtMs);
      offset = (entries.at(-1)?.offset ?? nextOffset) + 1;
    }
    this.#replays.retell(nowMs);
    if (checkpoint.settledBefore < nextOffset) this.#alarm.set(nowMs + delayMs);
    this.#history.schedule();
    this.#flow.pump(nowMs);
    this.#watch(null);
  }

  #trim(nowMs: number): void {
    const removed = this.#retention.trim(this.#neededFrom(), nowMs);
    if (removed) this.#outbox.forgetDeadBefore(this.#log.earliestOffset);
    if (removed) this.#archive.trimmed(this.#log.earliestOffset);
    this.#chosenIds.prune(nowMs);
  }

  /** The first message that is still to be delivered, or may be. */
  #neededFrom(): number {
    const open = this.#outbox.lowestOpenOffset() ?? this.#log.nextOffset;
    const replayed = this.#replays.lowestOffset() ?? open;
    return Math.min(open, replayed, this.#log.checkpoint.settledBefore);
  }

  /** Sees to it that the object wakes when something may be overdue, whatever happens to the process. */
  #watch(atMs: number | null): void {
    const nowMs = Date.now();
    // The alarm looks at everything again when it runs, so one that comes soon is enough.
    if (this.#alarm.comesBefore(nowMs + WATCH_INTERVAL_MS, nowMs)) return;
    const busy = this.#outbox.hasInFlight() || this.#outbox.isAttempting(nowMs) || !this.#history.isIdle || !this.#sequencer.isIdle;
    const wakes = [atMs, busy ? nowMs + WATCH_INTERVAL_MS : null, this.#outbox.nextWakeMs()];
    wakes.push(this.#retention.nextTrimMs(), this.#replays.nextStepMs(nowMs), this.#archive.nextStepMs(), this.#flow.nextWakeMs());
    this.#alarm.set(Math.min(...wakes.filter((wake) => wake !== null)));
  }

  /** The object learns its name from its first caller, and keeps it for alarms. */
  #remember(stream: string): void {
    if (this.#name === stream) return;
    this.#name = stream;
    this.ctx.storage.kv.put("name", stream);
  }

  #stream(): string {
    if (this.#name === null) throw new Error("the stream has no name yet");
    return this.#name;
  }
}
