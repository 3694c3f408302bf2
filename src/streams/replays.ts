import type { ReplayRequest } from "./contract.ts";
import { type Lane, laneOf } from "./lanes.ts";
import type { LogEntry } from "./segment-log.ts";

export type ReplayStatus = "running" | "done" | "stopped";

/** A replay as it stands. `done` of `total` messages were handed to delivery; offsets are of the stream. */
export type Replay = {
  readonly jobId: string;
  readonly endpointId: string;
  readonly fromOffset: number;
  readonly nextOffset: number;
  readonly untilOffset: number;
  readonly total: number;
  readonly done: number;
  readonly status: ReplayStatus;
  readonly reason: string | null;
  readonly createdAtMs: number;
  readonly updatedAtMs: number;
};

/** A message that is to be delivered to an endpoint again. */
export type Replayed = {
  readonly entry: LogEntry;
  readonly endpointId: string;
  /** Of an endpoint that wants its messages in order. */
  readonly lane?: Lane;
};

/** What a replay asks of the stream it is in. */
export type ReplayLog = {
  /** The next messages that still have their bytes, and how far that looked. */
  readonly messages: (from: number, to: number, limit: number) => { readonly entries: readonly LogEntry[]; readonly next: number };
  /** How much of an endpoint is open but was not attempted yet, and whether it is to wait. */
  readonly load: (endpointId: string) => { readonly unattempted: number; readonly open: number; readonly isHeld: boolean };
};

type Row = {
  job_id: string;
  endpoint_id: string;
  from_offset: number;
  next_offset: number;
  until_offset: number;
  total: number;
  done: number;
  status: ReplayStatus;
  reason: string | null;
  created_at: number;
  updated_at: number;
  ordered: 0 | 1;
  ordering_key: string | null;
};

/** Replays of one stream that run at the same time. */
export const MAX_RUNNING = 100;
/** A portion each second, less what of the one before is not attempted yet: live traffic is always in front. */
const STEP_INTERVAL_MS = 1_000;
const MAX_PORTION = 200;
const MAX_STEP = 1_000;
/** Retries of one endpoint: what keeps failing is not piled up without end. */
export const MAX_OPEN = 10_000;
/** What runs is shown in D1 this often. */
const REPORT_INTERVAL_MS = 2_000;
/** Finished ones are kept as long as history may not know how their last deliveries ended. */
const KEEP_FINISHED_MS = 60_000;
/** Deliveries opened lately enough that history may not know of them after a restart. */
const RETOLD_OFFSETS = 4_000;

/** The replays of one stream: rows, so that they go on after a restart where they were. */
export class Replays {
  readonly #sql: SqlStorage;
  #hasRows: boolean;

  constructor(sql: SqlStorage) {
    this.#sql = sql;
    this.#hasRows = this.#count("1") > 0;
  }

  /** Takes a replay up; false when too many run. One without messages is done at once. */
  start(
    replay: Pick<Replay, "jobId" | "endpointId" | "fromOffset" | "untilOffset" | "total"> & Pick<ReplayRequest, "ordered">,
    nowMs: number,
  ): boolean {
    if (this.#count("status = 'running'") >= MAX_RUNNING) return false;
    const { jobId, endpointId, fromOffset, untilOffset, total, ordered } = replay;
    this.#sql.exec(
      `INSERT INTO replays (job_id, endpoint_id, from_offset, next_offset, until_offset, total, done, status, created_at,
         updated_at, reported_at, ordered, ordering_key)
       VALUES (?1, ?2, ?3, ?3, ?4, ?5, 0, ?6, ?7, ?7, 0, ?8, ?9)`,
      jobId, endpointId, fromOffset, untilOffset, total, total === 0 ? "done" : "running", nowMs,
      ordered === undefined ? 0 : 1, ordered?.orderingKey ?? null,
    );
    this.#hasRows = true;
    return true;
  }

