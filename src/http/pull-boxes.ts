import type { Context } from "hono";
import { CACHE_MAX_AGE_MS } from "../delivery/freshness.ts";
import { boxOfEndpoint, boxOfQueue } from "../mailbox/box-of.ts";
import type { BoxRef } from "../mailbox/mailbox.ts";
import { isTarget } from "../messages/topic.ts";
import { RecentReads } from "../recent-reads.ts";
import { findEndpoint } from "../storage/endpoints.ts";
import { findQueue } from "../storage/queues.ts";
import { type AppEnv, fail } from "./router.ts";

type Missing = "unknown" | "push-only";

const MAX_CACHED = 10_000;

/** Mailboxes that exist, by tenant, kind and id; one that was not found is looked for again every time. */
const recentBoxes = new RecentReads<BoxRef>(CACHE_MAX_AGE_MS, MAX_CACHED);

/** The mailbox of an endpoint of the tenant; 404 without one, 409 for an endpoint that only pushes. */
export async function endpointBox(c: Context<AppEnv>, id: string): Promise<BoxRef> {
  const box = await lookUp(c, "endpoint", id);
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
export async function queueBox(c: Context<AppEnv>, name: string): Promise<BoxRef> {
  if (!isTarget(name)) {
    fail({ code: "malformed-target", detail: "A queue's name is dot-separated segments of A-Z a-z 0-9 _ -, at most 128 characters." });
  }
  const box = await lookUp(c, "queue", name);
  if (typeof box === "object") return box;
  return fail({ code: "unknown-queue", detail: `There is no queue \`${name}\`: make it with PUT /v1/queues/${name}.` });
}

/** The mailbox that a receipt of the tenant names; null when it is no more. */
export async function findBox(c: Context<AppEnv>, kind: BoxRef["kind"], id: string): Promise<BoxRef | null> {
  const box = await lookUp(c, kind, id);
  return typeof box === "object" ? box : null;
}

/** Asked by every pull and every ack, so D1 is read at most once a second for each. */
async function lookUp(c: Context<AppEnv>, kind: BoxRef["kind"], id: string): Promise<BoxRef | Missing> {
  const { tenantId } = c.get("principal");
  const key = `${tenantId}/${kind}/${id}`;
  const nowMs = Date.now();
  const known = recentBoxes.get(key, nowMs);
  if (known !== undefined) return known;
  const box = kind === "queue" ? await readQueueBox(c.env.DB, tenantId, id) : await readEndpointBox(c.env.DB, tenantId, id);
  if (typeof box === "object") recentBoxes.set(key, box, nowMs);
  return box;
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
