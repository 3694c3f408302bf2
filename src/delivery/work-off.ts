import { isolateOf } from "../isolate.ts";
import { describeError, log } from "../log.ts";
import { openMailbox } from "../mailbox/open-mailbox.ts";
import { answerQuery } from "../queries/answer-query.ts";
import type { DeliveryGroup } from "../streams/contract.ts";
import { parseStreamName } from "../streams/ref.ts";
import { streamStub } from "../streams/stub.ts";
import { attemptWork } from "./attempt-work.ts";
import type { QueryAnswer } from "./attempt.ts";
import { Deadlines } from "./deadlines.ts";
import { type DestinationOf, destinationsOf } from "./destination.ts";
import type { Directory } from "./directory.ts";
import { EndpointHealth } from "./endpoint-health.ts";
import { rateGate } from "./rate-gate.ts";
import { deferAll, type ResultCollector } from "./settlement.ts";

/** What working off a group takes from the Worker it runs in. */
export type WorkOffWorld = {
  readonly env: Cloudflare.Env;
  readonly directory: Directory;
  readonly waitUntil: (promise: Promise<unknown>) => void;
  /** The work comes from the queue, not straight from its commit. */
  readonly returning: boolean;
  /** Told, maybe again and again, that no push waits for this isolate. */
  readonly onRoom?: () => void;
};

/** D1 did not answer: nothing was attempted, and it is asked again after this. */
const UNREADABLE_DELAY_MS = 5_000;
/** The process is about to end: nothing is attempted in this one any more. */
const CLOSED_DELAY_MS = 2_000;

/** Looks up where everything of a group leads, attempts it, and reports every result to the collector. */
export async function workOff(group: DeliveryGroup, collector: ResultCollector, workOffWorld: WorkOffWorld): Promise<void> {
  const { env, directory, waitUntil } = workOffWorld;
  const isolate = isolateOf(env);
  const stream = parseStreamName(group.stream);
  const readAtMs = isolate.world.now();
  if (isolate.slots.isClosed) {
    deferAll(group.work, readAtMs + CLOSED_DELAY_MS).forEach(collector.push);
    return;
  }
  let destinationOf: DestinationOf;
  try {
    destinationOf = await destinationsOf(stream, group.work, directory, readAtMs);
  } catch (error) {
    log("warn", "destinations.unreadable", { stream: group.stream, error: describeError(error) });
    deferAll(group.work, readAtMs + UNREADABLE_DELAY_MS).forEach(collector.push);
    return;
  }
  const health = new EndpointHealth(env);
  await attemptWork(group.work, {
    stream,
    destinationOf,
    readAtMs,
    slots: isolate.slots,
    spacing: isolate.spacing,
    world: isolate.world,
    deadlines: new Deadlines(isolate.world.now),
    mailbox: openMailbox(env, isolate.config),
    reserveTurns: (endpointId, count, perSecond, returning) =>
      rateGate(env.RATE_GATES, endpointId).reserve(count, perSecond, returning),
    permits: {
      take: (endpointId, count, max, lastsMs) => rateGate(env.RATE_GATES, endpointId).take(count, max, lastsMs),
      giveBack: (endpointId, permit) => rateGate(env.RATE_GATES, endpointId).giveBack(permit),
    },
    returning: workOffWorld.returning,
    streamOf: (name) => streamStub(env.STREAMS, name),
    answerQuery: (messageId, answer) => answerCaller(env, stream.tenantId, messageId, answer),
    onResult: collector.push,
    onRoom: workOffWorld.onRoom ?? (() => undefined),
    onReport: (endpoint, report) => {
      const change = health.observe(endpoint, report);
      if (change !== null) waitUntil(change);
    },
  });
}

/** An answer that comes too late, or second, is dropped: the delivery it came from succeeded all the same. */
async function answerCaller(env: Cloudflare.Env, tenantId: string, messageId: string, answer: QueryAnswer): Promise<void> {
  try {
    const result = await answerQuery(env, tenantId, messageId, answer);
    if (!result.ok) log("info", "query.answer-dropped", { messageId, reason: result.code });
  } catch (error) {
    log("warn", "query.answer-lost", { messageId, error: describeError(error) });
  }
}
