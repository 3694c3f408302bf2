import type { AttemptReport } from "./attempt.ts";
import type { DeliveryEndpoint } from "./endpoint.ts";
import type { Verdict } from "./outcome.ts";
import { nextAttemptAt } from "./retry-policy.ts";

/** An endpoint that has answered with nothing but failures for this long is disabled (§4). */
const DISABLE_AFTER_FAILING_MS = 5 * 24 * 60 * 60 * 1000;

/** What an attempt says about the endpoint as a whole. */
export type HealthChange =
  | { readonly change: "none" }
  | { readonly change: "started-failing"; readonly sinceMs: number }
  | { readonly change: "recovered" }
  | { readonly change: "disable"; readonly reason: string };

/** What was attempted. `others`: members of a queue that can be tried next. */
type Attempted = {
  readonly endpoint: DeliveryEndpoint;
  readonly claim: { readonly attemptNumber: number };
  readonly others: number;
};

/** Another member of the queue has its turn after this; a query's caller is waiting. */
const NEXT_MEMBER_MS = 500;

/**
 * What becomes of a delivery after an attempt: delivered, tried again, held while its endpoint is disabled, or dead.
 * In a queue the other members come first, one after the other; then the schedule of the endpoint begins.
 */
export function verdictOf(
  { endpoint, claim: { attemptNumber }, others }: Attempted,
  report: AttemptReport,
  nowMs: number,
  random: number,
): Verdict {
  if (report.succeeded) return { status: "delivered" };
  if (attemptNumber <= others) return { status: "open", nextAttemptAtMs: nowMs + NEXT_MEMBER_MS, counted: true };
  if (report.gone) return { status: "held", reason: "disabled", counted: true };
  const failed = { attemptNumber: attemptNumber - others, retryAfterMs: report.retryAfterMs };
  const nextAttemptAtMs = nextAttemptAt(failed, endpoint.retryScheduleSeconds, nowMs, random);
  if (nextAttemptAtMs === null) {
    return { status: "dead", reason: `All ${attemptNumber} attempts failed; the last: ${report.record.error?.detail ?? ""}` };
  }
  return { status: "open", nextAttemptAtMs, counted: true };
}

/** Writes to the control plane only when the endpoint's health turns, not at every attempt. */
export function healthChange(endpoint: DeliveryEndpoint, report: AttemptReport): HealthChange {
  const { failingSinceMs } = endpoint;
  if (report.succeeded) return failingSinceMs === null ? { change: "none" } : { change: "recovered" };
  if (report.gone) return { change: "disable", reason: "The endpoint answered 410 Gone." };
  const atMs = report.record.startedAtMs;
  if (failingSinceMs === null) return { change: "started-failing", sinceMs: atMs };
  if (atMs - failingSinceMs < DISABLE_AFTER_FAILING_MS) return { change: "none" };
  return { change: "disable", reason: `Nothing but failures since ${new Date(failingSinceMs).toISOString()}.` };
}
