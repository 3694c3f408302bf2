import { CONNECTIONS, newSubscribers, newTag, publishing, publishRun } from "../fixture.ts";
import { type Generator, startGenerator } from "../load/generator.ts";
import { measure, type Measurement } from "../measure.ts";
import { quantile, spreadOf } from "../statistics.ts";
import { countsOf, type Row, type RowReport } from "./row.ts";
import { recoveredAfterMs } from "./recovery.ts";
import { sustainedPerSecond } from "./throughput.ts";

const TOPIC = "bench.overload";
const OVERLOAD_FACTOR = 3;
/** More than are let in at the same time, so that the rest is refused; each that is open costs the runtime something by itself. */
const CONNECTIONS_IN_OVERLOAD = 1_500;
const SECONDS_FACTOR = 1.5;
const PROBES_PER_SECOND = 50;
/** How long the probes go on after the overload. */
const RECOVERY_SECONDS = 10;

/** Three times what it can do, by an open loop, with a calm publisher beside it before, meanwhile and after. */
export const overload: Row = {
  name: "overload",
  async measure(bench): Promise<RowReport> {
    const subscribers = newSubscribers(bench.receiver, 1);
    await bench.gateway.subscribe(TOPIC, subscribers);
    const { seconds } = bench;
    const capacity = await publishRun(bench, bench.gateway, TOPIC, subscribers, { kind: "closed", connections: CONNECTIONS, seconds });
    const calm = await publishRun(bench, bench.gateway, TOPIC, subscribers, { kind: "open", perSecond: PROBES_PER_SECOND, seconds });
    const perSecond = Math.round(OVERLOAD_FACTOR * sustainedPerSecond(capacity, 1));
    const prober = await startGenerator();
    const load = (generator: Generator, pacing: Parameters<Generator["run"]>[0]["pacing"]): Promise<Measurement> => {
      const tag = newTag();
      const requests = publishing(bench.gateway, TOPIC, tag);
      return measure({ ...bench, generator }, { system: bench.gateway, subscribers, tag, pacing, requests, messagesPerRequest: 1 });
    };
    try {
      const overloadSeconds = seconds * SECONDS_FACTOR;
      const [overloaded, probed] = await Promise.all([
        load(bench.generator, { kind: "open", perSecond, seconds: overloadSeconds, overloadConnections: CONNECTIONS_IN_OVERLOAD }),
        load(prober, { kind: "open", perSecond: PROBES_PER_SECOND, seconds: overloadSeconds + RECOVERY_SECONDS }),
      ]);
      return reportOf(perSecond, { capacity, calm, overloaded, probed });
    } finally {
      await prober.stop();
    }
  },
};

type Measured = {
  readonly capacity: Measurement;
  readonly calm: Measurement;
  readonly overloaded: Measurement;
  readonly probed: Measurement;
};

function reportOf(perSecond: number, { capacity, calm, overloaded, probed }: Measured): RowReport {
  const calmP99Ms = quantile(calm.latenciesMs, 0.99);
  const recoveryMs = recoveredAfterMs(probed.timeline, overloaded.endedAtMs, calmP99Ms);
  const sent = overloaded.accepted + overloaded.refused + overloaded.unanswered;
  const percent = (part: number, whole: number): string => (whole === 0 ? "none" : `${((100 * part) / whole).toFixed(1)} %`);
  const figures: readonly [string, string, number][] = [
    ["can do", "messages/s", sustainedPerSecond(capacity, 1)],
    ["offered", "messages/s", (sent + overloaded.unsent) / overloaded.seconds],
    ["sent", "messages/s", sent / overloaded.seconds],
    ["accepted meanwhile", "messages/s", overloaded.acceptedPerSecond],
    ["delivered meanwhile", "messages/s", overloaded.deliveredPerSecond],
    ["last delivery after the overload", "ms", overloaded.drainMs],
    ["p99 is back to normal after", "ms", recoveryMs ?? Number.POSITIVE_INFINITY],
  ];
  return {
    name: "overload",
    title: `${OVERLOAD_FACTOR} times what it can do (${perSecond}/s) for ${overloaded.seconds.toFixed(0)} s, 1 KiB, fan-out 1`,
    comparisons: [],
    alone: figures.map(([label, unit, value]) => ({ label, unit, value: spreadOf([value]) })),
    counts: { gateway: countsOf([capacity, calm, overloaded, probed]) },
    notes: [
      `${percent(overloaded.refused, sent)} refused, of these ${percent(overloaded.unavailable, overloaded.refused)} with 503, of these ` +
        `${percent(overloaded.withRetryAfter, overloaded.unavailable)} with Retry-After; ${overloaded.unanswered} unanswered; ` +
        `${overloaded.unsent} found no connection among ${CONNECTIONS_IN_OVERLOAD} and were not sent`,
      `normal: p99 ${calmP99Ms.toFixed(1)} ms at ${PROBES_PER_SECOND}/s before it; back to it is when the p99 of all that is published later is at most twice that, or 10 ms`,
    ],
  };
}
