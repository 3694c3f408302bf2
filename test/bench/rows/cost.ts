import { setTimeout as sleep } from "node:timers/promises";
import { countingEnvironment, readUnits, runCron } from "../counting/counting.ts";
import { combineUnits, type Units, type UnitsAnswer } from "../counting/units.ts";
import { type Bench, BODY_BYTES, CONNECTIONS, newSubscribers, newTag, publishing, warmUpOf } from "../fixture.ts";
import type { Gateway } from "../gateway.ts";
import type { Pacing } from "../load/generator.ts";
import { measure, type Measurement } from "../measure.ts";
import { addUsage, dollarsPerMillion, memoryDollarsPerMillion, perMessage, type Usage } from "../prices.ts";
import { treeUserMs } from "../process-tree.ts";
import { spreadOf } from "../statistics.ts";
import type { Subscriber } from "../system.ts";
import { countsOf, type Figure, type Row, type RowReport } from "./row.ts";

const MODES = [
  { name: "full", figure: "costFull", target: { atMost: 3 }, env: { POSTERN_HISTORY: "full" } },
  { name: "failures", figure: "costLean", target: { atMost: 1.5 }, env: { POSTERN_HISTORY: "failures" } },
] as const;
type Mode = (typeof MODES)[number];

/** The slower the rate, the longer it takes until enough came; a fast one fills the time with its deliveries. */
const RATES = [
  { perSecond: 1, secondsFactor: 1.5 },
  { perSecond: 100, secondsFactor: 1 },
  { perSecond: 1000, secondsFactor: 0.75 },
] as const;
/** The rate of the figures. */
const FIGURE_PER_SECOND = 100;
const FANOUTS = [1, 10] as const;
/** Longer than anything of history is kept. */
const AFTER_RETENTION_MS = 400 * 24 * 60 * 60 * 1000;
/** The most of it that a cron run removes is a part. */
const MAX_CRON_RUNS = 5;
const WARM_UP_SECONDS = 2;
/** The last delivery came within this after the load: else deliveries piled up. */
const KEPT_UP_WITHIN_MS = 1000;
const QUIET_MS = 1000;
const QUIET_DEADLINE_MS = 15_000;

/** What one message costs at list prices, and of which units; beside it what memory its objects keep, and what removing it costs. */
export type Cost = {
  readonly history: Mode["name"];
  readonly fanout: number;
  readonly perSecond: number;
  /** Whether its deliveries came as fast as its messages: else what is counted is an overload. */
  readonly keptUp: boolean;
  readonly dollars: number;
  readonly memoryDollars: number;
  readonly laterDollars: number;
  readonly usage: Usage;
};

type Measured = { readonly cost: Cost; readonly measurement: Measurement };
type Counted = { readonly gateway: Gateway; readonly mode: Mode; readonly subscribers: ReadonlyMap<number, readonly Subscriber[]> };

/**
 * What Cloudflare and AWS would bill, counted at the bindings: publishing, delivering, history, and each message's share
 * of the cron. What is removed when its time is over is a figure of its own, for it is billed then.
 */
export const cost: Row = {
  name: "cost",
  async measure(bench): Promise<RowReport> {
    const measured: Measured[] = [];
    for (const mode of MODES) {
      const gateway = await bench.startAnother(`cost-${mode.name}`, { ...countingEnvironment(), ...mode.env });
      try {
        measured.push(...(await measureMode(bench, gateway, mode)));
      } finally {
        // What it accepted has all arrived, or its run waited for it in vain.
        await gateway.stop();
      }
    }
    const costs = measured.map((one) => one.cost);
    return {
      name: "cost",
      title: `dollars per million messages at list prices, ${BODY_BYTES / 1024} KiB each, counted at the bindings`,
      comparisons: [],
      alone: MODES.map((mode) => figureOf(mode, costs)),
      counts: { gateway: countsOf(measured.map(({ measurement }) => measurement)) },
      details: costs,
      notes: renderCosts(costs),
    };
  },
};

