import type { SegmentArchive } from "./archive.ts";
import { type ArchivedRow, sizeOf } from "./archive-format.ts";
import { LiveWaiters } from "./live-waiters.ts";
import type { LogReadRequest, LogReadResult } from "./log-reading.ts";
import type { SegmentLog } from "./segment-log.ts";

const OVERLOADED_SECONDS = 2;
/** Of segments that move between the object and the archive just while they are read. */
const MAX_TRIES = 5;

/** Reads the log of a stream in bounded stretches, and lets those at its end wait for more. */
export class LogReader {
  readonly #sql: SqlStorage;
  readonly #log: SegmentLog;
  readonly #archive: SegmentArchive;
  readonly #waiters = new LiveWaiters();

  constructor(sql: SqlStorage, log: SegmentLog, archive: SegmentArchive) {
    this.#sql = sql;
    this.#log = log;
    this.#archive = archive;
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
    for (let tries = 0; tries < MAX_TRIES; tries++) {
      if (from < this.#log.earliestOffset) return { ok: false, code: "trimmed", earliest: this.#log.earliestOffset };
      const tail = this.#log.nextOffset;
      const segments = await this.#archive.load(this.#rows(from, maxBytes));
      if (segments !== null) return { ok: true, from, tail, segments };
    }
    return { ok: false, code: "overloaded", retryAfterSeconds: OVERLOADED_SECONDS };
  }

  #resolve(asked: LogReadRequest["from"]): number {
    if (typeof asked === "object") return this.#log.offsetAt(asked.sinceMs);
    if (asked === "start") return this.#log.earliestOffset;
    return asked === "now" ? this.#log.nextOffset : asked;
  }

  #rows(from: number, maxBytes: number): ArchivedRow[] {
    if (from === this.#log.nextOffset) return [];
    const read: ArchivedRow[] = [];
    let size = 0;
    const rows = this.#sql.exec<ArchivedRow>(
      `SELECT first_offset, time, messages, bodies FROM segments
       WHERE first_offset >= coalesce((SELECT max(first_offset) FROM segments WHERE first_offset <= ?), 0)
       ORDER BY first_offset`,
      from,
    );
    for (const row of rows) {
      read.push(row);
      size += sizeOf(row);
      if (size >= maxBytes) break;
    }
    return read;
  }
}
