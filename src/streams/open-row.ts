import type { Verdict } from "../delivery/outcome.ts";
import type { Claim } from "./contract.ts";
import type { Lane } from "./lanes.ts";

/** A queue message may arrive this much before the time it was sent for. */
const EARLY_MS = 2_000;

/** A row of `open_deliveries`. */
export type OpenRow = {
  offset: number;
  endpoint_id: string;
  message_id: string;
  message_time: number;
  status: "waiting" | "queued" | "held" | "dead";
  ordered: 0 | 1;
  lane_key: string;
  reopened_at: number;
  attempts: number;
  sweeps: number;
  next_at: number | null;
};

/** The lane of an ordered delivery. */
export function laneOfRow({ endpoint_id: endpointId, lane_key: key }: OpenRow): Lane {
  return { endpointId, key };
}

/** Of a claim of a delivery that was opened again. */
export function reopening(reopenedAtMs: number | undefined): Pick<Claim, "reopenedAtMs"> {
  return reopenedAtMs === undefined || reopenedAtMs === 0 ? {} : { reopenedAtMs };
}

type RowState = { status: "waiting" | "held" | "dead"; attempts: number; nextAtMs: number | null };

/** The row that stands for a verdict other than delivered or cancelled. */
export function rowState(verdict: Verdict, attempts: number): RowState {
  switch (verdict.status) {
    case "open":
      return { status: "waiting", attempts: attempts + (verdict.counted ? 1 : 0), nextAtMs: verdict.nextAttemptAtMs };
    case "held":
      return { status: "held", attempts: attempts + (verdict.counted === true ? 1 : 0), nextAtMs: null };
    case "dead":
      return { status: "dead", attempts: attempts + 1, nextAtMs: null };
    case "delivered":
    case "cancelled":
      throw new Error(`a ${verdict.status} delivery has no row`);
  }
}

/** Of what the sweep sent again, `next_at` only says when it is looked for once more: that job is no early one. */
export function isEarly({ sweeps, next_at: nextAtMs }: OpenRow, nowMs: number): boolean {
  return sweeps === 0 && nextAtMs !== null && nextAtMs > nowMs + EARLY_MS;
}
