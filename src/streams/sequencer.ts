import { describeError, log as writeLog } from "../log.ts";
import type { ChosenIds } from "./chosen-ids.ts";
import { answerAll, CommitQueue, type PendingAppend } from "./commit-queue.ts";
import type { Append, Appended, AppendResult } from "./contract.ts";
import { type Outbox, SWEEP_GRACE_MS } from "./outbox.ts";
import { type Checkpoint, type LogEntry, MAX_LOGGED_TARGETS, type SegmentLog } from "./segment-log.ts";

export type SequencerWorld = {
  readonly ctx: Pick<DurableObjectState, "storage" | "waitUntil" | "abort">;
  readonly log: SegmentLog;
  readonly outbox: Outbox;
  readonly chosenIds: ChosenIds;
  /** Resolves when first attempts of more messages can begin: to how many targets. */
  readonly room: () => Promise<number>;
  readonly checkpoint: () => Checkpoint;
  /** The group is written, but maybe not on disk yet. */
  readonly onWritten: () => void;
  /** The group is on disk, and its callers know. */
  readonly onCommitted: (entries: readonly LogEntry[], bodies: readonly Uint8Array[]) => void;
};

/** What a group came to: results as its appends ask for them, and what is new. */
type Written = { readonly results: Appended[][]; readonly entries: readonly LogEntry[]; readonly bodies: readonly Uint8Array[] };

/** Gives messages their place, and accepts them once they are on disk: in groups, each of which is one commit. */
export class Sequencer {
  readonly #world: SequencerWorld;
  readonly #commits = new CommitQueue();
  #running = false;

  constructor(world: SequencerWorld) {
    this.#world = world;
  }

  get isIdle(): boolean {
    return this.#commits.isEmpty && !this.#running;
  }

  /** Resolves once it is on disk; rejects when it may not be. */
  append(appends: readonly Append[]): Promise<AppendResult> {
    const result = this.#commits.push(appends);
    if (!this.#running) this.#world.ctx.waitUntil(this.#commitAll());
    return result;
  }

  /**
   * Commits what waits, one group after the other: at once what comes alone, and from then on all that has arrived by
   * the end of a turn, for what arrives during a disk write shares the next one.
   */
  async #commitAll(): Promise<void> {
    this.#running = true;
    try {
      for (let isFirst = true; !this.#commits.isEmpty; isFirst = false) {
        const maxTargets = await this.#world.room();
        if (!isFirst) await scheduler.wait(0);
        await this.#commit(this.#commits.take(maxTargets));
      }
    } finally {
      this.#running = false;
    }
  }

  async #commit(taken: readonly PendingAppend[]): Promise<void> {
    const { ctx, onWritten, onCommitted } = this.#world;
    try {
      const { results, entries, bodies } = ctx.storage.transactionSync(() => this.#write(taken));
      onWritten();
      await ctx.storage.sync();
      answerAll(taken, results);
      onCommitted(entries, bodies);
    } catch (error) {
      for (const { reject } of taken) reject(error);
      writeLog("error", "commit.failed", { error: describeError(error) });
      // What is in memory may be ahead of the disk now: start again from the disk.
      ctx.abort("commit failed");
    }
  }

  /** The transaction: log, targets and chosen ids of all appends of a group, or nothing of it. */
  #write(taken: readonly PendingAppend[]): Written {
    const { log, checkpoint } = this.#world;
    const nowMs = Math.max(Date.now(), log.lastTimeMs);
    const fresh: Append[] = [];
    const results = taken.map(({ appends }) => appends.map((append) => this.#place(append, fresh, nowMs)));
    // The checkpoint is that before this group; the group is open from here on, also for a checkpoint taken meanwhile.
    const entries = log.append(fresh, nowMs, checkpoint());
    fresh.forEach((append, index) => {
      const entry = entries[index];
      if (entry !== undefined) this.#open(entry, append, nowMs);
    });
    return { results, entries, bodies: fresh.map(({ message }) => message.body) };
  }

  /** Where an append comes to stand, after those that are new so far; or where it stands already. */
  #place(append: Append, fresh: Append[], nowMs: number): Appended {
    const { log, chosenIds } = this.#world;
    const { message, endpointIds, orderedIds = [] } = append;
    const key = append.deduplicationKey ?? (message.deduplicate ? message.id : null);
    const known = key === null ? null : chosenIds.find(key, nowMs);
    if (known !== null) return { id: message.id, ...known, duplicate: true };
    const appended = { offset: log.nextOffset + fresh.length, timeMs: nowMs, matched: endpointIds.length + orderedIds.length };
    if (key !== null) chosenIds.add(key, appended);
    fresh.push(append);
    return { id: message.id, ...appended, duplicate: false };
  }

  #open(entry: LogEntry, { endpointIds, orderedIds = [], orderingKeys }: Append, nowMs: number): void {
    const { outbox } = this.#world;
    outbox.addOrdered(entry, orderedIds, orderingKeys, nowMs);
    // No job is sent for these: the alarm that follows finds them overdue.
    if (endpointIds.length > MAX_LOGGED_TARGETS) outbox.addRows(entry, endpointIds, nowMs - SWEEP_GRACE_MS);
    else outbox.add(entry, nowMs);
  }
}
