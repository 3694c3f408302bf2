import { CACHE_MAX_AGE_MS } from "../delivery/freshness.ts";
import { boxOfEndpoint, boxOfQueue } from "../mailbox/box-of.ts";
import type { BoxRef } from "../mailbox/mailbox.ts";
import { isTarget } from "../messages/topic.ts";
import { RecentReads } from "../recent-reads.ts";
import { findEndpoint } from "../storage/endpoints.ts";
import { findQueue } from "../storage/queues.ts";
import type { RequestWorld } from "./request-world.ts";
import { fail } from "./router.ts";

/** One request of a tenant's consumer. */
export type PullCall = RequestWorld & { readonly tenantId: string };

type Missing = "unknown" | "push-only";

const MAX_CACHED = 10_000;

/** Mailboxes that exist, by tenant, kind and id; one that was not found is looked for again every time. */
const recentBoxes = new RecentReads<BoxRef>(CACHE_MAX_AGE_MS, MAX_CACHED);

/** The mailbox of an endpoint of the tenant; 404 without one, 409 for an endpoint that only pushes. */
export async function endpointBox(call: PullCall, id: string): Promise<BoxRef> {
  const box = await lookUp(call, "endpoint", id);
  switch (box) {
    case "unknown":
      return fail({ code: "not-found", detail: "There is no endpoint with this id." });
    case "push-only":
      return fail({
        code: "conflict",
        detail: 'This push endpoint has no mailbox: set its `fallback` to "pull", or pull from an endpoint of the kind `pull`.',
      });
    default:
      return box;
  }
}

/** The mailbox of a queue of the tenant; 404 without one, 400 for what can not be a queue's name. */
export async function queueBox(call: PullCall, name: string): Promise<BoxRef> {
  if (!isTarget(name)) {
    fail({ code: "malformed-target", detail: "A queue's name is dot-separated segments of A-Z a-z 0-9 _ -, at most 128 characters." });
  }
  const box = await lookUp(call, "queue", name);
  if (typeof box === "object") return box;
  return fail({ code: "unknown-queue", detail: `There is no queue \`${name}\`: make it with PUT /v1/queues/${name}.` });
}

/** The mailbox that a receipt of the tenant names; null when it is no more. */
export async function findBox(call: PullCall, kind: BoxRef["kind"], id: string): Promise<BoxRef | null> {
  const box = await lookUp(call, kind, id);
  return typeof box === "object" ? box : null;
}

/** Asked by every pull and every ack, so D1 is read at most once a second for each, and in steady traffic nobody waits for it. */
async function lookUp({ env, tenantId, inBackground }: PullCall, kind: BoxRef["kind"], id: string): Promise<BoxRef | Missing> {
  const key = `${tenantId}/${kind}/${id}`;
  const nowMs = Date.now();
  const read = async (): Promise<BoxRef | Missing> => {
    const box = kind === "queue" ? await readQueueBox(env.DB, tenantId, id) : await readEndpointBox(env.DB, tenantId, id);
    if (typeof box === "object") recentBoxes.set(key, box, nowMs);
    return box;
  };
  const known = recentBoxes.get(key, nowMs);
  if (known === undefined) return read();
  // A failure is told to whoever has to wait for the read once this value is too old.
  if (recentBoxes.claimRefresh(key, nowMs)) inBackground(read().catch(() => undefined));
  return known;
}

async function readQueueBox(db: D1Database, tenantId: string, name: string): Promise<BoxRef | Missing> {
  const queue = await findQueue(db, tenantId, name);
  return queue === null ? "unknown" : boxOfQueue(queue);
}

async function readEndpointBox(db: D1Database, tenantId: string, id: string): Promise<BoxRef | Missing> {
  const endpoint = await findEndpoint(db, tenantId, id);
  if (endpoint === null) return "unknown";
  if (endpoint.kind !== "pull" && endpoint.fallback !== "pull") return "push-only";
  return boxOfEndpoint({ id, tenantId, ordered: endpoint.ordered });
}
