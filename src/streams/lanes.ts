import type { DeliveryRef } from "../delivery/outcome.ts";
import type { LogEntry } from "./segment-log.ts";

/**
 * The deliveries of endpoints that want them in order: one lane an endpoint. Only the head of a lane is attempted; the
 * rest are `queued` rows, and the lowest of them becomes the head when the one before it is delivered, dead or
 * cancelled. Every delivery of a lane is a row from its commit on, so a restart finds the lanes as they were.
 */
export class Lanes {
  readonly #sql: SqlStorage;

  constructor(sql: SqlStorage) {
    this.#sql = sql;
  }

  /** Puts a delivery at the end of its endpoint's lane; whether it is the head. Then its attempt is given up at `giveUpAtMs`. */
  add(entry: LogEntry, endpointId: string, giveUpAtMs: number): boolean {
    const isHead = this.#isEmpty(endpointId);
    this.#sql.exec(
      `INSERT INTO open_deliveries
         (offset, endpoint_id, message_id, message_time, status, attempts, ordered, attempting, next_at)
       VALUES (?, ?, ?, ?, ?, 0, 1, ?, ?)`,
      entry.offset, endpointId, entry.id, entry.timeMs,
      isHead ? "waiting" : "queued", isHead ? 1 : 0, isHead ? giveUpAtMs : null,
    );
    return isHead;
  }

  /** Makes the next delivery the head, once the lane has none; null when nothing is queued or there is a head. */
  advance(endpointId: string, giveUpAtMs: number): DeliveryRef | null {
    const [first] = this.#sql
      .exec<{ offset: number; status: string }>(
        `SELECT offset, status FROM open_deliveries
         WHERE endpoint_id = ? AND ordered = 1 AND status IN ('waiting', 'held', 'queued') ORDER BY offset LIMIT 1`,
        endpointId,
      )
      .toArray();
    if (first?.status !== "queued") return null;
    this.#sql.exec(
      "UPDATE open_deliveries SET status = 'waiting', attempting = 1, next_at = ? WHERE offset = ? AND endpoint_id = ?",
      giveUpAtMs, first.offset, endpointId,
    );
    return { offset: first.offset, endpointId };
  }

  #isEmpty(endpointId: string): boolean {
    const open = this.#sql.exec(
      "SELECT 1 FROM open_deliveries WHERE endpoint_id = ? AND ordered = 1 AND status <> 'dead' LIMIT 1",
      endpointId,
    );
    return open.toArray().length === 0;
  }
}
