import { DurableObject } from "cloudflare:workers";
import type { DeliveryRef, DeliveryResult } from "../delivery/outcome.ts";
import { describeError, log } from "../log.ts";
import { writeHistory } from "../storage/history-write.ts";
import { ChosenIds } from "./chosen-ids.ts";
import { answerAll, CommitQueue, type PendingAppend } from "./commit-queue.ts";
import type {
  Append, Appended, AppendResult, Content, DeliveryJob, LogDescription, ReplayRequest, ReplayStarted, RetentionSettings, StreamApi, Work,
} from "./contract.ts";
import { FirstAttempts } from "./first-attempts.ts";
import { HistoryWriter } from "./history-writer.ts";
import type { HistoryBatch } from "./history-records.ts";
import { retell } from "./history-retelling.ts";
import { type Due, jobsFor, sendJobs } from "./jobs.ts";
import { LogReader } from "./log-reader.ts";
import type { LogReadRequest, LogReadResult } from "./log-reading.ts";
import { Outbox, SWEEP_GRACE_MS } from "./outbox.ts";
import { ReplayRunner } from "./replay-runner.ts";
import type { Replayed } from "./replays.ts";
import { Retention } from "./retention.ts";
import { createTables } from "./schema.ts";
import { type LogEntry, MAX_LOGGED_TARGETS, SegmentLog } from "./segment-log.ts";
import { delivererOf } from "./stub.ts";
import { UntoldEnds } from "./untold-ends.ts";

/** While anything is open, the object wakes at least this often, also after the process was killed. */
const WATCH_INTERVAL_MS = 5_000;
/** After a restart: time for attempts that outlived it to report, before they are made again. */
const RECOVERY_DELAY_MS = 2_000;
/** Settled first attempts are made durable by the next commit, or after this long. */
const CHECKPOINT_DELAY_MS = 1_000;
const SWEEP_LIMIT = 2_000;
const RELEASE_LIMIT = 2_000;

/**
 * One stream of one tenant: its sequencer, durable log and outbox. A message is accepted when it is on disk here;
 * its first attempts are handed to the deliverer in groups, retries travel the queue, and the alarm finds whatever
 * was lost on the way. Method shapes and errors: `StreamApi`.
 */
export class Stream extends DurableObject<Cloudflare.Env> implements StreamApi {
  readonly #log: SegmentLog;
  readonly #reader: LogReader;
  readonly #outbox: Outbox;
  readonly #chosenIds: ChosenIds;
  readonly #retention: Retention;
  readonly #replays: ReplayRunner;
  readonly #history: HistoryWriter;
  readonly #commits = new CommitQueue();
  readonly #firstAttempts: FirstAttempts;
  #name: string | null;
  #committing = false;
  #alarmAtMs: number | null = null;
  #checkpointTimer: ReturnType<typeof setTimeout> | null = null;

