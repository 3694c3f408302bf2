import { ATTRIBUTE, type Bench, BODY_BYTES, CONNECTIONS, newSubscribers, newTag, publishRun, warmUpOf } from "../fixture.ts";
import type { Pacing } from "../load/generator.ts";
import { postRequest } from "../load/http1.ts";
import { stampedBody } from "../load/stamp.ts";
import { measure, type Measurement } from "../measure.ts";
import { compare, inTurns } from "./compare.ts";
import { countsOf, refusals, type Row, type RowReport } from "./row.ts";

const BATCH_MESSAGES = 500;
const SINGLE_TOPIC = "bench.single";
const BATCH_TOPIC = "bench.batch";
const DELIVERED_TOPIC = "bench.batch-delivered";
/** Half a megabyte each: a few in flight keep the gateway busy. */
const BATCH_CONNECTIONS = 4;
const DELIVERED_BATCHES = 10;
const SECONDS_FACTOR = 0.5;

/**
 * Publishing alone, to topics without a subscriber, for delivery costs the same however a message came. Then some
 * batches to one subscriber, to see that all of them arrive.
 */
export const batch: Row = {
  name: "batch",
  async measure(bench): Promise<RowReport> {
    const seconds = bench.seconds * SECONDS_FACTOR;
    const single: Pacing = { kind: "closed", connections: CONNECTIONS, seconds };
    const batched: Pacing = { kind: "closed", connections: BATCH_CONNECTIONS, seconds };
    const sides = await inTurns(
      bench,
      { name: "single", run: () => publishRun(bench, bench.gateway, SINGLE_TOPIC, [], single) },
      { name: "batch", run: () => repeatBatch(bench, warmUpOf(batched)).then(() => repeatBatch(bench, batched)) },
    );
    const delivered = await deliverBatches(bench);
    const measured = [...sides.baseline.runs, ...sides.subject.runs, delivered];
    return {
      name: "batch",
      title: `publishes of ${BATCH_MESSAGES} messages next to single ones, 1 KiB each, no subscriber`,
      comparisons: compare(sides, (run) => run.acceptedPerSecond, {
        label: "accepted",
        unit: "messages/s",
        figure: "batchRatio",
        target: { atLeast: 5 },
      }),
      counts: { relay: countsOf([]), gateway: countsOf(measured) },
      notes: [deliveredNote(delivered), ...refusals("gateway", measured)],
    };
  },
};

async function repeatBatch(bench: Bench, pacing: Pacing): Promise<Measurement> {
  const tag = newTag();
  const requests = { kind: "repeated", request: batchRequest(bench, BATCH_TOPIC, tag, 0) } as const;
  return measure(bench, { system: bench.gateway, subscribers: [], tag, pacing, requests, messagesPerRequest: BATCH_MESSAGES });
}

async function deliverBatches(bench: Bench): Promise<Measurement> {
  const subscribers = newSubscribers(bench.receiver, 1);
  await bench.gateway.subscribe(DELIVERED_TOPIC, subscribers);
  const tag = newTag();
  const requests = Array.from({ length: DELIVERED_BATCHES }, (_, index) =>
    batchRequest(bench, DELIVERED_TOPIC, tag, index * BATCH_MESSAGES));
  return measure(bench, {
    system: bench.gateway,
    subscribers,
    tag,
    pacing: { kind: "closed", connections: BATCH_CONNECTIONS, seconds: 10 },
    requests: { kind: "prepared", requests },
    messagesPerRequest: BATCH_MESSAGES,
  });
}

function batchRequest({ gateway }: Bench, topic: string, tag: string, firstIndex: number): Uint8Array {
  const attributes = JSON.stringify({ [ATTRIBUTE.name]: ATTRIBUTE.value });
  const messages = Array.from({ length: BATCH_MESSAGES }, (_, index) => {
    const data = stampedBody(tag, firstIndex + index, BODY_BYTES).toString("latin1");
    return `{"topic":"${topic}","attributes":${attributes},"data":${data}}`;
  });
  const body = Buffer.from(`{"messages":[${messages.join(",")}]}`);
  return postRequest("/v1/batch", { ...gateway.headers, "content-type": "application/json" }, body);
}

function deliveredNote({ accepted, delivered, seconds, drainMs, lost, duplicates }: Measurement): string {
  const total = seconds + drainMs / 1000;
  return `${accepted} messages in batches to one subscriber: accepted in ${seconds.toFixed(2)} s, delivered in ${total.toFixed(2)} s ` +
    `(${Math.round(delivered / total)}/s), lost ${lost}, duplicates ${duplicates}`;
}
