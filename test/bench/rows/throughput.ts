import { type Bench, CONNECTIONS, newSubscribers, publishRun } from "../fixture.ts";
import type { Measurement } from "../measure.ts";
import type { System } from "../system.ts";
import { compare, inTurns } from "./compare.ts";
import { countsOf, refusals, type Row, type RowReport } from "./row.ts";

/** What is accepted and delivered while the load lasts: the lesser of the two, in deliveries a second. */
export function sustainedPerSecond({ acceptedPerSecond, deliveredPerSecond }: Measurement, fanout: number): number {
  return Math.min(acceptedPerSecond * fanout, deliveredPerSecond);
}

/** As many messages as the system takes from {@link CONNECTIONS} publishers that never pause, one subscriber each. */
export const throughput: Row = {
  name: "throughput",
  async measure(bench): Promise<RowReport> {
    const sides = await saturate(bench, "bench.throughput", 1);
    return {
      name: "throughput",
      title: `1 KiB, fan-out 1, ${CONNECTIONS} connections`,
      comparisons: [
        ...compare(sides, (run) => sustainedPerSecond(run, 1), {
          label: "accepted and delivered",
          unit: "messages/s",
          figure: "throughputRatio",
          target: { atLeast: 0.65 },
        }),
        ...compare(sides, (run) => run.cpuMsPerDelivery, {
          label: "CPU, whole process tree",
          unit: "ms/message",
          figure: "cpuRatio",
          target: { atMost: 1.6 },
        }),
      ],
      ...accountOf(sides),
    };
  },
};

export const fanout10: Row = {
  name: "fanout10",
  async measure(bench): Promise<RowReport> {
    const fanout = 10;
    const sides = await saturate(bench, "bench.fanout10", fanout);
    return {
      name: "fanout10",
      title: `1 KiB, fan-out ${fanout}, ${CONNECTIONS} connections`,
      comparisons: [
        ...compare(sides, (run) => sustainedPerSecond(run, fanout), {
          label: "accepted and delivered",
          unit: "deliveries/s",
          figure: "fanout10Ratio",
          target: { atLeast: 0.85 },
        }),
        ...compare(sides, (run) => run.cpuMsPerDelivery, { label: "CPU, whole process tree", unit: "ms/delivery" }),
      ],
      ...accountOf(sides),
    };
  },
};

type Sides = Awaited<ReturnType<typeof inTurns>>;

async function saturate(bench: Bench, topic: string, fanout: number): Promise<Sides> {
  const subscribers = newSubscribers(bench.receiver, fanout);
  await bench.relay.subscribe(topic, subscribers);
  await bench.gateway.subscribe(topic, subscribers);
  const pacing = { kind: "closed", connections: CONNECTIONS, seconds: bench.seconds } as const;
  const side = (system: System) => ({ name: system.name, run: () => publishRun(bench, system, topic, subscribers, pacing) });
  return inTurns(bench, side(bench.relay), side(bench.gateway));
}

export function accountOf({ baseline, subject }: Sides): Pick<RowReport, "counts" | "notes"> {
  const drain = Math.max(...subject.runs.map(({ drainMs }) => drainMs));
  return {
    counts: { relay: countsOf(baseline.runs), gateway: countsOf(subject.runs) },
    notes: [
      `the gateway's last delivery came ${drain.toFixed(0)} ms after the load ended (the worst run)`,
      ...refusals(baseline.name, baseline.runs),
      ...refusals(subject.name, subject.runs),
    ],
  };
}