  constructor(ctx: DurableObjectState, env: Cloudflare.Env) {
    super(ctx, env);
    const { sql, kv } = ctx.storage;
    createTables(sql);
    this.#log = new SegmentLog(sql);
    this.#reader = new LogReader(sql, this.#log);
    this.#outbox = new Outbox(sql);
    this.#chosenIds = new ChosenIds(sql);
    this.#retention = new Retention(kv, this.#log);
    this.#name = kv.get<string>("name") ?? null;
    const historyWorld = {
      stream: () => this.#stream(),
      write: (batch: HistoryBatch) => writeHistory(env.DB, batch),
      inBackground: (promise: Promise<unknown>) => ctx.waitUntil(promise),
      onWritten: () => this.#scheduleCheckpoint(),
      settledBefore: () => this.#outbox.settledBefore(this.#log.nextOffset),
      retell: (fromOffset: number) => retell(this.#log, this.#outbox, fromOffset, Date.now()),
      untold: new UntoldEnds(sql),
    };
    const { settledBefore, historyBefore } = this.#log.checkpoint;
    this.#history = new HistoryWriter(historyWorld, Math.min(settledBefore, historyBefore), this.#log.nextOffset);
    this.#replays = new ReplayRunner({ sql, log: this.#log, outbox: this.#outbox, history: this.#history, db: env.DB });
    this.#firstAttempts = new FirstAttempts(delivererOf(ctx), (results) => this.#apply(results));
    void ctx.blockConcurrencyWhile(async () => {
      this.#alarmAtMs = await ctx.storage.getAlarm();
      this.#recover();
    });
  }

  ping(): "pong" {
    return "pong";
  }

  async append(stream: string, appends: readonly Append[]): Promise<AppendResult> {
    this.#remember(stream);
    const result = this.#commits.push(appends);
    if (!this.#committing) this.ctx.waitUntil(this.#commitAll());
    return result;
  }

  async readLog(_stream: string, request: LogReadRequest): Promise<LogReadResult> {
    return this.#reader.read(request);
  }

  async claim(stream: string, refs: readonly DeliveryRef[]): Promise<readonly Work[]> {
    this.#remember(stream);
    const work: Work[] = [];
    for (const [offset, refsOfMessage] of Map.groupBy(refs, (ref) => ref.offset)) {
      const found = this.#log.read(offset);
      if (found === null || found.entry.expunged) continue;
      const claims = this.#outbox.claim(refsOfMessage, Date.now());
      if (claims.length > 0) work.push({ message: found.message, claims });
    }
    return work;
  }

  async settle(stream: string, results: readonly DeliveryResult[]): Promise<void> {
    this.#remember(stream);
    this.#apply(results);
    this.#saveCheckpoint();
  }

  async reopen(stream: string, refs: readonly DeliveryRef[]): Promise<number> {
    this.#remember(stream);
    const found: Replayed[] = [];
    for (const { offset, endpointId } of refs) {
      const [entry] = this.#log.entriesFrom(offset, 1);
      if (entry?.offset === offset && !entry.expunged) found.push({ entry, endpointId });
    }
    this.#enqueue(this.#open(found, Date.now()));
    this.#history.schedule();
    return found.length;
  }

  async replay(stream: string, request: ReplayRequest): Promise<ReplayStarted> {
    const nowMs = Date.now();
    const started = this.#replays.start(request, nowMs);
    if (!started.ok || request.jobId === null) return started;
    this.#remember(stream);
    this.#setAlarm(nowMs);
    await this.#replays.report(stream, nowMs);
    return started;
  }

  async stopReplay(stream: string, jobId: string): Promise<void> {
    this.#replays.stop(jobId, Date.now());
    await this.#replays.report(stream, Date.now());
  }

  async describe(_stream: string): Promise<LogDescription> {
    const { earliestOffset, nextOffset, bytes } = this.#log;
    return { earliestOffset, nextOffset, earliestTimeMs: this.#log.oldestTimeMs(), bytes };
  }

  async retain(stream: string, settings: RetentionSettings | null): Promise<void> {
    this.#remember(stream);
    this.#retention.change(settings);
    this.#setAlarm(this.#retention.nextTrimMs() ?? Number.POSITIVE_INFINITY);
  }

  async release(stream: string, endpointId: string): Promise<number> {
    this.#remember(stream);
    return this.#release(endpointId);
  }

  async content(_stream: string, offset: number): Promise<Content> {
    return this.#log.content(offset);
  }

  async expunge(stream: string, offset: number): Promise<boolean> {
    this.#remember(stream);
    const nowMs = Date.now();
    const cancelled = this.#outbox.cancelMessage(offset, nowMs);
    for (const delivery of cancelled) {
      this.#history.settled(delivery, { status: "cancelled", reason: "The content was expunged." }, nowMs);
    }
    this.#startAdvanced(nowMs);
    this.#history.schedule();
    return this.#log.expunge(offset);
  }

  async purge(stream: string): Promise<number> {
    this.#remember(stream);
    const nowMs = Date.now();
    const cancelled = this.#outbox.cancelAll(nowMs);
    for (const delivery of cancelled) {
      this.#history.settled(delivery, { status: "cancelled", reason: "The queue was purged." }, nowMs);
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
    this.#alarmAtMs = null;
    const nowMs = Date.now();
    this.#outbox.spill(nowMs);
    const overdue = this.#outbox.sweep(nowMs, SWEEP_LIMIT);
    const refs = [...overdue, ...this.#outbox.probes(nowMs)];
    const replayed = this.ctx.storage.transactionSync(() => this.#open(this.#replays.step(nowMs), nowMs));
    this.#saveCheckpoint();
    this.#trim(nowMs);
    this.#watch(overdue.length === SWEEP_LIMIT ? nowMs : null);
    this.#enqueue([...refs.map((ref) => ({ ...ref, atMs: nowMs })), ...replayed]);
    await this.#history.flush();
    await this.#replays.report(this.#stream(), nowMs);
  }

  /**
   * Commits what waits, one group after the other: at once what comes alone, and from then on all that has arrived by
   * the end of a turn, for what arrives during a disk write shares the next one.
   */
  async #commitAll(): Promise<void> {
    this.#committing = true;
    try {
      for (let isFirst = true; !this.#commits.isEmpty; isFirst = false) {
        await this.#firstAttempts.room();
        if (!isFirst) await scheduler.wait(0);
        await this.#commit(this.#commits.take());
      }
    } finally {
      this.#committing = false;
    }
  }

  async #commit(taken: readonly PendingAppend[]): Promise<void> {
    try {
      const { results, entries, bodies } = this.ctx.storage.transactionSync(() => this.#write(taken));
      this.#watch(null);
      await this.ctx.storage.sync();
      answerAll(taken, results);
      this.#reader.wake();
      this.#startFirstAttempts(entries, bodies);
    } catch (error) {
      for (const { reject } of taken) reject(error);
      log("error", "commit.failed", { stream: this.#name, error: describeError(error) });
      // What is in memory may be ahead of the disk now: start again from the disk.
      this.ctx.abort("commit failed");
    }
  }

  /** The transaction: log, targets and chosen ids of all appends of a group, or nothing of it. */
  #write(taken: readonly PendingAppend[]): { results: Appended[][]; entries: LogEntry[]; bodies: Uint8Array[] } {
    const nowMs = Math.max(Date.now(), this.#log.lastTimeMs);
    const fresh: Append[] = [];
    const results = taken.map(({ appends }) =>
      appends.map((append): Appended => {
        const { message, endpointIds } = append;
        const key = append.deduplicationKey ?? (message.deduplicate ? message.id : null);
        const known = key === null ? null : this.#chosenIds.find(key, nowMs);
        if (known !== null) return { id: message.id, ...known, duplicate: true };
        const appended = {
          offset: this.#log.nextOffset + fresh.length,
          timeMs: nowMs,
          matched: endpointIds.length + (append.orderedIds?.length ?? 0),
        };
        if (key !== null) this.#chosenIds.add(key, appended);
        fresh.push(append);
        return { id: message.id, ...appended, duplicate: false };
      }),
    );
    // The checkpoint is that before this group; the group is open from here on, also for a checkpoint taken meanwhile.
    const entries = this.#log.append(fresh, nowMs, this.#checkpointNow());
    fresh.forEach(({ endpointIds, orderedIds = [] }, index) => {
      const entry = entries[index];
      if (entry === undefined) return;
      this.#outbox.addOrdered(entry, orderedIds, nowMs);
      // No job is sent for these: the alarm that follows finds them overdue.
      if (endpointIds.length > MAX_LOGGED_TARGETS) this.#outbox.addRows(entry, endpointIds, nowMs - SWEEP_GRACE_MS);
      else this.#outbox.add(entry, nowMs);
    });
    return { results, entries, bodies: fresh.map(({ message }) => message.body) };
  }

  #startFirstAttempts(entries: readonly LogEntry[], bodies: readonly Uint8Array[]): void {
    const nowMs = Date.now();
    this.#history.committed(entries, nowMs);
    const queued = this.#firstAttempts.start(this.#stream(), entries, bodies, (offset, endpointIds) =>
      this.#outbox.claimFirst(offset, endpointIds, nowMs),
    );
    this.#enqueue(queued.map((ref) => ({ ...ref, atMs: nowMs })));
    this.#startAdvanced(nowMs);
    if (entries.some((entry) => entry.matched > MAX_LOGGED_TARGETS)) this.#setAlarm(nowMs);
  }

  /** Applies results and sends what is to be tried again. Durable with the next commit, or the next checkpoint. */
  #apply(results: readonly DeliveryResult[]): void {
    const nowMs = Date.now();
    const due: Due[] = [];
    const answering = new Set<string>();
    for (const result of results) {
      const delivery = this.#outbox.settle(result, result.verdict, nowMs);
      if (delivery === null) continue;
      this.#history.settled(delivery, result.verdict, nowMs);
      if (result.verdict.status === "cancelled") this.#replays.endpointDeleted(delivery.endpointId, nowMs);
      if (result.attempt !== undefined) this.#history.attempt(delivery, result.attempt, result.by);
      if (result.verdict.status === "open") due.push({ ...delivery, atMs: result.verdict.nextAttemptAtMs });
      if (delivery.wasHeld && result.verdict.status !== "held") answering.add(delivery.endpointId);
    }
    for (const endpointId of answering) this.#release(endpointId);
    this.#enqueue(due);
    this.#startAdvanced(nowMs);
    if (due.length > 0) this.#watch(null);
    this.#history.schedule();
    this.#scheduleCheckpoint();
  }

  /** Starts what became the head of its lane. */
  #startAdvanced(nowMs: number): void {
    const work: Work[] = [];
    for (const { offset, endpointId } of this.#outbox.takeAdvanced(nowMs)) {
      const found = this.#log.read(offset);
      if (found !== null) work.push({ message: found.message, claims: [{ offset, endpointId, attemptNumber: 1 }] });
    }
    this.#firstAttempts.send(this.#stream(), work);
  }

  /** Opens deliveries, again or for the first time; all are due at once. */
  #open(replayed: readonly Replayed[], nowMs: number): Due[] {
    return replayed.map(({ entry: { offset, id: messageId, timeMs: messageTimeMs }, endpointId }) => {
      const delivery = { offset, endpointId, messageId, messageTimeMs };
      this.#outbox.reopen(delivery, nowMs);
      this.#history.opened(delivery, nowMs, nowMs);
      return { offset, endpointId, atMs: nowMs };
    });
  }

  #release(endpointId: string): number {
    const nowMs = Date.now();
    const count = this.#outbox.release(endpointId, nowMs);
    const due = this.#outbox.dueOf(endpointId, RELEASE_LIMIT);
    this.#enqueue(due.map((ref) => ({ ...ref, atMs: nowMs })));
    this.#watch(null);
    return count;
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
      this.#outbox.spill(Date.now());
      this.#saveCheckpoint();
      this.#watch(null);
      if (this.#outbox.hasInFlight()) this.#scheduleCheckpoint();
    }, CHECKPOINT_DELAY_MS);
  }

