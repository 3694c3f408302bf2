import { randomBytes } from "node:crypto";
import type { SnsSimulator } from "../../src/local/sns-simulator/index.ts";
import type { Ledger } from "./ledger.ts";
import { type Load, measure, type Measurement } from "./measure.ts";
import type { Generator, Pacing, Requests } from "./load/generator.ts";
import { postRequest } from "./load/http1.ts";
import type { Gateway } from "./gateway.ts";
import type { Receiver } from "./load/receiver.ts";
import { stampedBody, TAG_LENGTH } from "./load/stamp.ts";
import type { Subscriber, System } from "./system.ts";

/** What every row has at hand. */
export type Bench = {
  readonly relay: System;
  readonly gateway: Gateway;
  /** Starts a gateway beside it, with data of its own below this name; whoever starts it stops it. */
  readonly startAnother: (name: string, env?: Readonly<Record<string, string>>) => Promise<Gateway>;
  readonly receiver: Receiver;
  readonly generator: Generator;
  /** Signs as SNS does, and serves the certificate to the gateway. */
  readonly sns: SnsSimulator;
  readonly ledger: Ledger;
  readonly runs: number;
  /** Seconds of load in each run, before a row's own factor. */
  readonly seconds: number;
};

/** The size of a message, unless a row says otherwise. */
export const BODY_BYTES = 1024;
/** In a closed loop: enough to keep either system busy all the time, few enough not to measure queueing alone. */
export const CONNECTIONS = 64;

const WARM_UP_SECONDS = 1;

/** An attribute that every message carries and every subscription of the gateway filters on. */
export const ATTRIBUTE = { name: "kind", value: "order" } as const;

let tagsMade = 0;

/** Names a run in the bodies of its messages. */
export function newTag(): string {
  tagsMade += 1;
  return tagsMade.toString(36).padStart(TAG_LENGTH, "0");
}

/** Subscribers of a topic at the receiver, each with a secret of its own. */
export function newSubscribers(receiver: Receiver, count: number): Subscriber[] {
  return Array.from({ length: count }, (_, index) => ({
    url: receiver.url(index),
    secret: `whsec_${randomBytes(32).toString("base64")}`,
  }));
}

/** Publishes to a topic as a client would: the same bytes to either system, but for the credentials. */
export function publishing(system: System, topic: string, tag: string): Requests {
  const body = stampedBody(tag, 0, BODY_BYTES);
  const headers = {
    ...system.headers,
    "content-type": "application/json",
    [`postern-attribute-${ATTRIBUTE.name}`]: ATTRIBUTE.value,
  };
  const request = postRequest(`/v1/events/${topic}`, headers, body);
  return { kind: "stamped", request, bodyStart: request.length - body.length };
}

/** The same load for a second: enough to open the connections and to have the code compiled. */
export function warmUpOf(pacing: Pacing): Pacing {
  return { ...pacing, seconds: WARM_UP_SECONDS };
}

/** A short run that is thrown away, then the run that counts. */
export async function publishRun(
  bench: Bench,
  system: System,
  topic: string,
  subscribers: readonly Subscriber[],
  pacing: Pacing,
): Promise<Measurement> {
  const load = (paced: Pacing): Load => {
    const tag = newTag();
    return { system, subscribers, tag, pacing: paced, requests: publishing(system, topic, tag), messagesPerRequest: 1 };
  };
  await measure(bench, load(warmUpOf(pacing)));
  return measure(bench, load(pacing));
}
