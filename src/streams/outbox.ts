import type { DeliveryRef, Verdict } from "../delivery/outcome.ts";
import type { Claim, OrderingKeys } from "./contract.ts";
import { type Head, type Lane, laneOf, Lanes } from "./lanes.ts";
import { isEarly, laneOfRow, type OpenRow, reopening, rowState } from "./open-row.ts";
import type { LogEntry } from "./segment-log.ts";

/** What identifies a delivery in history. */
export type OpenDelivery = DeliveryRef & { readonly messageId: string; readonly messageTimeMs: number };

/** A delivery that was settled, and what it was before. */
export type Settled = OpenDelivery & {
  readonly wasHeld: boolean;
  readonly hadRow: boolean;
  /** It had its turn in the lane of an endpoint that wants its messages in order. */
  readonly isOrdered: boolean;
};

/** What a row says of its delivery. */
export type OutboxRow = {
  readonly delivery: OpenDelivery;
  readonly isDead: boolean;
  /** It waits for its first attempt. */
  readonly isUntouched: boolean;
  readonly nextAtMs: number | null;
};

/** First attempts of one message that have no row: they are open because the log has them past the checkpoint. */
type InFlight = { readonly entry: LogEntry; readonly sinceMs: number; readonly endpointIds: Set<string> };

/** A first attempt without a result after this long becomes a row, so that it no longer holds back the checkpoint. */
const SPILL_AFTER_MS = 1_000;
/** Longer than any attempt lasts; then a claim without a result is taken for lost. */
const CLAIM_MS = 45_000;
/** How far past its time a delivery may be before the sweep takes its queue message for lost. */
export const SWEEP_GRACE_MS = 10_000;
const MAX_SWEEP_GRACE_MS = 10 * 60_000;
const FIRST_PROBE_MS = 10_000;
const MAX_PROBE_MS = 5 * 60_000;

/**
 * The deliveries of a stream that are not closed yet. First attempts live in memory only: the log has their targets,
 * and everything past its checkpoint is open by definition. What fails, waits or takes long is a row.
 */
export class Outbox {
  readonly #sql: SqlStorage;
  /** By offset, in order: the first key is the lowest open one. */
  readonly #inFlight = new Map<number, InFlight>();
  /** Deliveries somebody attempts right now, and until when that is believed. */
  readonly #claims = new Map<string, number>();
  readonly #lanes: Lanes;
  /** Heads of lanes that may go out now. */
  #advanced: Head[] = [];

  constructor(sql: SqlStorage) {
    this.#sql = sql;
    this.#lanes = new Lanes(sql);
  }

  /** Everything before this offset is closed or has a row. */
  settledBefore(nextOffset: number): number {
    for (const offset of this.#inFlight.keys()) return offset;
    return nextOffset;
  }

  /** Takes the targets of a message just committed; they count as claimed by their first attempt. */
  add(entry: LogEntry, nowMs: number): void {
    if (entry.endpointIds.length === 0) return;
    this.#inFlight.set(entry.offset, { entry, sinceMs: nowMs, endpointIds: new Set(entry.endpointIds) });
  }

  /** Takes the targets of a message just committed that want their messages in order. */
  addOrdered(entry: LogEntry, endpointIds: readonly string[], orderingKeys: OrderingKeys | undefined, nowMs: number): void {
    for (const endpointId of endpointIds) {
      const isHead = this.#lanes.add(entry, laneOf(entry, endpointId, orderingKeys?.[endpointId]), nowMs + CLAIM_MS);
      if (isHead) this.#advanced.push({ offset: entry.offset, endpointId, reopenedAtMs: 0 });
    }
  }

  /**
   * The heads of lanes whose turn has come since this was asked last; they count as claimed. Not those that a release of
   * their endpoint has let out meanwhile.
   */
  takeAdvanced(nowMs: number): Head[] {
    const advanced = this.#advanced.filter((head) => !this.isClaimed(head, nowMs));
    this.#advanced = [];
    for (const { offset, endpointId } of advanced) this.#claims.set(claimKey(offset, endpointId), nowMs + CLAIM_MS);
    return advanced;
  }

  /** Makes rows of targets, due at `nextAtMs`: a fan-out too large for the log, or what a restart found open. */
  addRows(entry: LogEntry, endpointIds: Iterable<string>, nextAtMs: number, attempting = false): void {
    for (const endpointId of endpointIds) {
      this.#sql.exec(
        `INSERT OR IGNORE INTO open_deliveries
           (offset, endpoint_id, message_id, message_time, status, attempts, attempting, next_at)
         VALUES (?, ?, ?, ?, 'waiting', 0, ?, ?)`,
        entry.offset, endpointId, entry.id, entry.timeMs, attempting ? 1 : 0, nextAtMs,
      );
    }
  }

