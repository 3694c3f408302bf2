import type { DeliveryRef } from "../delivery/outcome.ts";
import type { LogEntry } from "./segment-log.ts";

/** What an ordered delivery is in line with: the key of its endpoint's lanes has this value. */
export type Lane = { readonly endpointId: string; readonly key: string };

/** The head of a lane; `reopenedAtMs` is 0 unless it was opened again. */
export type Head = DeliveryRef & { readonly reopenedAtMs: number };

/** The lane of a message at an endpoint. Those without the attribute are in one lane. */
export function laneOf(message: Pick<LogEntry, "attributes">, endpointId: string, orderingKey: string | null | undefined): Lane {
  return { endpointId, key: orderingKey === null || orderingKey === undefined ? "" : (message.attributes[orderingKey] ?? "") };
}

/**
 * The deliveries of endpoints that want them in order: one lane an endpoint, or one for each value of an attribute. Only
 * the head of a lane is attempted; the rest are `queued` rows, and the lowest of them becomes the head when the one
 * before it is delivered, dead or cancelled. Every delivery of a lane is a row from its commit on, so a restart finds
 * the lanes as they were.
 */
export class Lanes {
  readonly #sql: SqlStorage;

  constructor(sql: SqlStorage) {
    this.#sql = sql;
  }

  /** Puts a delivery at the end of its lane; whether it is the head. Then its attempt is given up at `giveUpAtMs`. */
  add(entry: LogEntry, lane: Lane, giveUpAtMs: number): boolean {
    const isHead = this.#isEmpty(lane);
    this.#sql.exec(
      `INSERT INTO open_deliveries
         (offset, endpoint_id, message_id, message_time, status, attempts, ordered, lane_key, attempting, next_at)
       VALUES (?, ?, ?, ?, ?, 0, 1, ?, ?, ?)`,
      entry.offset, lane.endpointId, entry.id, entry.timeMs,
      isHead ? "waiting" : "queued", lane.key, isHead ? 1 : 0, isHead ? giveUpAtMs : null,
    );
    return isHead;
  }

  /**
   * Puts a delivery back into its lane, at its place in the order of the stream, as one that is new; a head that waits for
   * its next attempt as well. One that is queued there, or held, stays as it is.
   */
  reopen(entry: Pick<LogEntry, "offset" | "id" | "timeMs">, { endpointId, key }: Lane, nowMs: number): void {
    this.#sql.exec(
      `INSERT INTO open_deliveries
         (offset, endpoint_id, message_id, message_time, status, attempts, ordered, lane_key, reopened_at, next_at)
       VALUES (?1, ?2, ?3, ?4, 'queued', 0, 1, ?5, ?6, NULL)
       ON CONFLICT (offset, endpoint_id) DO UPDATE SET status = 'queued', attempts = 0, sweeps = 0, attempting = 0,
         ordered = 1, lane_key = excluded.lane_key, reopened_at = excluded.reopened_at, next_at = NULL
         WHERE status IN ('dead', 'waiting')`,
      entry.offset, endpointId, entry.id, entry.timeMs, key, nowMs,
    );
  }

  /** Makes the next delivery the head, once the lane has none; null when nothing is queued or there is a head. */
  advance({ endpointId, key }: Lane, giveUpAtMs: number): Head | null {
    if (this.#has({ endpointId, key }, "waiting") || this.#has({ endpointId, key }, "held")) return null;
    const [next] = this.#sql
      .exec<{ offset: number; reopened_at: number }>(
        `SELECT offset, reopened_at FROM open_deliveries
         WHERE endpoint_id = ? AND lane_key = ? AND status = 'queued' AND ordered = 1 ORDER BY offset LIMIT 1`,
        endpointId, key,
      )
      .toArray();
    if (next === undefined) return null;
    this.#sql.exec(
      "UPDATE open_deliveries SET status = 'waiting', attempting = 1, next_at = ? WHERE offset = ? AND endpoint_id = ?",
      giveUpAtMs, next.offset, endpointId,
    );
    return { offset: next.offset, endpointId, reopenedAtMs: next.reopened_at };
  }

  #isEmpty(lane: Lane): boolean {
    return !this.#has(lane, "waiting") && !this.#has(lane, "held") && !this.#has(lane, "queued");
  }

  #has({ endpointId, key }: Lane, status: "waiting" | "held" | "queued"): boolean {
    const rows = this.#sql.exec(
      "SELECT 1 FROM open_deliveries WHERE endpoint_id = ? AND lane_key = ? AND status = ? AND ordered = 1 LIMIT 1",
      endpointId, key, status,
    );
    return rows.toArray().length > 0;
  }
}
