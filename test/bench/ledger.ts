import { setTimeout as sleep } from "node:timers/promises";
import type { Arrivals, Receiver } from "./load/receiver.ts";
import type { System } from "./system.ts";

/** A run, and how to count anew what it lost and what came twice. */
export type LedgerEntry = {
  readonly system: System["name"];
  readonly tag: string;
  readonly recount: (arrivals: Arrivals) => Balance;
};

export type Balance = { readonly lost: number; readonly duplicates: number };

const LATE_DEADLINE_MS = 30_000;
const POLL_MS = 1000;

/** Remembers every run to the end: what has not come when its run is counted may be late, or may come twice later. */
export class Ledger {
  readonly #entries: LedgerEntry[] = [];

  add(entry: LedgerEntry): void {
    this.#entries.push(entry);
  }

  /** The final count for a system, warm-ups included; waits up to 30 s for what is still missing. */
  async balance(receiver: Receiver, system: System["name"]): Promise<Balance> {
    const entries = this.#entries.filter((entry) => entry.system === system);
    for (let waitedMs = 0; ; waitedMs += POLL_MS) {
      let lost = 0;
      let duplicates = 0;
      for (const { tag, recount } of entries) {
        const balance = recount(await receiver.report(tag));
        lost += balance.lost;
        duplicates += balance.duplicates;
      }
      if (lost === 0 || waitedMs >= LATE_DEADLINE_MS) return { lost, duplicates };
      await sleep(POLL_MS);
    }
  }
}
