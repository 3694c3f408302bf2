import { type Bench, newSubscribers, newTag, publishing, warmUpOf } from "../fixture.ts";
import type { Pacing } from "../load/generator.ts";
import { measure, type Measurement } from "../measure.ts";
import { quantile, spreadOf } from "../statistics.ts";
import type { Subscriber, System } from "../system.ts";
import { countsOf, type Row, type RowReport } from "./row.ts";

const TOPIC = "bench.load";
const RATES = [50, 100, 250, 500, 1000, 1500, 2000, 3000] as const;
const SECONDS_FACTOR = 0.5;
/** A system that in its best run delivers less than this of what is offered is not asked for more. */
const KEEPS_UP = 0.95;

/** Medians of the runs at one offered load. */
export type LoadPoint = {
  readonly system: System["name"];
  readonly perSecond: number;
  /** Of the run that delivered most: one that a moment of the machine spoilt says nothing of what can be done. */
  readonly deliveredPerSecond: number;
  readonly p50Ms: number;
  readonly p99Ms: number;
};

/** From when a message was due until it arrived, as more and more are offered. */
export const load: Row = {
  name: "load",
  async measure(bench): Promise<RowReport> {
    const subscribers = newSubscribers(bench.receiver, 1);
    const systems = [bench.relay, bench.gateway];
    for (const system of systems) await system.subscribe(TOPIC, subscribers);
    const runs: Record<System["name"], Measurement[]> = { relay: [], gateway: [] };
    const points: LoadPoint[] = [];
    let keepingUp = systems;
    for (const perSecond of RATES) {
      const measured = await inTurnsAt(bench, keepingUp, subscribers, perSecond);
      for (const system of keepingUp) {
        const own = measured.filter((each) => each.system === system).map((each) => each.measurement);
        runs[system.name].push(...own);
        points.push(pointOf(system.name, perSecond, own));
      }
      keepingUp = keepingUp.filter(({ name }) => points.some((point) => point.system === name && point.perSecond === perSecond && keepsUp(point)));
    }
    return {
      name: "load",
      title: "publish to arrival, 1 KiB, fan-out 1, over the offered load",
      comparisons: [],
      counts: { relay: countsOf(runs.relay), gateway: countsOf(runs.gateway) },
      details: points,
      notes: renderPoints(points),
    };
  },
};

async function inTurnsAt(bench: Bench, systems: readonly System[], subscribers: readonly Subscriber[], perSecond: number) {
  const measured: { readonly system: System; readonly measurement: Measurement }[] = [];
  const pacing = { kind: "open", perSecond, seconds: bench.seconds * SECONDS_FACTOR } as const;
  for (const system of systems) await publish(bench, system, subscribers, warmUpOf(pacing));
  for (let run = 0; run < bench.runs; run += 1) {
    for (const system of systems) measured.push({ system, measurement: await publish(bench, system, subscribers, pacing) });
  }
  return measured;
}

function publish(bench: Bench, system: System, subscribers: readonly Subscriber[], pacing: Pacing): Promise<Measurement> {
  const tag = newTag();
  const requests = publishing(system, TOPIC, tag);
  return measure(bench, { system, subscribers, tag, pacing, requests, messagesPerRequest: 1, settles: false });
}

function pointOf(system: System["name"], perSecond: number, runs: readonly Measurement[]): LoadPoint {
  const median = (of: (run: Measurement) => number): number => spreadOf(runs.map(of)).median;
  return {
    system,
    perSecond,
    deliveredPerSecond: Math.max(...runs.map((run) => run.deliveredPerSecond)),
    p50Ms: median((run) => quantile(run.latenciesMs, 0.5)),
    p99Ms: median((run) => quantile(run.latenciesMs, 0.99)),
  };
}

function keepsUp({ perSecond, deliveredPerSecond }: LoadPoint): boolean {
  return deliveredPerSecond >= perSecond * KEEPS_UP;
}

function renderPoints(points: readonly LoadPoint[]): string[] {
  const lines = points.map((point) => {
    const { system, perSecond, deliveredPerSecond, p50Ms, p99Ms } = point;
    const late = keepsUp(point) ? "" : `  delivers ${Math.round(deliveredPerSecond)}/s`;
    return `${system.padEnd(8)}${String(perSecond).padStart(12)}${p50Ms.toFixed(1).padStart(10)}${p99Ms.toFixed(1).padStart(10)}${late}`;
  });
  return ["system    per second    p50 ms    p99 ms", ...lines];
}
