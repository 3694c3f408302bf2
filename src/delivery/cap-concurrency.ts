import { describeError, log } from "../log.ts";
import type { AttemptWorld } from "./attempt.ts";
import type { PacedPush } from "./pace-pushes.ts";

/** Where leave is had for attempts at endpoints that want only so many at once. */
export type PermitGate = {
  readonly take: (endpointId: string, count: number, max: number, lastsMs: number) => Promise<readonly number[]>;
  readonly giveBack: (endpointId: string, permit: number) => Promise<void>;
};

/** Beyond an attempt's own time: what it waits for a place, and for a token. */
const SLACK_MS = 30_000;
const BUSY_DELAY_MS = 2_000;

/** Gives the pushes that have their turn now a permit, or defers them; those to endpoints without a cap cost no call. */
export async function capConcurrency(paced: readonly PacedPush[], gate: PermitGate, world: AttemptWorld): Promise<readonly PacedPush[]> {
  const wanted = Map.groupBy(
    paced.filter(({ task, turn }) => task.endpoint.maxConcurrency !== undefined && !("verdict" in turn)),
    ({ task }) => task.endpoint.id,
  );
  if (wanted.size === 0) return paced;
  const capped = await Promise.all([...wanted.values()].map((pushes) => capEndpoint(pushes, gate, world)));
  return [...paced.filter((push) => wanted.get(push.task.endpoint.id)?.includes(push) !== true), ...capped.flat()];
}

async function capEndpoint(pushes: readonly PacedPush[], gate: PermitGate, world: AttemptWorld): Promise<PacedPush[]> {
  const [first] = pushes;
  if (first === undefined) return [];
  const { id, maxConcurrency = 1, timeoutSeconds } = first.task.endpoint;
  const permits = await takePermits(id, pushes.length, maxConcurrency, timeoutSeconds * 1000 + SLACK_MS, gate);
  return pushes.map(({ task, turn }, index): PacedPush => {
    const permit = permits[index];
    if (permit !== undefined) return { task: { ...task, leave: () => giveBack(id, permit, gate) }, turn };
    const nextAttemptAtMs = Math.round(world.now() + BUSY_DELAY_MS * (0.5 + world.random()));
    return { task, turn: { verdict: { status: "open", nextAttemptAtMs, counted: false, busy: true } } };
  });
}

async function takePermits(id: string, count: number, max: number, lastsMs: number, gate: PermitGate): Promise<readonly number[]> {
  try {
    return await gate.take(id, count, max, lastsMs);
  } catch (error) {
    log("warn", "permits.not-taken", { endpointId: id, error: describeError(error) });
    return [];
  }
}

/** Never throws: one that is not given back ends by itself. */
async function giveBack(id: string, permit: number, gate: PermitGate): Promise<void> {
  try {
    await gate.giveBack(id, permit);
  } catch (error) {
    log("warn", "permit.not-given-back", { endpointId: id, error: describeError(error) });
  }
}