  /** After a restart: what the checkpoint does not cover is open. */
  #recover(): void {
    const nowMs = Date.now();
    // Nobody sends jobs for what a restart finds open: the alarm sweeps it.
    const dueAtMs = nowMs + RECOVERY_DELAY_MS - SWEEP_GRACE_MS;
    this.#outbox.forgetAttempts(dueAtMs);
    const { nextOffset, checkpoint } = this.#log;
    for (let offset = checkpoint.settledBefore; offset < nextOffset; ) {
      const entries = this.#log.entriesFrom(offset, 500);
      for (const entry of entries) if (!entry.expunged) this.#outbox.addRows(entry, entry.endpointIds, dueAtMs);
      offset = (entries.at(-1)?.offset ?? nextOffset) + 1;
    }
    this.#replays.retell(nowMs);
    if (checkpoint.settledBefore < nextOffset) this.#setAlarm(nowMs + RECOVERY_DELAY_MS);
    this.#history.schedule();
    this.#watch(null);
  }

  #trim(nowMs: number): void {
    const open = this.#outbox.lowestOpenOffset() ?? this.#log.nextOffset;
    const replayed = this.#replays.lowestOffset() ?? open;
    const removed = this.#retention.trim(Math.min(open, replayed, this.#log.checkpoint.settledBefore), nowMs);
    if (removed) this.#outbox.forgetDeadBefore(this.#log.earliestOffset);
    this.#chosenIds.prune(nowMs);
  }

  /** Sees to it that the object wakes when something may be overdue, whatever happens to the process. */
  #watch(atMs: number | null): void {
    const nowMs = Date.now();
    // The alarm looks at everything again when it runs, so one that comes soon is enough.
    if (this.#alarmAtMs !== null && this.#alarmAtMs <= nowMs + WATCH_INTERVAL_MS) return;
    const busy = this.#outbox.hasInFlight() || !this.#history.isIdle || !this.#commits.isEmpty || this.#committing;
    const wakes = [atMs, busy ? nowMs + WATCH_INTERVAL_MS : null, this.#outbox.nextWakeMs()];
    wakes.push(this.#retention.nextTrimMs(), this.#replays.nextStepMs(nowMs));
    this.#setAlarm(Math.min(...wakes.filter((wake) => wake !== null)));
  }

  #setAlarm(atMs: number): void {
    if (!Number.isFinite(atMs) || (this.#alarmAtMs !== null && this.#alarmAtMs <= atMs)) return;
    this.#alarmAtMs = atMs;
    this.ctx.waitUntil(this.ctx.storage.setAlarm(Math.max(atMs, Date.now() + 1)));
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
