import { CONNECTIONS, BODY_BYTES } from "./fixture.ts";
import type { Generator, Pacing, Sendings } from "./load/generator.ts";
import { postRequest } from "./load/http1.ts";
import type { Arrivals, Receiver } from "./load/receiver.ts";
import { stampedBody } from "./load/stamp.ts";
import { quantile } from "./statistics.ts";

/** The generator straight against the receiver, with nothing between: what no system could be measured above. */
export type Ceiling = { readonly messagesPerSecond: number; readonly p50Ms: number; readonly p99Ms: number };

const TAG = "ceil";
const CAPACITY = 200_000;

export async function measureCeiling(generator: Generator, receiver: Receiver): Promise<Ceiling> {
  const body = stampedBody(TAG, 0, BODY_BYTES);
  const request = postRequest("/s/0", { "content-type": "application/json" }, body);
  const run = async (pacing: Pacing): Promise<{ sendings: Sendings; arrivals: Arrivals }> => {
    await receiver.begin(TAG, 1, CAPACITY);
    const requests = { kind: "stamped", request, bodyStart: request.length - body.length } as const;
    const sendings = await generator.run({ port: receiver.port, capacity: CAPACITY, pacing, requests });
    return { sendings, arrivals: await receiver.report(TAG) };
  };
  const saturated: Pacing = { kind: "closed", connections: CONNECTIONS, seconds: 1 };
  await run(saturated);
  const { sendings } = await run(saturated);
  const calm = await run({ kind: "open", perSecond: 50, seconds: 2 });
  const latencies = calm.sendings.sentAtMs.map((sentAtMs, index) => (calm.arrivals.arrivedAtMs[index] ?? Number.NaN) - sentAtMs).sort();
  return {
    messagesPerSecond: (sendings.count * 1000) / (sendings.endedAtMs - sendings.startedAtMs),
    p50Ms: quantile(latencies, 0.5),
    p99Ms: quantile(latencies, 0.99),
  };
}
