import { setTimeout as sleep } from "node:timers/promises";
import type { Bench } from "./fixture.ts";
import { assertAsPublished } from "./delivered-request.ts";
import type { Pacing, Requests, Sendings } from "./load/generator.ts";
import type { Arrivals } from "./load/receiver.ts";
import { treeCpuMs } from "./process-tree.ts";
import type { Subscriber, System } from "./system.ts";

export type Load = {
  readonly system: System;
  /** Who is to receive each message; its position is its number at the receiver. */
  readonly subscribers: readonly Subscriber[];
  readonly tag: string;
  readonly pacing: Pacing;
  readonly requests: Requests;
  /** Messages a request holds: message `i` is in request `i / messagesPerRequest`. */
  readonly messagesPerRequest: number;
  /** Whether what comes after the last delivery is waited for: history, and what it costs. Absent: yes. */
  readonly settles?: boolean;
};

/** One run of load, as the generator sent it and the receiver saw it. */
export type Measurement = {
  /** Messages with a 2xx. */
  readonly accepted: number;
  /** Requests answered otherwise, and those not answered at all. */
  readonly refused: number;
  readonly unanswered: number;
  /** Message × subscriber. */
  readonly delivered: number;
  readonly lost: number;
  readonly duplicates: number;
  /** How long the load lasted. */
  readonly seconds: number;
  /** Messages a second that got their 2xx while the load lasted. */
  readonly acceptedPerSecond: number;
  /** Deliveries a second that arrived while the load lasted. */
  readonly deliveredPerSecond: number;
  /** Publish (in an open loop: when it was due) to arrival, of accepted messages, ms, sorted. */
  readonly latenciesMs: Float64Array;
  /** The same in the order of publishing, with when that was. */
  readonly timeline: readonly Published[];
  /** When the load ended, on the clock of {@link Published}. */
  readonly endedAtMs: number;
  /** From the end of the load until the last delivery. */
  readonly drainMs: number;
  /** Of the system's whole process tree, until it was quiet again, by delivery; null where it can not be read. */
  readonly cpuMsPerDelivery: number | null;
  readonly refusal: string | null;
  /** What was due and never sent, in an overload. */
  readonly unsent: number;
  /** Answers 503, and how many of them said when to come again. */
  readonly unavailable: number;
  readonly withRetryAfter: number;
};

export type Published = { readonly sentAtMs: number; readonly latencyMs: number };

/** Deliveries of a run: more than one of a few seconds can make here. */
const CAPACITY = 100_000;
/** Longer than a first retry, so that a message on its way to one is not taken for lost. */
const NO_ARRIVAL_FOR_MS = 9000;
/** History is written and duplicates arrive after the last delivery: both are part of what it costs. */
const SETTLE_MS = 1500;
const POLL_MS = 50;

/** Applies the load, waits until everything accepted has arrived (or stopped arriving), and counts. */
export async function measure(bench: Bench, load: Load): Promise<Measurement> {
  const { receiver, generator } = bench;
  const capacity = Math.floor(CAPACITY / Math.max(1, load.subscribers.length));
  await receiver.begin(load.tag, Math.max(1, load.subscribers.length), capacity);
  const cpuBefore = treeCpuMs(load.system.pid);
  const requestCapacity = Math.floor(capacity / load.messagesPerRequest);
  const sendings = await generator.run({
    port: load.system.port,
    capacity: requestCapacity,
    pacing: load.pacing,
    requests: load.requests,
  });
  await drained(bench, load.tag, acceptedMessages(sendings, load) * load.subscribers.length);
  if (load.settles !== false) await sleep(SETTLE_MS);
  const cpuAfter = treeCpuMs(load.system.pid);
  const arrivals = await receiver.report(load.tag);
  for (const sample of arrivals.samples) assertAsPublished(sample, load.subscribers[sample.subscriber]?.secret ?? "");
  const cpuMs = cpuBefore === null || cpuAfter === null ? null : cpuAfter - cpuBefore;
  const count = (seen: Arrivals): Measurement => tally(load, sendings, seen, capacity, cpuMs);
  bench.ledger.add({ system: load.system.name, tag: load.tag, recount: count });
  return count(arrivals);
}

function isAccepted(status: number | undefined): boolean {
  return status !== undefined && status >= 200 && status < 300;
}

function acceptedMessages(sendings: Sendings, load: Load): number {
  return sendings.status.reduce((count, status) => count + (isAccepted(status) ? load.messagesPerRequest : 0), 0);
}

/** Resolves when `expected` deliveries have arrived, or none has for longer than a first retry takes. */
async function drained(bench: Bench, tag: string, expected: number): Promise<void> {
  let seen = -1;
  for (let idleMs = 0; idleMs < NO_ARRIVAL_FOR_MS; idleMs += POLL_MS) {
    const { distinct } = await bench.receiver.counts(tag);
    if (distinct >= expected) return;
    if (distinct !== seen) idleMs = 0;
    seen = distinct;
    await sleep(POLL_MS);
  }
}

function tally(load: Load, sendings: Sendings, arrivals: Arrivals, capacity: number, cpuMs: number | null): Measurement {
  const { startedAtMs, endedAtMs } = sendings;
  const seconds = (endedAtMs - startedAtMs) / 1000;
  const timeline: Published[] = [];
  let accepted = 0;
  let acceptedInTime = 0;
  let delivered = 0;
  let deliveredInTime = 0;
  let lost = 0;
  let lastArrivalMs = endedAtMs;
  for (let message = 0; message < sendings.count * load.messagesPerRequest; message += 1) {
    const request = Math.floor(message / load.messagesPerRequest);
    const acceptedNow = isAccepted(sendings.status[request]);
    if (acceptedNow) accepted += 1;
    if (acceptedNow && (sendings.answeredAtMs[request] ?? Infinity) <= endedAtMs) acceptedInTime += 1;
    for (let subscriber = 0; subscriber < load.subscribers.length; subscriber += 1) {
      const arrivedAtMs = arrivals.arrivedAtMs[subscriber * capacity + message] ?? 0;
      if (arrivedAtMs === 0) {
        if (acceptedNow) lost += 1;
        continue;
      }
      delivered += 1;
      if (arrivedAtMs <= endedAtMs) deliveredInTime += 1;
      lastArrivalMs = Math.max(lastArrivalMs, arrivedAtMs);
      const sentAtMs = sendings.sentAtMs[request] ?? 0;
      if (acceptedNow) timeline.push({ sentAtMs, latencyMs: arrivedAtMs - sentAtMs });
    }
  }
  const unanswered = sendings.status.filter((status) => status === 0).length;
  return {
    accepted,
    refused: sendings.status.filter((status) => status !== 0 && !isAccepted(status)).length,
    unanswered,
    delivered,
    lost,
    duplicates: arrivals.duplicates,
    seconds,
    acceptedPerSecond: acceptedInTime / seconds,
    deliveredPerSecond: deliveredInTime / seconds,
    latenciesMs: Float64Array.from(timeline, ({ latencyMs }) => latencyMs).sort(),
    timeline,
    endedAtMs,
    drainMs: lastArrivalMs - endedAtMs,
    cpuMsPerDelivery: cpuMs === null || delivered === 0 ? null : cpuMs / delivered,
    refusal: sendings.refusal,
    unsent: sendings.unsent,
    unavailable: sendings.unavailable,
    withRetryAfter: sendings.withRetryAfter,
  };
}
