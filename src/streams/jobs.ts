import type { DeliveryRef } from "../delivery/outcome.ts";
import type { DeliveryJob } from "./contract.ts";

/** A delivery that is to be attempted at a time. */
export type Due = DeliveryRef & { readonly atMs: number };

/** References a job carries: few enough that one job is quick work, and far below the queue's 128 KB. */
const REFS_PER_JOB = 50;
/** Cloudflare Queues: a `sendBatch` takes 100 messages and 256 KB, which 50 full jobs stay below. */
const JOBS_PER_SEND = 50;
/** Cloudflare Queues delay at most this long; what is due later is left to the stream's alarm. */
const MAX_DELAY_SECONDS = 24 * 60 * 60;

/** The jobs for what is due within a day, those due in the same second together. */
export function jobsFor(stream: string, due: readonly Due[], nowMs: number): MessageSendRequest<DeliveryJob>[] {
  const bySecond = new Map<number, DeliveryRef[]>();
  for (const { offset, endpointId, atMs } of due) {
    // Rounded, not raised: a claim may be this early, and a step of one second should not take two.
    const delaySeconds = Math.max(0, Math.round((atMs - nowMs) / 1000));
    if (delaySeconds > MAX_DELAY_SECONDS) continue;
    const refs = bySecond.get(delaySeconds);
    if (refs === undefined) bySecond.set(delaySeconds, [{ offset, endpointId }]);
    else refs.push({ offset, endpointId });
  }
  const jobs: MessageSendRequest<DeliveryJob>[] = [];
  for (const [delaySeconds, refs] of bySecond) {
    for (let start = 0; start < refs.length; start += REFS_PER_JOB) {
      const body: DeliveryJob = { v: 1, stream, refs: refs.slice(start, start + REFS_PER_JOB) };
      jobs.push({ body, contentType: "json", delaySeconds });
    }
  }
  return jobs;
}

/** Sends jobs in batches the queue accepts. Throws when it refuses one: then the sweep finds what was in it. */
export async function sendJobs(queue: Queue, jobs: readonly MessageSendRequest<DeliveryJob>[]): Promise<void> {
  for (let start = 0; start < jobs.length; start += JOBS_PER_SEND) {
    await queue.sendBatch(jobs.slice(start, start + JOBS_PER_SEND));
  }
}
