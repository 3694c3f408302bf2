import { z } from "zod";
import type { Isolate } from "../isolate.ts";
import { describeError, log } from "../log.ts";
import type { DeliveryJob, StreamApi, Work } from "../streams/contract.ts";
import { parseStreamName } from "../streams/ref.ts";
import { attemptWork } from "./attempt-work.ts";
import { endpointIdsOf } from "./deliverer.ts";
import { EndpointHealth } from "./endpoint-health.ts";
import { readEndpoints } from "./endpoint-table.ts";
import type { DeliveryRef, DeliveryResult } from "./outcome.ts";
import { deferAll, ResultCollector, settleAsTheyCome, within } from "./settlement.ts";

/** What the consumers need of the outside. */
export type ConsumerWorld = {
  readonly db: D1Database;
  readonly isolate: Isolate;
  readonly stream: (name: string) => StreamApi;
  readonly waitUntil: (promise: Promise<unknown>) => void;
};

/**
 * A batch is answered after this long at the latest, with slow attempts still running: each is claimed in its stream
 * and its sweep finds it if it is lost, and a batch that waited for it would keep other endpoints' retries waiting.
 */
const BATCH_DEADLINE_MS = 1_500;
const UNREADABLE_DELAY_MS = 15_000;
const RETRY_DELAY_SECONDS = 5;
const BURY_RETRY_DELAY_SECONDS = 60;

const Job = z.object({
  v: z.literal(1),
  stream: z.string().min(1),
  refs: z.array(z.object({ offset: z.number().int().min(0), endpointId: z.string() })),
});

/** The messages of one stream in a batch. */
type StreamJobs = { readonly stream: string; readonly refs: DeliveryRef[]; readonly messages: Message[] };

/**
 * Consumes `deliveries`: claims what the references name, attempts it, settles results as they come. A message is
 * acknowledged once its deliveries are settled or claimed in their stream; one that can not be is retried, and ends
 * in the dead-letter queue.
 */
export async function consumeDeliveries(batch: MessageBatch, world: ConsumerWorld): Promise<void> {
  await Promise.all(
    byStream(batch).map(async (jobs) => {
      try {
        await attemptJobs(jobs, world);
        for (const message of jobs.messages) message.ack();
      } catch (error) {
        log("warn", "deliveries.job-failed", { stream: jobs.stream, ...describeError(error) });
        for (const message of jobs.messages) message.retry({ delaySeconds: RETRY_DELAY_SECONDS });
      }
    }),
  );
}

/** Consumes `deliveries-dlq`: what no attempt at its job could finish ends as a visible, replayable dead delivery. */
export async function consumeDeadJobs(batch: MessageBatch, world: ConsumerWorld): Promise<void> {
  await Promise.all(
    byStream(batch).map(async ({ stream, refs, messages }) => {
      const verdict = { status: "dead", reason: "Its job failed again and again." } as const;
      try {
        await world.stream(stream).settle(stream, refs.map((ref) => ({ ...ref, verdict })));
        log("error", "deliveries.buried", { stream, deliveries: refs.length });
        for (const message of messages) message.ack();
      } catch (error) {
        log("error", "deliveries.not-buried", { stream, ...describeError(error) });
        for (const message of messages) message.retry({ delaySeconds: BURY_RETRY_DELAY_SECONDS });
      }
    }),
  );
}

async function attemptJobs({ stream, refs }: StreamJobs, world: ConsumerWorld): Promise<void> {
  const api = world.stream(stream);
  const work = await api.claim(stream, refs);
  if (work.length === 0) return;
  const collector = new ResultCollector();
  const settle = (results: readonly DeliveryResult[]): Promise<void> => api.settle(stream, results);
  const finished = settleAsTheyCome(collector, attemptAll(stream, work, collector, world), settle);
  if (await within(BATCH_DEADLINE_MS, finished)) return;
  world.waitUntil(
    finished.catch((error: unknown) => log("warn", "settle.failed", { stream, ...describeError(error) })),
  );
}

async function attemptAll(
  stream: string,
  work: readonly Work[],
  collector: ResultCollector,
  { db, isolate, waitUntil }: ConsumerWorld,
): Promise<void> {
  const nowMs = isolate.world.now();
  const endpoints = await readEndpoints(db, isolate.keyRing, [...endpointIdsOf(work)], nowMs).catch((error: unknown) => {
    log("warn", "endpoints.unreadable", { stream, ...describeError(error) });
    return null;
  });
  if (endpoints === null) {
    deferAll(work, nowMs + UNREADABLE_DELAY_MS).forEach(collector.push);
    return;
  }
  const health = new EndpointHealth(db);
  await attemptWork(work, {
    topic: parseStreamName(stream).name,
    endpoints,
    slots: isolate.slots,
    world: isolate.world,
    onResult: collector.push,
    onReport: (endpoint, report) => waitUntil(health.observe(endpoint, report)),
  });
}

function byStream(batch: MessageBatch): StreamJobs[] {
  const jobs = new Map<string, StreamJobs>();
  for (const message of batch.messages) {
    const job = Job.safeParse(message.body);
    if (!job.success) {
      // It names no delivery that could be saved; those that exist are found by their stream's sweep.
      log("error", "deliveries.malformed-job", { queue: batch.queue, messageId: message.id });
      message.ack();
      continue;
    }
    const { stream, refs }: DeliveryJob = job.data;
    const known = jobs.get(stream);
    if (known === undefined) jobs.set(stream, { stream, refs: [...refs], messages: [message] });
    else {
      known.refs.push(...refs);
      known.messages.push(message);
    }
  }
  return [...jobs.values()];
}
