import { setTimeout as delay } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import type { SeverableProxy } from "../system/severable-proxy.ts";
import type { Control, Part } from "./control.ts";
import type { Decision } from "./decision.ts";
import type { Fault } from "./ledgers.ts";
import type { Random } from "./random.ts";
import { ask, pause, type World } from "./world.ts";

/** What breaks, beside the gateway itself. */
export type Breakable = { readonly sqs: SeverableProxy; readonly control: Control };

type Span = readonly [number, number];

/** How often faults come, in ms from one to the next; now and then right after the start. */
const BETWEEN_KILLS_MS: readonly Span[] = [
  [0, 1_500],
  [1_000, 12_000],
  [1_000, 12_000],
];
const BETWEEN_OUTAGES_MS: Span = [6_000, 25_000];
const OUTAGE_MS: Span = [500, 7_000];
const BETWEEN_TROUBLES_MS: Span = [1_000, 8_000];
const TROUBLE_MS: Span = [300, 4_000];
const BETWEEN_JUMPS_MS: Span = [1_000, 9_000];
/** The clock goes wrong by this much at most, and by less in a short run: it has to be waited for at the end. */
const MAX_SKEW_MS = 20_000;
const SKEW_SHARE = 0.25;

/** What `npm start` needs in its environment so that its bindings can fail and its clock can jump. */
export function faultyEnvironment(control: Control): Record<string, string> {
  const preload = new URL("bindings/preload.ts", import.meta.url);
  return { NODE_OPTIONS: `--import=${encodeURI(fileURLToPath(preload))}`, CHAOS_CONTROL: control.host };
}

/** Kills and starts again, cuts SQS off, lets D1 and the queue fail and the clock jump, until traffic ends. */
export async function injectFaults(world: World, { sqs, control }: Breakable, durationMs: number): Promise<void> {
  const { random } = world;
  await Promise.all([
    killNowAndThen(world, random.fork("kills")),
    breakNowAndThen(world, random.fork("sqs"), "sqs", [BETWEEN_OUTAGES_MS, OUTAGE_MS], async (its) => {
      await sqs.cut(its.pick(["refusing", "silent"]));
      return () => sqs.mend();
    }),
    ...(["d1", "queue"] as const).map((part) =>
      breakNowAndThen(world, random.fork(part), part, [BETWEEN_TROUBLES_MS, TROUBLE_MS], async (its) => {
        control.decide(part, its.pick(TROUBLES[part])(its));
        return async () => control.decide(part, null);
      }),
    ),
    jumpNowAndThen(world, random.fork("clock"), Math.floor(Math.min(MAX_SKEW_MS, durationMs * SKEW_SHARE))),
  ]);
}

type Trouble = (random: Random) => () => Decision;

const often = (acts: readonly Decision["act"][], probability: number): Trouble => (random) => () => ({
  act: random.chance(probability) ? random.pick(acts) : "pass",
  delayMs: 0,
});

const slow = (longestMs: number): Trouble => (random) => () => ({ act: "pass", delayMs: random.int(0, longestMs) });

/** The ways a part misbehaves, for a while each. */
const TROUBLES: Readonly<Record<Part, readonly Trouble[]>> = {
  d1: [often(["fail before"], 1), often(["fail after"], 1), often(["fail before", "fail after"], 0.4), slow(1_500)],
  queue: [
    often(["drop"], 1), often(["duplicate"], 1), often(["drop", "duplicate"], 0.6),
    often(["fail before"], 1), often(["fail after"], 0.7), slow(3_000),
  ],
};

async function killNowAndThen(world: World, random: Random): Promise<void> {
  for (;;) {
    await pause(world, random.int(...random.pick(BETWEEN_KILLS_MS)));
    if (world.stopping) return;
    await interrupt(world, random.chance(0.2) ? "stop" : "kill", random.chance(0.3) ? random.int(0, 3_000) : 0);
  }
}

/** SIGKILL to the whole group, or SIGTERM; starts it again after a while, with a clock that is right. */
async function interrupt(world: World, kind: "kill" | "stop", downMs: number): Promise<void> {
  const fault = begin(world, kind);
  const up = Promise.withResolvers<void>();
  world.up = up.promise;
  const { gateway } = world;
  if (kind === "stop") await gateway.stop();
  else await gateway.kill9();
  world.pastLogs.push(gateway.logs());
  world.ledgers.skews.push({ sinceMs: Date.now(), offsetMs: 0 });
  await delay(downMs);
  world.gateway = await gateway.restart();
  fault.untilMs = Date.now();
  up.resolve();
}

function begin({ ledgers }: World, kind: Fault["kind"]): Fault {
  const fault: Fault = { kind, fromMs: Date.now(), untilMs: Number.POSITIVE_INFINITY };
  ledgers.faults.push(fault);
  return fault;
}

/** Breaks something for a while, again and again; `doBreak` returns what mends it. */
async function breakNowAndThen(
  world: World,
  random: Random,
  kind: Fault["kind"],
  [between, lasts]: readonly [Span, Span],
  doBreak: (random: Random) => Promise<() => Promise<void>>,
): Promise<void> {
  for (;;) {
    await pause(world, random.int(...between));
    if (world.stopping) return;
    const fault = begin(world, kind);
    const mend = await doBreak(random);
    await pause(world, random.int(...lasts));
    await mend();
    fault.untilMs = Date.now();
  }
}

/** Sets the gateway's clock forward or back; it is right again at the end. */
async function jumpNowAndThen(world: World, random: Random, maxSkewMs: number): Promise<void> {
  for (;;) {
    await pause(world, random.int(...BETWEEN_JUMPS_MS));
    if (world.stopping) break;
    await setClock(world, random.chance(0.3) ? 0 : random.int(-maxSkewMs, maxSkewMs));
  }
  await setClock(world, 0);
}

async function setClock(world: World, offsetMs: number): Promise<void> {
  const { ledgers } = world;
  const fault = begin(world, "clock");
  do {
    await world.up;
    ledgers.skews.push({ sinceMs: Date.now(), offsetMs });
  } while ((await ask(world, "POST", `/chaos/clock?offset=${offsetMs}`, { token: null }))?.status !== 200 && !world.stopping);
  fault.untilMs = Date.now();
}
