import { boxOfEndpoint, boxOfQueue } from "../mailbox/box-of.ts";
import type { BoxRef } from "../mailbox/mailbox.ts";
import type { Claim, Work } from "../streams/contract.ts";
import { type StreamRef, streamName } from "../streams/ref.ts";
import type { Directory, Unreadable } from "./directory.ts";
import type { DeliveryEndpoint } from "./endpoint.ts";
import type { Verdict } from "./outcome.ts";

/** Where one claim leads at this moment. */
export type Destination =
  /** `others`: members of the queue that can be tried after this one. */
  | { readonly kind: "push"; readonly endpoint: DeliveryEndpoint; readonly others: number }
  /** `orderingKey`: the attribute by which its groups are made. */
  | { readonly kind: "mailbox"; readonly box: BoxRef; readonly orderingKey?: string }
  /** The message becomes one of the stream of that queue. */
  | { readonly kind: "queue"; readonly stream: string }
  | { readonly kind: "none"; readonly verdict: Verdict };

export type DestinationOf = (claim: Claim) => Destination;

/** Targets that are not endpoints, see `DeliveryRef`. */
export const MEMBER_TARGET = "member";
export const NODE_TARGET = "node";
const QUEUE_PREFIX = "queue:";

const UNREADABLE_DELAY_MS = 60_000;

/** The target that hands an event on to a queue. */
export function queueTarget(queue: string): string {
  return QUEUE_PREFIX + queue;
}

/** Looks up where all of some work leads: as few reads as its targets allow. Throws when D1 can not be read. */
export async function destinationsOf(
  stream: StreamRef,
  work: readonly Work[],
  directory: Directory,
  nowMs: number,
): Promise<DestinationOf> {
  switch (stream.kind) {
    case "topics":
      return topicDestinations(stream, work, directory, nowMs);
    case "queues":
      return queueDestinations(stream, directory);
    case "nodes":
      return nodeDestinations(stream, directory, nowMs);
  }
}

async function topicDestinations(
  { tenantId }: StreamRef,
  work: readonly Work[],
  directory: Directory,
  nowMs: number,
): Promise<DestinationOf> {
  const targets = new Set(work.flatMap(({ claims }) => claims.map(({ endpointId }) => endpointId)));
  const endpoints = await directory.endpoints([...targets].filter((target) => !target.startsWith(QUEUE_PREFIX)));
  return ({ endpointId: target }) => {
    if (!target.startsWith(QUEUE_PREFIX)) return toEndpoint(endpoints.get(target), nowMs);
    return { kind: "queue", stream: streamName({ tenantId, kind: "queues", name: target.slice(QUEUE_PREFIX.length) }) };
  };
}

/** Active push members take turns, and another one has the next attempt; without any, the message waits to be pulled. */
async function queueDestinations({ tenantId, name }: StreamRef, directory: Directory): Promise<DestinationOf> {
  const queue = await directory.queue(tenantId, name);
  if (queue === null) return () => ({ kind: "none", verdict: { status: "cancelled", reason: "The queue was deleted." } });
  const found = await directory.endpoints(queue.memberIds);
  const members = queue.memberIds
    .map((id) => found.get(id))
    .filter((member) => typeof member === "object")
    .filter(({ kind, status }) => kind === "push" && status === "active");
  return ({ offset, attemptNumber }) => {
    const endpoint = inTurn(members, offset)[(attemptNumber - 1) % members.length];
    if (endpoint === undefined) return { kind: "mailbox", box: boxOfQueue(queue) };
    return { kind: "push", endpoint, others: members.length - 1 };
  };
}

/** Every so many messages a member that fails is asked as if it did not, so that it is found well again. */
const TRY_FAILING_EVERY = 10;

/** The members in the order in which they are tried: by turns, and those that have only failed lately after the others. */
function inTurn(members: readonly DeliveryEndpoint[], offset: number): readonly DeliveryEndpoint[] {
  const rotated = (of: readonly DeliveryEndpoint[]): DeliveryEndpoint[] => [...of.slice(offset % of.length), ...of.slice(0, offset % of.length)];
  const failing = members.filter(({ failingSinceMs }) => failingSinceMs !== null);
  if (failing.length === 0 || failing.length === members.length || offset % TRY_FAILING_EVERY === 0) return rotated(members);
  return [...rotated(members.filter(({ failingSinceMs }) => failingSinceMs === null)), ...rotated(failing)];
}

async function nodeDestinations({ tenantId, name }: StreamRef, directory: Directory, nowMs: number): Promise<DestinationOf> {
  const endpointId = await directory.nodeEndpointId(tenantId, name);
  if (endpointId === null) return () => ({ kind: "none", verdict: { status: "held", reason: "no-such-node" } });
  const endpoints = await directory.endpoints([endpointId]);
  const destination = toEndpoint(endpoints.get(endpointId), nowMs);
  // Deleted between the two reads: the node waits for its next owner, its messages are not cancelled.
  const waits: Destination = { kind: "none", verdict: { status: "held", reason: "no-such-node" } };
  return () => (endpoints.has(endpointId) ? destination : waits);
}

function toEndpoint(endpoint: DeliveryEndpoint | Unreadable | undefined, nowMs: number): Destination {
  if (endpoint === undefined) return { kind: "none", verdict: { status: "cancelled", reason: "The endpoint was deleted." } };
  if (endpoint === "unreadable") {
    return { kind: "none", verdict: { status: "open", nextAttemptAtMs: nowMs + UNREADABLE_DELAY_MS, counted: false } };
  }
  const fallsBack = endpoint.status === "disabled" && endpoint.fallback === "pull";
  if (endpoint.status !== "active" && !fallsBack) return { kind: "none", verdict: { status: "held", reason: endpoint.status } };
  if (endpoint.kind === "pull" || fallsBack) {
    const { orderingKey } = endpoint;
    return { kind: "mailbox", box: boxOfEndpoint(endpoint), ...(orderingKey === undefined ? {} : { orderingKey }) };
  }
  return { kind: "push", endpoint, others: 0 };
}
