import { newSubscribers, publishRun } from "../fixture.ts";
import { quantile } from "../statistics.ts";
import type { System } from "../system.ts";
import { compare, inTurns } from "./compare.ts";
import { countsOf, refusals, type Row, type RowReport } from "./row.ts";

const PER_SECOND = 50;
/** A p99 needs some hundreds of messages. */
const SECONDS_FACTOR = 2;
const TOPIC = "bench.latency";

/** From when a message was due to leave the publisher until all of it was at the subscriber, at a calm, fixed rate. */
export const latency: Row = {
  name: "latency",
  async measure(bench): Promise<RowReport> {
    const subscribers = newSubscribers(bench.receiver, 1);
    await bench.relay.subscribe(TOPIC, subscribers);
    await bench.gateway.subscribe(TOPIC, subscribers);
    const seconds = bench.seconds * SECONDS_FACTOR;
    const pacing = { kind: "open", perSecond: PER_SECOND, seconds } as const;
    const side = (system: System) => ({ name: system.name, run: () => publishRun(bench, system, TOPIC, subscribers, pacing) });
    const sides = await inTurns(bench, side(bench.relay), side(bench.gateway));
    return {
      name: "latency",
      title: `publish to arrival, 1 KiB, fan-out 1, ${PER_SECOND} messages/s, ${PER_SECOND * seconds} a run`,
      comparisons: [
        ...compare(sides, (run) => quantile(run.latenciesMs, 0.5), {
          label: "p50",
          unit: "ms",
          figure: "latencyP50Ratio",
          target: { atMost: 2.2 },
        }),
        ...compare(sides, (run) => quantile(run.latenciesMs, 0.99), {
          label: "p99",
          unit: "ms",
          figure: "latencyP99Ratio",
          target: { atMost: 2.5 },
        }),
      ],
      counts: { relay: countsOf(sides.baseline.runs), gateway: countsOf(sides.subject.runs) },
      notes: [...refusals("relay", sides.baseline.runs), ...refusals("gateway", sides.subject.runs)],
    };
  },
};
