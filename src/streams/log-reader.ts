import { LiveWaiters } from "./live-waiters.ts";
import type { LogReadRequest, LogReadResult, StoredSegment } from "./log-reading.ts";
import type { SegmentLog } from "./segment-log.ts";

type SegmentRow = { first_offset: number; time: number; messages: string; bodies: ArrayBuffer };

const OVERLOADED_SECONDS = 2;

/** Reads the log of a stream in bounded stretches, and lets those at its end wait for more. */
export class LogReader {
  readonly #sql: SqlStorage;
  readonly #log: SegmentLog;
  readonly #waiters = new LiveWaiters();

  constructor(sql: SqlStorage, log: SegmentLog) {
    this.#sql = sql;
    this.#log = log;
  }

  /** Something was added, and is on disk. */
  wake(): void {
    this.#waiters.wakeAll();
  }

  /** About `maxBytes`, one segment at least; at the end waits up to `waitMs` for more. */
  async read({ from: asked, maxBytes, waitMs }: LogReadRequest): Promise<LogReadResult> {
    const from = this.#resolve(asked);
    if (from > this.#log.nextOffset) return { ok: false, code: "beyond-head", tail: this.#log.nextOffset };
    if (from === this.#log.nextOffset && waitMs > 0) {
      if (this.#waiters.isFull) return { ok: false, code: "overloaded", retryAfterSeconds: OVERLOADED_SECONDS };
      await this.#waiters.wait(waitMs);
    }
    if (from < this.#log.earliestOffset) return { ok: false, code: "trimmed", earliest: this.#log.earliestOffset };
    return { ok: true, from, tail: this.#log.nextOffset, segments: this.#segments(from, maxBytes) };
  }

  #resolve(asked: LogReadRequest["from"]): number {
    if (typeof asked === "object") return this.#log.offsetAt(asked.sinceMs);
    if (asked === "start") return this.#log.earliestOffset;
    return asked === "now" ? this.#log.nextOffset : asked;
  }

  #segments(from: number, maxBytes: number): StoredSegment[] {
    if (from === this.#log.nextOffset) return [];
    const segments: StoredSegment[] = [];
    let size = 0;
    const rows = this.#sql.exec<SegmentRow>(
      `SELECT first_offset, time, messages, bodies FROM segments
       WHERE first_offset >= coalesce((SELECT max(first_offset) FROM segments WHERE first_offset <= ?), 0)
       ORDER BY first_offset`,
      from,
    );
    for (const row of rows) {
      segments.push({ firstOffset: row.first_offset, timeMs: row.time, messages: row.messages, bodies: new Uint8Array(row.bodies) });
      size += row.messages.length + row.bodies.byteLength;
      if (size >= maxBytes) break;
    }
    return segments;
  }
}
