import { setTimeout as delay } from "node:timers/promises";
import type { SeverableProxy } from "../system/severable-proxy.ts";
import type { Fault } from "./ledgers.ts";
import type { Random } from "./random.ts";
import { pause, type World } from "./world.ts";

/** How often faults come, in ms from one to the next; now and then right after the start. */
const BETWEEN_KILLS_MS: readonly (readonly [number, number])[] = [
  [0, 1_500],
  [1_000, 12_000],
  [1_000, 12_000],
];
const BETWEEN_OUTAGES_MS = [6_000, 25_000] as const;
const OUTAGE_MS = [500, 7_000] as const;

/** Kills and starts again, and cuts SQS off, until traffic ends. */
export async function injectFaults(world: World, sqs: SeverableProxy): Promise<void> {
  await Promise.all([killNowAndThen(world, world.random.fork("kills")), cutNowAndThen(world, world.random.fork("sqs"), sqs)]);
}

async function killNowAndThen(world: World, random: Random): Promise<void> {
  for (;;) {
    await pause(world, random.int(...random.pick(BETWEEN_KILLS_MS)));
    if (world.stopping) return;
    await interrupt(world, random.chance(0.2) ? "stop" : "kill", random.chance(0.3) ? random.int(0, 3_000) : 0);
  }
}

/** SIGKILL to the whole group, or SIGTERM; starts it again after a while. */
async function interrupt(world: World, kind: "kill" | "stop", downMs: number): Promise<void> {
  const fault: Fault = { kind, fromMs: Date.now(), untilMs: Number.POSITIVE_INFINITY };
  world.ledgers.faults.push(fault);
  const up = Promise.withResolvers<void>();
  world.up = up.promise;
  const { gateway } = world;
  if (kind === "stop") await gateway.stop();
  else await gateway.kill9();
  await delay(downMs);
  world.gateway = await gateway.restart();
  fault.untilMs = Date.now();
  up.resolve();
}

async function cutNowAndThen(world: World, random: Random, sqs: SeverableProxy): Promise<void> {
  for (;;) {
    await pause(world, random.int(...BETWEEN_OUTAGES_MS));
    if (world.stopping) return;
    const fault: Fault = { kind: "sqs", fromMs: Date.now(), untilMs: Number.POSITIVE_INFINITY };
    world.ledgers.faults.push(fault);
    await sqs.cut(random.pick(["refusing", "silent"]));
    await pause(world, random.int(...OUTAGE_MS));
    await sqs.mend();
    fault.untilMs = Date.now();
  }
}