async function measureMode(bench: Bench, gateway: Gateway, mode: Mode): Promise<Measured[]> {
  const subscribers = new Map(FANOUTS.map((fanout) => [fanout, newSubscribers(bench.receiver, fanout)]));
  for (const [fanout, those] of subscribers) {
    await gateway.subscribe(topicOf(fanout), those);
    // So that its code is as far compiled as that of a gateway which has run for a while.
    await publish(bench, { gateway, mode, subscribers }, fanout, { kind: "closed", connections: CONNECTIONS, seconds: WARM_UP_SECONDS });
  }
  await runCron(gateway.port, Date.now());
  const before = await settledUnits(gateway);
  const cron = since(before, await runCron(gateway.port, Date.now()));
  const measured: Measured[] = [];
  for (const fanout of FANOUTS) {
    for (const rate of RATES) {
      const runs = fanout === 1 && rate.perSecond === FIGURE_PER_SECOND ? bench.runs : 1;
      const pacing = { kind: "open", perSecond: rate.perSecond, seconds: bench.seconds * rate.secondsFactor } as const;
      for (let run = 0; run < runs; run += 1) measured.push(await measureCost(bench, { gateway, mode, subscribers }, fanout, pacing, cron));
    }
  }
  return measured;
}

async function measureCost(bench: Bench, counted: Counted, fanout: number, pacing: Pacing & { kind: "open" }, cron: Units): Promise<Measured> {
  const { gateway, mode } = counted;
  await publish(bench, counted, fanout, warmUpOf(pacing));
  await settledUnits(gateway);
  await pruneAll(gateway);
  const idle = await measureCpu(gateway, () => sleep(QUIET_MS));
  const before = await readUnits(gateway.port);
  const busy = await measureCpu(gateway, async () => {
    const measurement = await publish(bench, counted, fanout, pacing);
    return { measurement, after: await settledUnits(gateway) };
  });
  const { measurement, after } = busy.result;
  const cpuMs = Math.max(0, busy.cpuMs - (idle.cpuMs * busy.wallMs) / idle.wallMs);
  const pruned = since(after, await pruneAll(gateway));
  const messages = measurement.accepted;
  if (messages === 0) throw new Error(`nothing was accepted at ${pacing.perSecond} messages/s: ${measurement.refusal}`);

  const { seconds } = measurement;
  const ran: Usage = { ...since(before, after), cpuMs };
  const minutes = seconds / 60;
  const cronShare = { ...combineUnits(cron, cron, (value) => value * minutes), cpuMs: 0 };
  const usage = perMessage(addUsage(ran, cronShare), messages);
  return {
    measurement,
    cost: {
      history: mode.name, fanout, perSecond: pacing.perSecond,
      keptUp: measurement.drainMs <= KEPT_UP_WITHIN_MS,
      dollars: dollarsPerMillion(usage),
      memoryDollars: memoryDollarsPerMillion(after.objects, pacing.perSecond),
      laterDollars: laterDollars(usage, pruned, messages),
      usage,
    },
  };
}

type CpuOf<Result> = { readonly result: Result; readonly cpuMs: number; readonly wallMs: number };

async function measureCpu<Result>({ pid }: Gateway, work: () => Promise<Result>): Promise<CpuOf<Result>> {
  const startedAtMs = performance.now();
  const before = treeUserMs(pid) ?? 0;
  const result = await work();
  return { result, cpuMs: (treeUserMs(pid) ?? 0) - before, wallMs: performance.now() - startedAtMs };
}

/** Rows of D1 as they were pruned; rows of objects are removed at most as often as they were written. */
function laterDollars(usage: Usage, pruned: Units, messages: number): number {
  const later: Usage = { ...combineUnits(pruned, pruned, (value) => value / messages), cpuMs: 0 };
  return dollarsPerMillion({ ...later, workerRequests: 0, objectRequests: 0, objectRowsWritten: usage.objectRowsWritten });
}

function publish(bench: Bench, { gateway, subscribers }: Counted, fanout: number, pacing: Pacing): Promise<Measurement> {
  const tag = newTag();
  const requests = publishing(gateway, topicOf(fanout), tag);
  const load = { system: gateway, subscribers: subscribers.get(fanout) ?? [], tag, pacing, requests, messagesPerRequest: 1 };
  // What comes later is waited for by counting.
  return measure(bench, { ...load, settles: false });
}

