import type { DeliveryRef } from "../delivery/outcome.ts";
import type { Claim } from "./contract.ts";
import { reopening } from "./open-row.ts";
import type { Outbox } from "./outbox.ts";
import type { LogEntry } from "./segment-log.ts";

/** What may be attempted a moment before its time is due. */
const EARLY_MS = 2_000;
/** Longer than any attempt lasts, as a claim. */
const GIVE_UP_MS = 45_000;

/**
 * The deliveries of a stream that wait for their endpoint's flow (`FlowControl`): `held` rows of the outbox. Each
 * endpoint that has some is in `holds` too, so that a restart finds them.
 */
export class Parked {
  readonly #sql: SqlStorage;
  readonly #outbox: Outbox;

  constructor(sql: SqlStorage, outbox: Outbox) {
    this.#sql = sql;
    this.#outbox = outbox;
  }

  /** Parks targets of a message just committed, instead of their first attempt. */
  first(entry: LogEntry, endpointIds: readonly string[], nowMs: number): void {
    this.#outbox.addRows(entry, endpointIds, nowMs);
    for (const endpointId of endpointIds) {
      this.#outbox.forgetFirst(entry.offset, endpointId);
      this.now({ offset: entry.offset, endpointId }, nowMs);
    }
  }

  /** Parks a delivery that is due and attempted by nobody. */
  due(ref: DeliveryRef, nowMs: number): void {
    if (!this.#outbox.isClaimed(ref, nowMs)) this.#park(ref, "AND next_at <= ?", [nowMs + EARLY_MS], nowMs);
  }

  /** Parks a delivery that waits, whenever it is due. */
  now(ref: DeliveryRef, nowMs: number): void {
    this.#park(ref, "", [], nowMs);
  }

  /** Parks everything of an endpoint that waits and is attempted by nobody; how much is parked then. */
  all(endpointId: string, nowMs: number): number {
    this.#sql.exec(
      `UPDATE open_deliveries SET status = 'held', sweeps = 0, attempting = 0, next_at = NULL
       WHERE endpoint_id = ? AND status = 'waiting' AND offset NOT IN (SELECT value FROM json_each(?))`,
      endpointId, JSON.stringify(this.#outbox.claimedOffsets(endpointId, nowMs)),
    );
    const { n } = this.#sql
      .exec<{ n: number }>("SELECT count(*) AS n FROM open_deliveries WHERE endpoint_id = ? AND status = 'held'", endpointId)
      .one();
    if (n > 0) this.#outbox.hold(endpointId, nowMs);
    return n;
  }

  /** Takes the oldest ones out to be attempted now, which count as claimed; not one that is asked about already. */
  take(endpointId: string, limit: number, nowMs: number): Claim[] {
    const rows = this.#sql
      .exec<{ offset: number; attempts: number; reopened_at: number }>(
        `SELECT offset, attempts, reopened_at FROM open_deliveries
         WHERE endpoint_id = ? AND status = 'held' AND offset NOT IN (SELECT value FROM json_each(?)) ORDER BY offset LIMIT ?`,
        endpointId, JSON.stringify(this.#outbox.claimedOffsets(endpointId, nowMs)), limit,
      )
      .toArray();
    for (const { offset } of rows) {
      this.#sql.exec(
        "UPDATE open_deliveries SET status = 'waiting', attempting = 1, next_at = ? WHERE offset = ? AND endpoint_id = ?",
        nowMs + GIVE_UP_MS, offset, endpointId,
      );
      this.#outbox.claimFirst(offset, [endpointId], nowMs);
    }
    return rows.map(({ offset, attempts, reopened_at }) => ({ offset, endpointId, attemptNumber: attempts + 1, ...reopening(reopened_at) }));
  }

  has(endpointId: string): boolean {
    const rows = this.#sql.exec("SELECT 1 FROM open_deliveries WHERE endpoint_id = ? AND status = 'held' LIMIT 1", endpointId);
    return rows.toArray().length > 0;
  }

  #park({ offset, endpointId }: DeliveryRef, condition: string, values: readonly number[], nowMs: number): void {
    const { rowsWritten } = this.#sql.exec(
      `UPDATE open_deliveries SET status = 'held', sweeps = 0, attempting = 0, next_at = NULL
       WHERE offset = ? AND endpoint_id = ? AND status = 'waiting' ${condition}`,
      offset, endpointId, ...values,
    );
    if (rowsWritten > 0) this.#outbox.hold(endpointId, nowMs);
  }
}
