import { describeError, log } from "../log.ts";
import type { EndpointAddresses } from "../storage/endpoints.ts";
import { listQueueMembers } from "../storage/queues.ts";
import { streamName } from "../streams/ref.ts";
import { streamStub } from "../streams/stub.ts";
import { MEMBER_TARGET, NODE_TARGET } from "./destination.ts";
import { untilCachesExpired } from "./freshness.ts";
import { recallQueue } from "./recall.ts";

/** Where a change of an endpoint lets messages flow that waited, or flow elsewhere. */
export type ChangedAddresses = {
  /** The node name it has now, when it did not have it before or in another status. */
  readonly node: string | null;
  /** Queues it has become an active push member of. */
  readonly joined: readonly string[];
  /** Queues it was an active push member of. */
  readonly left: readonly string[];
};

/** Compares an endpoint before and after a change; null where there is none. */
export function changedAddresses(before: EndpointAddresses | null, after: EndpointAddresses | null): ChangedAddresses {
  const pushedBefore = pushQueues(before);
  const pushedAfter = pushQueues(after);
  const sameNode = before?.node === after?.node && before?.status === after?.status;
  return {
    node: sameNode ? null : (after?.node ?? null),
    joined: pushedAfter.filter((queue) => !pushedBefore.includes(queue)),
    left: pushedBefore.filter((queue) => !pushedAfter.includes(queue)),
  };
}

/** The queues whose messages are pushed to it. */
function pushQueues(endpoint: EndpointAddresses | null): readonly string[] {
  return endpoint?.kind === "push" && endpoint.status === "active" ? endpoint.queues : [];
}

/**
 * Lets what waits at these addresses flow: what is held for a node; what waits for its next attempt at a queue, for the
 * members are others now; and what waited in a queue's mailbox to be pulled, once there is someone to push it to. Does
 * it at once, and once more when no isolate can know the endpoint as it was. Never throws: what fails here is logged,
 * and the stream's own alarm finds the deliveries later.
 */
export async function releaseAddresses(
  env: Cloudflare.Env,
  tenantId: string,
  changed: ChangedAddresses,
  committedAtMs: number,
): Promise<void> {
  const { node, joined, left } = changed;
  if (node === null && joined.length === 0 && left.length === 0) return;
  await releaseOnce(env, tenantId, changed);
  await untilCachesExpired(committedAtMs);
  await releaseOnce(env, tenantId, changed);
}

/** Pushes what has come into a queue's mailbox although there are members to push it to, as dead letters do. Never throws. */
export async function recallToMembers(env: Cloudflare.Env, tenantId: string, queue: string): Promise<void> {
  await logFault(queue, async () => {
    const members = await listQueueMembers(env.DB, tenantId, queue);
    const pushed = members.some(({ kind, status }) => kind === "push" && status === "active");
    return pushed ? recallQueue(env, tenantId, queue) : 0;
  });
}

async function releaseOnce(env: Cloudflare.Env, tenantId: string, { node, joined, left }: ChangedAddresses): Promise<void> {
  if (node !== null) {
    const stream = streamName({ tenantId, kind: "nodes", name: node });
    await logFault(stream, () => streamStub(env.STREAMS, stream).release(stream, NODE_TARGET));
  }
  for (const queue of [...joined, ...left]) {
    const stream = streamName({ tenantId, kind: "queues", name: queue });
    await logFault(stream, () => streamStub(env.STREAMS, stream).release(stream, MEMBER_TARGET));
  }
  for (const queue of joined) await logFault(queue, () => recallQueue(env, tenantId, queue));
}

async function logFault(address: string, release: () => Promise<number>): Promise<void> {
  try {
    await release();
  } catch (error) {
    log("warn", "what waits there waits for the alarm", { address, error: describeError(error) });
  }
}