function topicOf(fanout: number): string {
  return `bench.cost-${fanout}`;
}

/** What the gateway used until it was quiet for a second: what follows a message comes a moment later. */
async function settledUnits({ port }: Gateway): Promise<UnitsAnswer> {
  let objects = 0;
  let last = "";
  for (let waitedMs = 0; ; waitedMs += QUIET_MS) {
    const answer = await readUnits(port);
    objects = Math.max(objects, answer.objects);
    // Asking is not counted, so quiet is quiet.
    const text = JSON.stringify(answer.units);
    if (text === last || waitedMs >= QUIET_DEADLINE_MS) return { units: answer.units, objects };
    last = text;
    await sleep(QUIET_MS);
  }
}

/** Removes all history, as the cron does once it is old enough; what the gateway used until its end. */
async function pruneAll({ port }: Gateway): Promise<UnitsAnswer> {
  let answer = await runCron(port, Date.now() + AFTER_RETENTION_MS);
  for (let run = 1; run < MAX_CRON_RUNS; run += 1) {
    const next = await runCron(port, Date.now() + AFTER_RETENTION_MS);
    const written = next.units.d1RowsWritten - answer.units.d1RowsWritten;
    answer = next;
    if (written < 100) break;
  }
  return answer;
}

function since(before: UnitsAnswer, after: UnitsAnswer): Units {
  return combineUnits(after.units, before.units, (later, earlier) => later - earlier);
}

function figureOf({ name, figure, target }: Mode, costs: readonly Cost[]): Figure {
  const of = costs.filter(({ history, fanout, perSecond }) => history === name && fanout === 1 && perSecond === FIGURE_PER_SECOND);
  return {
    label: `history ${name}, fan-out 1, ${FIGURE_PER_SECOND} messages/s`,
    unit: "dollars per million messages",
    value: spreadOf(of.map(({ dollars }) => dollars)),
    figure,
    target,
  };
}

/** A line for each history, fan-out and rate: the first run where there were several. */
function renderCosts(costs: readonly Cost[]): string[] {
  const shown = costs.filter((one, index) => costs.findIndex((other) => isSameCase(one, other)) === index);
  const head = [
    "a message uses: Worker requests, CPU ms, object requests, object rows read and written, D1 rows read and written,",
    "queue operations, SQS calls; memory: of objects that stay in it at that rate; later: removing it when its retention is over",
    "history   fan-out  per second   dollars  memory   later    requests   cpu  objects  rows r  rows w    d1 r    d1 w  queue  sqs",
  ];
  const overloaded = shown.some(({ keptUp }) => !keptUp) ? ["* more than this machine delivers: retries and rows of an overload are counted too"] : [];
  return [...head, ...shown.map(renderCost), ...overloaded];
}

function renderCost({ history, fanout, perSecond, keptUp, dollars, memoryDollars, laterDollars: later, usage }: Cost): string {
  const cells: [string | number, number, number][] = [
    [`${perSecond}${keptUp ? "" : " *"}`, 12, 0],
    [dollars, 10, 2], [memoryDollars, 8, 2], [later, 8, 2], [usage.workerRequests, 12, 2], [usage.cpuMs, 6, 2], [usage.objectRequests, 9, 2],
    [usage.objectRowsRead, 8, 1], [usage.objectRowsWritten, 8, 2], [usage.d1RowsRead, 8, 1], [usage.d1RowsWritten, 8, 2],
    [usage.queueOperations, 7, 2], [usage.sqsCalls, 5, 1],
  ];
  const text = cells.map(([cell, width, digits]) => (typeof cell === "string" ? cell : cell.toFixed(digits)).padStart(width));
  return `${history.padEnd(8)}  ${String(fanout).padStart(7)}${text.join("")}`;
}

function isSameCase(a: Cost, b: Cost): boolean {
  return a.history === b.history && a.fanout === b.fanout && a.perSecond === b.perSecond;
}
