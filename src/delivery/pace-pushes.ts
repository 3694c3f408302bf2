import { describeError, log } from "../log.ts";
import type { PushTask } from "./attempt-push.ts";
import type { AttemptWorld } from "./attempt.ts";
import type { Pace } from "./rate-schedule.ts";
import type { Verdict } from "./outcome.ts";

/** Asks an endpoint's gate for turns. */
export type ReserveTurns = (endpointId: string, count: number, perSecond: number, returning: boolean) => Promise<Pace>;

/** A push with its turn: at once, in `delayMs`, or not now. */
export type PacedPush = { readonly task: PushTask; readonly turn: { readonly delayMs: number } | { readonly verdict: Verdict } };

const AT_ONCE = { delayMs: 0 } as const;
const GATE_RETRY_MS = 2_000;

/** Gives every push its turn; those to endpoints without a rate limit have it now, and cost no call. */
export async function pacePushes(
  pushes: readonly PushTask[],
  returning: boolean,
  reserve: ReserveTurns,
  world: AttemptWorld,
): Promise<PacedPush[]> {
  if (pushes.every(({ endpoint }) => endpoint.rateLimit === null)) return pushes.map((task) => ({ task, turn: AT_ONCE }));
  const free = pushes.filter(({ endpoint }) => endpoint.rateLimit === null);
  const limited = Map.groupBy(
    pushes.filter(({ endpoint }) => endpoint.rateLimit !== null),
    ({ endpoint }) => endpoint.id,
  );
  const paced = await Promise.all([...limited.values()].map((tasks) => paceEndpoint(tasks, returning, reserve, world)));
  return [...free.map((task) => ({ task, turn: AT_ONCE })), ...paced.flat()];
}

async function paceEndpoint(
  tasks: readonly PushTask[],
  returning: boolean,
  reserve: ReserveTurns,
  world: AttemptWorld,
): Promise<PacedPush[]> {
  const [first] = tasks;
  const perSecond = first?.endpoint.rateLimit ?? null;
  if (first === undefined || perSecond === null) return [];
  let pace: Pace;
  try {
    pace = await reserve(first.endpoint.id, tasks.length, perSecond, returning);
  } catch (error) {
    log("warn", "rate-gate.failed", { endpointId: first.endpoint.id, error: describeError(error) });
    pace = { delaysMs: [], laterMs: tasks.map(() => GATE_RETRY_MS) };
  }
  return tasks.map((task, index) => {
    const delayMs = pace.delaysMs[index];
    if (delayMs !== undefined) return { task, turn: { delayMs } };
    const laterMs = pace.laterMs[index - pace.delaysMs.length] ?? GATE_RETRY_MS;
    return { task, turn: { verdict: { status: "open", nextAttemptAtMs: Math.round(world.now() + laterMs), counted: false } } };
  });
}
