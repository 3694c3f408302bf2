import type { Appended } from "./contract.ts";

/** How long a publisher's id de-duplicates (§3). */
const WINDOW_MS = 24 * 60 * 60 * 1000;
const PRUNE_LIMIT = 5_000;

type Known = Pick<Appended, "offset" | "timeMs" | "matched">;

/** The ids that publishers chose in the last 24 h, with what they were answered. */
export class ChosenIds {
  readonly #sql: SqlStorage;

  constructor(sql: SqlStorage) {
    this.#sql = sql;
  }

  find(id: string, nowMs: number): Known | null {
    const [row] = this.#sql
      .exec<{ offset: number; time: number; matched: number }>(
        "SELECT offset, time, matched FROM chosen_ids WHERE id = ? AND time > ?",
        id, nowMs - WINDOW_MS,
      )
      .toArray();
    return row === undefined ? null : { offset: row.offset, timeMs: row.time, matched: row.matched };
  }

  add(id: string, known: Known): void {
    this.#sql.exec(
      "INSERT OR REPLACE INTO chosen_ids (id, offset, time, matched) VALUES (?, ?, ?, ?)",
      id, known.offset, known.timeMs, known.matched,
    );
  }

  prune(nowMs: number): void {
    this.#sql.exec(
      "DELETE FROM chosen_ids WHERE id IN (SELECT id FROM chosen_ids WHERE time <= ? LIMIT ?)",
      nowMs - WINDOW_MS, PRUNE_LIMIT,
    );
  }
}
