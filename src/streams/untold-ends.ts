import type { HistoryDelivery } from "./history-records.ts";

type Row = {
  offset: number;
  endpoint_id: string;
  message_id: string;
  message_time: number;
  status: "delivered" | "dead" | "cancelled";
  reason: string | null;
  updated_at: number;
};

/**
 * How deliveries ended that history does not know of yet: kept on disk, for a delivery that had a row of its own is
 * told by nothing else once that row is gone, and a kill in between would leave it open in history for good.
 */
export class UntoldEnds {
  readonly #sql: SqlStorage;
  /** Spares steady traffic the statements that would remove nothing. */
  #isEmpty: boolean;

  constructor(sql: SqlStorage) {
    this.#sql = sql;
    this.#isEmpty = !this.#hasAny();
  }

  get isEmpty(): boolean {
    return this.#isEmpty;
  }

  add({ offset, endpointId, messageId, messageTimeMs, status, reason, updatedAtMs }: HistoryDelivery): void {
    this.#sql.exec(
      `INSERT OR REPLACE INTO untold_ends (offset, endpoint_id, message_id, message_time, status, reason, updated_at)
       VALUES (?, ?, ?, ?, ?, ?, ?)`,
      offset, endpointId, messageId, messageTimeMs, status, reason, updatedAtMs,
    );
    this.#isEmpty = false;
  }

  /** Whether exactly this end is among them. */
  has({ offset, endpointId, updatedAtMs }: HistoryDelivery): boolean {
    const rows = this.#sql.exec(
      "SELECT 1 FROM untold_ends WHERE offset = ? AND endpoint_id = ? AND updated_at = ?",
      offset, endpointId, updatedAtMs,
    );
    return rows.toArray().length > 0;
  }

  /** Of the messages with such an end, the first; null when there is none. */
  lowestOffset(): number | null {
    if (this.#isEmpty) return null;
    return this.#sql.exec<{ offset: number | null }>("SELECT min(offset) AS offset FROM untold_ends").one().offset;
  }

  /** Some of them, at most `limit`. */
  some(limit: number): HistoryDelivery[] {
    return this.#sql
      .exec<Row>("SELECT * FROM untold_ends ORDER BY offset, endpoint_id LIMIT ?", limit)
      .toArray()
      .map(({ offset, endpoint_id: endpointId, message_id: messageId, message_time: messageTimeMs, status, reason, updated_at: updatedAtMs }) => ({
        offset, endpointId, messageId, messageTimeMs, status, reason, nextAttemptAtMs: null, updatedAtMs,
      }));
  }

  /** Forgets those that history knows now. */
  told(deliveries: readonly HistoryDelivery[]): void {
    if (this.#isEmpty) return;
    for (const { offset, endpointId, status, updatedAtMs } of deliveries) {
      if (status === "open") continue;
      this.#sql.exec(
        "DELETE FROM untold_ends WHERE offset = ? AND endpoint_id = ? AND updated_at <= ?",
        offset, endpointId, updatedAtMs,
      );
    }
    this.#isEmpty = !this.#hasAny();
  }

  #hasAny(): boolean {
    return this.#sql.exec("SELECT 1 FROM untold_ends LIMIT 1").toArray().length > 0;
  }
}
