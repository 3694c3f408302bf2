import { describeError, log as writeLog } from "../log.ts";
import { saveReplays } from "../storage/jobs.ts";
import type { SegmentArchive } from "./archive.ts";
import type { ReplayRequest, ReplayStarted } from "./contract.ts";
import type { HistoryWriter } from "./history-writer.ts";
import type { OffsetRange } from "./log-range.ts";
import { loadOf, rowsOf } from "./replay-load.ts";
import { MAX_OPEN, type Replayed, Replays } from "./replays.ts";
import type { SegmentLog } from "./segment-log.ts";

/** The parts of a stream's object that replays work on. */
export type ReplayWorld = {
  readonly sql: SqlStorage;
  readonly log: SegmentLog;
  readonly archive: SegmentArchive;
  readonly history: HistoryWriter;
  readonly db: D1Database;
};

/** Delivers stretches of one log again, a portion at a time, and reports in D1 how far it is. */
export class ReplayRunner {
  readonly #world: ReplayWorld;
  readonly #replays: Replays;
  /** Stretches that a step would have opened, were they not in the archive. */
  #wanted: OffsetRange[] = [];

  constructor(world: ReplayWorld) {
    this.#world = world;
    this.#replays = new Replays(world.sql);
  }

  /** Counts the stretch and takes it up, unless there is no `jobId`. */
  start(request: ReplayRequest, nowMs: number): ReplayStarted {
    const { log } = this.#world;
    const { jobId, endpointId, from, untilMs, ordered } = request;
    const { earliestOffset, nextOffset } = log;
    const untilOffset = untilMs === null ? nextOffset : log.offsetAt(untilMs);
    const fromOffset = from === null ? earliestOffset : "offset" in from ? from.offset : log.offsetAt(from.timeMs);
    if (fromOffset > nextOffset) return { ok: false, code: "beyond-head", nextOffset };
    if (fromOffset < earliestOffset) return { ok: false, code: "trimmed", earliestOffset };
    const stretch = { fromOffset, untilOffset: Math.max(fromOffset, untilOffset) };
    const count = log.countBetween(stretch.fromOffset, stretch.untilOffset);
    if (jobId !== null && !this.#replays.start({ jobId, endpointId, ...stretch, total: count, ...(ordered === undefined ? {} : { ordered }) }, nowMs)) {
      return { ok: false, code: "too-many" };
    }
    return { ok: true, count, ...stretch };
  }

  stop(jobId: string, nowMs: number): void {
    this.#replays.stop(jobId, "Stopped on request.", nowMs);
  }

  /** The endpoint is gone: nothing more is delivered to it. */
  endpointDeleted(endpointId: string, nowMs: number): void {
    this.#replays.stopAllOf(endpointId, "The endpoint was deleted.", nowMs);
  }

  /** What is to be opened now. Call in a transaction with the opening. */
  step(nowMs: number): Replayed[] {
    const { log, archive, sql } = this.#world;
    return this.#replays.step(
      {
        messages: (from, to, limit) => {
          const wanted = { from, to: Math.min(to, from + limit) };
          // nothing for now: it is brought back until the next step
          if (!archive.isLocal(wanted)) {
            this.#wanted.push(wanted);
            return { entries: [], next: from };
          }
          const looked = log.entriesFrom(from, limit).filter(({ offset }) => offset < to);
          return { entries: looked.filter(({ expunged }) => !expunged), next: (looked.at(-1)?.offset ?? to - 1) + 1 };
        },
        load: (endpointId) => loadOf(sql, endpointId, MAX_OPEN),
      },
      nowMs,
    );
  }

  /** Brings back from the archive what the last step lacked. */
  async fetchWanted(): Promise<void> {
    const wanted = this.#wanted;
    this.#wanted = [];
    for (const stretch of wanted) await this.#world.archive.restore(stretch);
  }

  /** Tells D1 what it does not know yet; what can not be told now is told later. */
  async report(stream: string, nowMs: number): Promise<void> {
    const unreported = this.#replays.unreported(nowMs);
    try {
      if (unreported.length > 0) await saveReplays(this.#world.db, stream, unreported);
      this.#replays.reported(unreported, nowMs);
    } catch (error) {
      writeLog("warn", "replay.report-failed", { stream, error: describeError(error) });
    }
  }

  /** Tells history again what of the deliveries opened last is open, for it may have missed that before a restart. */
  retell(nowMs: number): void {
    const { log, sql, history } = this.#world;
    for (const { endpointId, from, to } of this.#replays.openedLately()) {
      const rows = rowsOf(sql, endpointId, from, to);
      const first = Math.min(...[...rows].flatMap(([offset, status]) => (status === "open" ? [offset] : [])));
      if (!Number.isFinite(first)) continue;
      // from the first that is open on, all of the log is in the object
      for (const { offset, id: messageId, timeMs: messageTimeMs } of log.entriesFrom(first, to - first)) {
        if (rows.get(offset) === "open") history.opened({ offset, endpointId, messageId, messageTimeMs }, nowMs, nowMs);
      }
    }
  }

  /** The first message that has to stay for a replay; null when none does. */
  lowestOffset(): number | null {
    return this.#replays.lowestOffset();
  }

  nextStepMs(nowMs: number): number | null {
    return this.#replays.nextStepMs(nowMs);
  }
}
