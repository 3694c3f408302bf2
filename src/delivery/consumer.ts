import { z } from "zod";
import { isolateOf } from "../isolate.ts";
import { describeError, log } from "../log.ts";
import type { DeliveryJob } from "../streams/contract.ts";
import { streamStub } from "../streams/stub.ts";
import { directoryOf } from "./directory.ts";
import type { DeliveryRef } from "./outcome.ts";
import { ResultCollector, settleAsTheyCome, within } from "./settlement.ts";
import { workOff } from "./work-off.ts";

/** What the consumers take from the Worker they run in. */
export type ConsumerWorld = {
  readonly env: Cloudflare.Env;
  readonly waitUntil: (promise: Promise<unknown>) => void;
};

/**
 * A batch is answered after this long at the latest, with slow attempts still running: each is claimed in its stream
 * and its sweep finds it if it is lost, and a batch that waited for it would keep other endpoints' retries waiting.
 */
const BATCH_DEADLINE_MS = 1_500;
const RETRY_DELAY_SECONDS = 5;
const FIRST_BURY_DELAY_SECONDS = 60;
const MAX_BURY_DELAY_SECONDS = 6 * 60 * 60;

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
        log("warn", "deliveries.job-failed", { stream: jobs.stream, error: describeError(error) });
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
        await streamStub(world.env.STREAMS, stream).settle(stream, refs.map((ref) => ({ ...ref, verdict })));
        log("error", "deliveries.buried", { stream, deliveries: refs.length });
        for (const message of messages) message.ack();
      } catch (error) {
        log("error", "deliveries.not-buried", { stream, error: describeError(error) });
        for (const message of messages) message.retry({ delaySeconds: buryDelaySeconds(message.attempts) });
      }
    }),
  );
}

/** Longer and longer, so that 100 tries span weeks. */
function buryDelaySeconds(attempts: number): number {
  return Math.min(FIRST_BURY_DELAY_SECONDS * 2 ** Math.max(0, attempts - 1), MAX_BURY_DELAY_SECONDS);
}

async function attemptJobs({ stream, refs }: StreamJobs, { env, waitUntil }: ConsumerWorld): Promise<void> {
  const api = streamStub(env.STREAMS, stream);
  const work = await api.claim(stream, refs);
  if (work.length === 0) return;
  const { keyRing, world } = isolateOf(env);
  const collector = new ResultCollector();
  const directory = directoryOf(env.DB, keyRing, world.now);
  const allReported = workOff({ stream, work }, collector, { env, directory, waitUntil, returning: true });
  const finished = settleAsTheyCome(collector, allReported, (results) => api.settle(stream, results));
  if (await within(BATCH_DEADLINE_MS, finished)) return;
  waitUntil(finished.catch((error: unknown) => log("warn", "settle.failed", { stream, error: describeError(error) })));
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