  /** Ends a replay that runs; what it has opened goes on. */
  stop(jobId: string, reason: string, nowMs: number): void {
    this.#sql.exec(
      "UPDATE replays SET status = 'stopped', reason = ?, updated_at = max(updated_at + 1, ?) WHERE job_id = ? AND status = 'running'",
      reason, nowMs, jobId,
    );
  }

  /** Ends all that run for an endpoint which is gone. */
  stopAllOf(endpointId: string, reason: string, nowMs: number): void {
    if (!this.#hasRows) return;
    this.#sql.exec(
      "UPDATE replays SET status = 'stopped', reason = ?, updated_at = max(updated_at + 1, ?) WHERE endpoint_id = ? AND status = 'running'",
      reason, nowMs, endpointId,
    );
  }

  /** The deliveries that are to be opened now, those of the replay first that waited longest. Call in a transaction. */
  step(log: ReplayLog, nowMs: number): Replayed[] {
    const replayed: Replayed[] = [];
    if (!this.#hasRows) return replayed;
    const rows = this.#sql.exec<Row>("SELECT * FROM replays WHERE status = 'running' ORDER BY updated_at, job_id").toArray();
    const opened = new Map<string, number>();
    for (const row of rows) {
      const { endpoint_id: endpointId } = row;
      const { unattempted, open, isHeld } = log.load(endpointId);
      const already = opened.get(endpointId) ?? 0;
      const room = Math.min(MAX_PORTION - unattempted - already, MAX_OPEN - open - already, MAX_STEP - replayed.length);
      if (isHeld || room <= 0) continue;
      const { entries, next } = log.messages(row.next_offset, row.until_offset, room);
      replayed.push(...entries.map((entry) => ({
        entry,
        endpointId,
        ...(row.ordered === 1 ? { lane: laneOf(entry, endpointId, row.ordering_key) } : {}),
      })));
      opened.set(endpointId, already + entries.length);
      const status: ReplayStatus = next >= row.until_offset ? "done" : "running";
      this.#sql.exec(
        "UPDATE replays SET next_offset = ?, done = done + ?, status = ?, updated_at = max(updated_at + 1, ?) WHERE job_id = ?",
        next, entries.length, status, nowMs, row.job_id,
      );
    }
    return replayed;
  }

  /** What D1 is to be told. */
  unreported(nowMs: number): Replay[] {
    if (!this.#hasRows) return [];
    return this.#sql
      .exec<Row>(
        "SELECT * FROM replays WHERE updated_at > reported_at AND (status <> 'running' OR reported_at <= ?)",
        nowMs - REPORT_INTERVAL_MS,
      )
      .toArray()
      .map(fromRow);
  }

  /** Notes that D1 knows, and forgets what ended a while ago. */
  reported(replays: readonly Replay[], nowMs: number): void {
    for (const { jobId, updatedAtMs } of replays) {
      this.#sql.exec("UPDATE replays SET reported_at = max(reported_at, ?) WHERE job_id = ?", updatedAtMs, jobId);
    }
    this.#sql.exec(
      "DELETE FROM replays WHERE status <> 'running' AND reported_at >= updated_at AND updated_at < ?",
      nowMs - KEEP_FINISHED_MS,
    );
    this.#hasRows = this.#count("1") > 0;
  }

  find(jobId: string): Replay | null {
    const [row] = this.#sql.exec<Row>("SELECT * FROM replays WHERE job_id = ?", jobId).toArray();
    return row === undefined ? null : fromRow(row);
  }

  /** The first message that a replay has yet to deliver: it must not be trimmed. Null when none has any. */
  lowestOffset(): number | null {
    if (!this.#hasRows) return null;
    return this.#sql.exec<{ n: number | null }>("SELECT min(next_offset) AS n FROM replays WHERE status = 'running'").one().n;
  }

  /** When there is something to do at the earliest; null when there is not. */
  nextStepMs(nowMs: number): number | null {
    if (!this.#hasRows) return null;
    if (this.#count("status = 'running' OR updated_at > reported_at") > 0) return nowMs + STEP_INTERVAL_MS;
    return nowMs + KEEP_FINISHED_MS;
  }

  /** The stretches opened lately, for history after a restart. */
  openedLately(): { readonly endpointId: string; readonly from: number; readonly to: number }[] {
    return this.#sql
      .exec<Row>("SELECT * FROM replays WHERE status <> 'stopped' AND next_offset > from_offset")
      .toArray()
      .map(({ endpoint_id: endpointId, from_offset, next_offset: to }) => ({
        endpointId,
        from: Math.max(from_offset, to - RETOLD_OFFSETS),
        to,
      }));
  }

  #count(where: string): number {
    return this.#sql.exec<{ n: number }>(`SELECT count(*) AS n FROM replays WHERE ${where}`).one().n;
  }
}

function fromRow(row: Row): Replay {
  return {
    jobId: row.job_id,
    endpointId: row.endpoint_id,
    fromOffset: row.from_offset,
    nextOffset: row.next_offset,
    untilOffset: row.until_offset,
    total: row.total,
    done: row.done,
    status: row.status,
    reason: row.reason,
    createdAtMs: row.created_at,
    updatedAtMs: row.updated_at,
  };
}
