import type { Circuit } from "./flow-control.ts";

type Row = { endpoint_id: string; opened_at: number; probe_at: number; probes: number; failures: number; attempts: number };

/** Open circuits, and closed ones that the control plane has yet to be told of. */
export class CircuitRows {
  readonly #sql: SqlStorage;

  constructor(sql: SqlStorage) {
    this.#sql = sql;
  }

  open(): (readonly [string, Circuit])[] {
    return this.#sql
      .exec<Row>("SELECT * FROM circuits WHERE closed = 0")
      .toArray()
      .map(({ endpoint_id, opened_at: openedAtMs, probe_at: probeAtMs, probes, failures, attempts }) => [
        endpoint_id,
        { openedAtMs, probeAtMs, probes, failures, attempts },
      ]);
  }

  closed(): string[] {
    return this.#sql
      .exec<{ endpoint_id: string }>("SELECT endpoint_id FROM circuits WHERE closed = 1")
      .toArray()
      .map((row) => row.endpoint_id);
  }

  save(endpointId: string, { openedAtMs, probeAtMs, probes, failures, attempts }: Circuit): void {
    this.#sql.exec(
      `INSERT OR REPLACE INTO circuits (endpoint_id, opened_at, probe_at, probes, failures, attempts, closed)
       VALUES (?, ?, ?, ?, ?, ?, 0)`,
      endpointId, openedAtMs, probeAtMs, probes, failures, attempts,
    );
  }

  close(endpointId: string): void {
    this.#sql.exec("UPDATE circuits SET closed = 1 WHERE endpoint_id = ?", endpointId);
  }

  /** The control plane knows that it is closed. */
  forget(endpointId: string): void {
    this.#sql.exec("DELETE FROM circuits WHERE endpoint_id = ? AND closed = 1", endpointId);
  }
}