  /** After a restart nobody attempts anything any more: what was under way is due at `nextAtMs`. */
  forgetAttempts(nextAtMs: number): void {
    this.#sql.exec("UPDATE open_deliveries SET attempting = 0, next_at = ? WHERE attempting = 1", nextAtMs);
  }

  /** Hands out those of the refs that are open, due and claimed by nobody else. */
  claim(refs: readonly DeliveryRef[], nowMs: number): Claim[] {
    const claims: Claim[] = [];
    for (const { offset, endpointId } of refs) {
      const key = claimKey(offset, endpointId);
      if ((this.#claims.get(key) ?? 0) > nowMs) continue;
      const row = this.#row(offset, endpointId);
      if (row === null) {
        if (this.#inFlight.get(offset)?.endpointIds.has(endpointId) !== true) continue;
      } else if (row.status === "dead" || row.status === "queued" || isEarly(row, nowMs)) {
        continue;
      }
      this.#claims.set(key, nowMs + CLAIM_MS);
      claims.push({ offset, endpointId, attemptNumber: (row?.attempts ?? 0) + 1, ...reopening(row?.reopened_at) });
    }
    return claims;
  }

  /** Marks targets as claimed whose attempt starts without {@link claim}. */
  claimFirst(offset: number, endpointIds: Iterable<string>, nowMs: number): void {
    for (const endpointId of endpointIds) this.#claims.set(claimKey(offset, endpointId), nowMs + CLAIM_MS);
  }

  /** Applies a verdict; null when the delivery is closed already, else what it was. */
  settle(ref: DeliveryRef, verdict: Verdict, nowMs: number): Settled | null {
    const { offset, endpointId } = ref;
    this.#claims.delete(claimKey(offset, endpointId));
    const inFlight = this.#inFlight.get(offset);
    if (inFlight?.endpointIds.has(endpointId) === true) {
      inFlight.endpointIds.delete(endpointId);
      if (inFlight.endpointIds.size === 0) this.#inFlight.delete(offset);
      const { id: messageId, timeMs: messageTimeMs } = inFlight.entry;
      const delivery: OpenDelivery = { offset, endpointId, messageId, messageTimeMs };
      if (verdict.status !== "delivered" && verdict.status !== "cancelled") this.#insert(delivery, verdict, nowMs);
      return { ...delivery, wasHeld: false, hadRow: false, isOrdered: false };
    }
    const row = this.#row(offset, endpointId);
    if (row === null || row.status === "dead") return null;
    this.#update(row, verdict, nowMs);
    const isOrdered = row.ordered === 1;
    if (isOrdered) this.#advance(laneOfRow(row), nowMs);
    return { ...deliveryOf(row), wasHeld: row.status === "held", hadRow: true, isOrdered };
  }

  /** Opens a delivery again, whatever became of it; due at once. */
  reopen(delivery: OpenDelivery, nowMs: number): void {
    this.#sql.exec(
      `INSERT INTO open_deliveries (offset, endpoint_id, message_id, message_time, status, attempts, reopened_at, next_at)
       VALUES (?1, ?2, ?3, ?4, 'waiting', 0, ?5, ?5)
       ON CONFLICT (offset, endpoint_id) DO UPDATE SET status = 'waiting', attempts = 0, sweeps = 0, attempting = 0,
         reopened_at = excluded.reopened_at, next_at = excluded.next_at
         WHERE status <> 'queued'`,
      delivery.offset, delivery.endpointId, delivery.messageId, delivery.messageTimeMs, nowMs,
    );
  }

  /** The lane of a delivery that has a row in one; null for any other. */
  laneOf({ offset, endpointId }: DeliveryRef): Lane | null {
    const row = this.#row(offset, endpointId);
    return row?.ordered === 1 ? laneOfRow(row) : null;
  }

  /** Opens a delivery again in its lane: it comes when what is before it there has. One under way stays so. */
  reopenOrdered(entry: LogEntry, lane: Lane, nowMs: number): void {
    if (this.isClaimed({ offset: entry.offset, endpointId: lane.endpointId }, nowMs)) return;
    this.#lanes.reopen(entry, lane, nowMs);
    this.#advance(lane, nowMs);
  }

  /** Whether somebody attempts it right now. */
  isClaimed({ offset, endpointId }: DeliveryRef, nowMs: number): boolean {
    return (this.#claims.get(claimKey(offset, endpointId)) ?? 0) > nowMs;
  }

  /** What is attempted right now of an endpoint. */
  claimedOffsets(endpointId: string, nowMs: number): number[] {
    const suffix = claimKey("", endpointId);
    return [...this.#claims].flatMap(([key, untilMs]) => (untilMs > nowMs && key.endsWith(suffix) ? [Number.parseInt(key, 10)] : []));
  }

  /** Nobody attempts it after all. */
  unclaim({ offset, endpointId }: DeliveryRef): void {
    this.#claims.delete(claimKey(offset, endpointId));
  }

  /** Its first attempt is not made: it has a row instead. */
  forgetFirst(offset: number, endpointId: string): void {
    const inFlight = this.#inFlight.get(offset);
    inFlight?.endpointIds.delete(endpointId);
    if (inFlight?.endpointIds.size === 0) this.#inFlight.delete(offset);
  }

  /** Ends what is open of a message, as cancelled; returns it. */
  cancelMessage(offset: number, nowMs: number): Settled[] {
    const cancelled: Settled[] = [];
    const inFlight = this.#inFlight.get(offset);
    for (const endpointId of inFlight?.endpointIds ?? []) {
      if (inFlight === undefined) continue;
      cancelled.push({ offset, endpointId, messageId: inFlight.entry.id, messageTimeMs: inFlight.entry.timeMs, wasHeld: false, hadRow: false, isOrdered: false });
    }
    this.#inFlight.delete(offset);
    const lanes: Lane[] = [];
    for (const row of this.#sql.exec<OpenRow>("SELECT * FROM open_deliveries WHERE offset = ? AND status <> 'dead'", offset)) {
      if (row.ordered === 1) lanes.push(laneOfRow(row));
      cancelled.push({ ...deliveryOf(row), wasHeld: row.status === "held", hadRow: true, isOrdered: row.ordered === 1 });
    }
    this.#sql.exec("DELETE FROM open_deliveries WHERE offset = ? AND status <> 'dead'", offset);
    for (const lane of lanes) this.#advance(lane, nowMs);
    return cancelled;
  }

  /** Ends everything that is open, as cancelled; returns it. */
  cancelAll(nowMs: number): Settled[] {
    const offsets = new Set(this.#inFlight.keys());
    for (const { offset } of this.#sql.exec<{ offset: number }>("SELECT DISTINCT offset FROM open_deliveries WHERE status <> 'dead'")) {
      offsets.add(offset);
    }
    return [...offsets].flatMap((offset) => this.cancelMessage(offset, nowMs));
  }

  /** How much is open, and the time of the oldest of it. */
  backlog(): { open: number; oldestTimeMs: number | null } {
    const { open, oldest } = this.#sql
      .exec<{ open: number; oldest: number | null }>(
        "SELECT count(*) AS open, min(message_time) AS oldest FROM open_deliveries WHERE status <> 'dead'",
      )
      .one();
    let inFlight = 0;
    let oldestTimeMs = oldest;
    for (const { entry, endpointIds } of this.#inFlight.values()) {
      inFlight += endpointIds.size;
      oldestTimeMs = Math.min(oldestTimeMs ?? entry.timeMs, entry.timeMs);
    }
    return { open: open + inFlight, oldestTimeMs };
  }

  /** Makes rows of first attempts that take long, so that the checkpoint can pass them; whether there were any. */
  spill(nowMs: number): boolean {
    let spilled = false;
    for (const [offset, { entry, sinceMs, endpointIds }] of this.#inFlight) {
      if (nowMs - sinceMs < SPILL_AFTER_MS) break;
      this.addRows(entry, endpointIds, nowMs + CLAIM_MS, true);
      this.#inFlight.delete(offset);
      spilled = true;
    }
    return spilled;
  }

  /**
   * What is overdue beyond the grace and attempted by nobody: its queue message is taken for lost. Each find makes
   * the next grace longer, so that a queue that is merely slow is not flooded.
   */
  sweep(nowMs: number, limit: number): DeliveryRef[] {
    const rows = this.#sql
      .exec<OpenRow>(
        "SELECT * FROM open_deliveries WHERE next_at <= ? ORDER BY next_at LIMIT ?",
        nowMs - SWEEP_GRACE_MS, limit,
      )
      .toArray();
    const found: DeliveryRef[] = [];
    for (const row of rows) {
      const claimedUntil = this.#claims.get(claimKey(row.offset, row.endpoint_id)) ?? 0;
      const graceMs = Math.min(SWEEP_GRACE_MS * 2 ** row.sweeps, MAX_SWEEP_GRACE_MS) - SWEEP_GRACE_MS;
      const nextAtMs = Math.max(nowMs + graceMs, claimedUntil);
      this.#sql.exec(
        "UPDATE open_deliveries SET next_at = ?, sweeps = sweeps + 1 WHERE offset = ? AND endpoint_id = ?",
        nextAtMs, row.offset, row.endpoint_id,
      );
      if (claimedUntil <= nowMs) found.push({ offset: row.offset, endpointId: row.endpoint_id });
    }
    return found;
  }

  /** Sees to it that an endpoint which has held deliveries is asked again. */
  hold(endpointId: string, nowMs: number): void {
    this.#sql.exec(
      "INSERT OR IGNORE INTO holds (endpoint_id, next_probe_at, probes) VALUES (?, ?, 0)",
      endpointId, nowMs + FIRST_PROBE_MS,
    );
  }

  /** Asks every endpoint that has held deliveries again by then: after a restart what let them flow may have been lost. */
  probeAllBy(atMs: number): void {
    this.#sql.exec("UPDATE holds SET next_probe_at = min(next_probe_at, ?), probes = 0", atMs);
  }

  /** Nothing of it is held any more. */
  unhold(endpointId: string): void {
    this.#sql.exec("DELETE FROM holds WHERE endpoint_id = ?", endpointId);
  }

  /** One held delivery of each endpoint whose time to be asked again has come; none of one that flows as it can. */
  probes(nowMs: number, isFree: (endpointId: string) => boolean): DeliveryRef[] {
    const holds = this.#sql
      .exec<{ endpoint_id: string; probes: number }>("SELECT endpoint_id, probes FROM holds WHERE next_probe_at <= ?", nowMs)
      .toArray();
    const found: DeliveryRef[] = [];
    for (const { endpoint_id: endpointId, probes } of holds) {
      const [row] = this.#sql
        .exec<{ offset: number }>(
          "SELECT offset FROM open_deliveries WHERE endpoint_id = ? AND status = 'held' ORDER BY offset LIMIT 1",
          endpointId,
        )
        .toArray();
      if (row === undefined) {
        this.#sql.exec("DELETE FROM holds WHERE endpoint_id = ?", endpointId);
        continue;
      }
      const next = isFree(endpointId) ? probes + 1 : 0;
      const waitMs = Math.min(FIRST_PROBE_MS * 2 ** Math.max(0, next - 1), MAX_PROBE_MS);
      this.#sql.exec("UPDATE holds SET next_probe_at = ?, probes = ? WHERE endpoint_id = ?", nowMs + waitMs, next, endpointId);
      if (isFree(endpointId)) found.push({ offset: row.offset, endpointId });
    }
    return found;
  }

  /** When the sweep or a probe has something to do at the earliest, ms; null when nothing waits. */
  nextWakeMs(): number | null {
    const { due } = this.#sql
      .exec<{ due: number | null }>("SELECT min(next_at) AS due FROM open_deliveries WHERE next_at IS NOT NULL")
      .one();
    const { probe } = this.#sql.exec<{ probe: number | null }>("SELECT min(next_probe_at) AS probe FROM holds").one();
    const times = [due === null ? null : due + SWEEP_GRACE_MS, probe].filter((time) => time !== null);
    return times.length === 0 ? null : Math.min(...times);
  }

  /** The lowest offset that still has a delivery to make; null when there is none. Dead ones do not count. */
  lowestOpenOffset(): number | null {
    const { lowest } = this.#sql
      .exec<{ lowest: number | null }>("SELECT min(offset) AS lowest FROM open_deliveries WHERE status <> 'dead'")
      .one();
    for (const offset of this.#inFlight.keys()) return lowest === null ? offset : Math.min(offset, lowest);
    return lowest;
  }

  /** Forgets the dead deliveries of messages that left the log. */
  forgetDeadBefore(offset: number): void {
    this.#sql.exec("DELETE FROM open_deliveries WHERE offset < ? AND status = 'dead'", offset);
  }

  /** Whether anything is attempted now; then a restart has to find that at once, and not when its claim ends. */
  isAttempting(nowMs: number): boolean {
    for (const [key, untilMs] of this.#claims) {
      if (untilMs > nowMs) return true;
      this.#claims.delete(key);
    }
    return false;
  }

  hasInFlight(): boolean {
    return this.#inFlight.size > 0;
  }

  /** The rows of a stretch of the log in its order, at most `limit`; `to` is not part of it. */
  rowsBetween(from: number, to: number, limit: number): OutboxRow[] {
    return this.#sql
      .exec<OpenRow>("SELECT * FROM open_deliveries WHERE offset >= ? AND offset < ? ORDER BY offset, endpoint_id LIMIT ?", from, to, limit)
      .toArray()
      .map((row) => ({
        delivery: deliveryOf(row),
        isDead: row.status === "dead",
        isUntouched: row.attempts === 0 && (row.status === "waiting" || row.status === "queued"),
        nextAtMs: row.next_at,
      }));
  }

  #advance(lane: Lane, nowMs: number): void {
    const head = this.#lanes.advance(lane, nowMs + CLAIM_MS);
    if (head !== null) this.#advanced.push(head);
  }

  #row(offset: number, endpointId: string): OpenRow | null {
    const [row] = this.#sql
      .exec<OpenRow>("SELECT * FROM open_deliveries WHERE offset = ? AND endpoint_id = ?", offset, endpointId)
      .toArray();
    return row ?? null;
  }

  #insert(delivery: OpenDelivery, verdict: Verdict, nowMs: number): void {
    const { status, attempts, nextAtMs } = rowState(verdict, 0);
    this.#sql.exec(
      `INSERT OR REPLACE INTO open_deliveries (offset, endpoint_id, message_id, message_time, status, attempts, next_at)
       VALUES (?, ?, ?, ?, ?, ?, ?)`,
      delivery.offset, delivery.endpointId, delivery.messageId, delivery.messageTimeMs, status, attempts, nextAtMs,
    );
    if (status === "held") this.hold(delivery.endpointId, nowMs);
  }

  #update(row: OpenRow, verdict: Verdict, nowMs: number): void {
    if (verdict.status === "delivered" || verdict.status === "cancelled") {
      this.#sql.exec("DELETE FROM open_deliveries WHERE offset = ? AND endpoint_id = ?", row.offset, row.endpoint_id);
      return;
    }
    const { status, attempts, nextAtMs } = rowState(verdict, row.attempts);
    this.#sql.exec(
      "UPDATE open_deliveries SET status = ?, attempts = ?, sweeps = 0, attempting = 0, next_at = ? WHERE offset = ? AND endpoint_id = ?",
      status, attempts, nextAtMs, row.offset, row.endpoint_id,
    );
    if (status === "held") this.hold(row.endpoint_id, nowMs);
  }
}

function deliveryOf(row: OpenRow): OpenDelivery {
  return { offset: row.offset, endpointId: row.endpoint_id, messageId: row.message_id, messageTimeMs: row.message_time };
}

function claimKey(offset: number | "", endpointId: string): string {
  return `${offset}/${endpointId}`;
}
