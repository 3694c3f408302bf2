import { IS_ONE_OF } from "./durable-object-messages.ts";
import type { HandleResult } from "./mailbox.ts";

export type Lease = {
  /** Visible again from then on. */
  readonly visibleAtMs: number;
  /** Fences the handle: another receive has another, and none is left once it was given back. */
  readonly nonce: string;
  readonly receiveCount: number;
};

type LeaseRow = { seq: number; visible_at: number; nonce: string; receive_count: number };

const HANDLE = /^([1-9][0-9]{0,14})\.([0-9a-f]{32})$/;
const GIVEN_BACK = "";

export function formatHandle(seq: number, nonce: string): string {
  return `${seq}.${nonce}`;
}

/** Who holds which message until when: on disk, and all of it in memory. All calls are synchronous. */
export class Leases {
  readonly #sql: SqlStorage;
  readonly #leases = new Map<number, Lease>();
  /** No lease ends before it; what has ended counts until it is taken again. */
  #firstEndMs = Number.POSITIVE_INFINITY;

  constructor(sql: SqlStorage) {
    this.#sql = sql;
    for (const row of sql.exec<LeaseRow>("SELECT seq, visible_at, nonce, receive_count FROM leases")) {
      this.#remember(row.seq, { visibleAtMs: row.visible_at, nonce: row.nonce, receiveCount: row.receive_count });
    }
  }

  get size(): number {
    return this.#leases.size;
  }

  /** Whether it was ever received. */
  has(seq: number): boolean {
    return this.#leases.has(seq);
  }

  receiveCount(seq: number): number {
    return this.#leases.get(seq)?.receiveCount ?? 0;
  }

  isHidden(seq: number, nowMs: number): boolean {
    return (this.#leases.get(seq)?.visibleAtMs ?? 0) > nowMs;
  }

  hiddenCount(nowMs: number): number {
    let count = 0;
    for (const lease of this.#leases.values()) if (lease.visibleAtMs > nowMs) count++;
    return count;
  }

  /** The messages that have come back, in the order they were sent. */
  ended(nowMs: number): number[] {
    if (nowMs < this.#firstEndMs) return [];
    const seqs: number[] = [];
    this.#firstEndMs = Number.POSITIVE_INFINITY;
    for (const [seq, { visibleAtMs }] of this.#leases) {
      if (visibleAtMs <= nowMs) seqs.push(seq);
      this.#firstEndMs = Math.min(this.#firstEndMs, visibleAtMs);
    }
    return seqs.sort((left, right) => left - right);
  }

  /** When the next message comes back; null when none is held. */
  nextEndMs(nowMs: number): number | null {
    let next = Number.POSITIVE_INFINITY;
    for (const { visibleAtMs } of this.#leases.values()) if (visibleAtMs > nowMs) next = Math.min(next, visibleAtMs);
    return Number.isFinite(next) ? next : null;
  }

  /** Held by whoever has the nonce; counts as one receive of each. */
  take(seqs: readonly number[], nonce: string, visibleAtMs: number): void {
    this.#save(seqs.map((seq) => [seq, { visibleAtMs, nonce, receiveCount: this.receiveCount(seq) + 1 }]));
  }

  /** The message a handle stands for now, or why it stands for none. */
  held(handle: string, nowMs: number): number | Extract<HandleResult, { readonly ok: false }> {
    const [, digits, nonce] = HANDLE.exec(handle) ?? [];
    if (digits === undefined || nonce === undefined) return { ok: false, reason: "invalid" };
    const seq = Number(digits);
    const lease = this.#leases.get(seq);
    if (lease === undefined || lease.nonce !== nonce || lease.visibleAtMs <= nowMs) return { ok: false, reason: "stale" };
    return seq;
  }

  extend(seqs: readonly number[], visibleAtMs: number): void {
    this.#change(seqs, { visibleAtMs });
  }

  giveBack(seqs: readonly number[], visibleAtMs: number): void {
    this.#change(seqs, { visibleAtMs, nonce: GIVEN_BACK });
  }

  remove(seqs: readonly number[]): void {
    const held = seqs.filter((seq) => this.#leases.delete(seq));
    if (held.length > 0) this.#sql.exec(`DELETE FROM leases WHERE ${IS_ONE_OF}`, JSON.stringify(held));
  }

  clear(): void {
    this.#leases.clear();
    this.#firstEndMs = Number.POSITIVE_INFINITY;
    this.#sql.exec("DELETE FROM leases");
  }

  #change(seqs: readonly number[], change: Partial<Lease>): void {
    this.#save(
      seqs.flatMap((seq): [number, Lease][] => {
        const lease = this.#leases.get(seq);
        return lease === undefined ? [] : [[seq, { ...lease, ...change }]];
      }),
    );
  }

  #save(leases: readonly (readonly [seq: number, lease: Lease])[]): void {
    this.#sql.exec(
      `INSERT INTO leases (seq, visible_at, nonce, receive_count)
       SELECT value ->> 0, value ->> 1, value ->> 2, value ->> 3 FROM json_each(?) WHERE true
       ON CONFLICT (seq) DO UPDATE SET visible_at = excluded.visible_at, nonce = excluded.nonce, receive_count = excluded.receive_count`,
      JSON.stringify(leases.map(([seq, { visibleAtMs, nonce, receiveCount }]) => [seq, visibleAtMs, nonce, receiveCount])),
    );
    for (const [seq, lease] of leases) this.#remember(seq, lease);
  }

  #remember(seq: number, lease: Lease): void {
    this.#leases.set(seq, lease);
    this.#firstEndMs = Math.min(this.#firstEndMs, lease.visibleAtMs);
  }
}
