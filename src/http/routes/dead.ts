import { createRoute, z } from "@hono/zod-openapi";
import { earliestOffsets, reopenDeliveries, type StreamLookup } from "../../delivery/reopen.ts";
import { recordAudit } from "../../storage/audit.ts";
import { type DeadFilter, deadStreams, endpointExists, listDead, listReplayable } from "../../storage/history-read.ts";
import { isEndpoint } from "../../storage/history-row.ts";
import { streamStub } from "../../streams/stub.ts";
import { auditEntry } from "../audit-trail.ts";
import {
  Delivery, deliveryPage, DeliveryPosition, isOrdered, NOT_BEFORE_SINCE, Since, TargetInput, TopicFilter, Until,
} from "../history-json.ts";
import { requireScope } from "../middleware/require-scope.ts";
import { decodeCursor } from "../pagination.ts";
import { replayableOf } from "../replay-limits.ts";
import { createRouter, fail } from "../router.ts";
import { jsonBody, jsonResponse, Page, pageOf, problemResponses, toTime } from "../schemas.ts";

/** Deliveries one replay opens at most: what is left is said by `more`. */
export const MAX_REPLAYED = 10_000;
/** Streams that are asked where they begin; of others, what can not be opened is found out by trying. */
const MAX_STREAMS = 2_000;

export const Replayed = z
  .object({
    count: z.number().int().openapi({ description: "Deliveries opened again, or with `dryRun` those that would be" }),
    more: z.boolean().openapi({ description: `True when there are more than one call takes, ${MAX_REPLAYED} or the tenant's own limit: call again` }),
  })
  .openapi("Replayed");

/** Opens the dead deliveries of a tenant again, the oldest messages first. */
export async function replayDead(
  db: D1Database,
  streamOf: StreamLookup,
  tenantId: string,
  filter: DeadFilter,
  { dryRun, atMost }: { readonly dryRun: boolean; readonly atMost: number },
): Promise<z.infer<typeof Replayed>> {
  const earliest = await earliestOffsets(streamOf, await deadStreams(db, tenantId, filter, MAX_STREAMS));
  const found = await listReplayable(db, tenantId, filter, atMost + 1, earliest);
  const deliveries = found.slice(0, atMost);
  const count = dryRun ? deliveries.length : await reopenDeliveries(streamOf, deliveries);
  // a caller who repeats until `more` is false must get to an end, also when none of these can be opened
  return { count, more: found.length > atMost && count > 0 };
}

const listRoute = createRoute({
  method: "get",
  path: "/v1/dead",
  tags: ["Dead letters"],
  summary: "List dead deliveries",
  description:
    "Deliveries whose attempts are exhausted, or that could not be made, those of the newest messages first. " +
    "`since` and `until` are times of the message. A page may hold fewer than `limit`; go on while `next` is not null.",
  middleware: [requireScope("read")] as const,
  request: {
    query: Page.extend({
      endpointId: TargetInput.optional(),
      topic: TopicFilter.optional(),
      since: Since.optional(),
      until: Until.optional(),
    }).refine(isOrdered, NOT_BEFORE_SINCE),
  },
  responses: { 200: jsonResponse(pageOf(Delivery), "Dead deliveries"), ...problemResponses("invalid-cursor") },
});

const replayRoute = createRoute({
  method: "post",
  path: "/v1/dead/replay",
  tags: ["Dead letters"],
  summary: "Replay dead deliveries",
  description:
    "Opens dead deliveries again, of one endpoint, topic or time on, or all there are. Those of deleted endpoints " +
    "and of expunged messages stay as they are.",
  middleware: [requireScope("manage")] as const,
  request: {
    body: jsonBody(
      z.strictObject({
        endpointId: TargetInput.optional(),
        topic: TopicFilter.optional(),
        since: Since.optional(),
        dryRun: z.boolean().default(false).openapi({ description: "Only count" }),
      }),
    ),
  },
  responses: { 202: jsonResponse(Replayed, "Opened again"), ...problemResponses("not-found", "invalid-request") },
});

export const dead = createRouter();

dead.openapi(listRoute, async (c) => {
  const { limit, cursor, endpointId, topic, since, until } = c.req.valid("query");
  const { tenantId } = c.get("principal");
  const scope = { config: c.get("config"), tenantId, list: "dead" };
  const position = await decodeCursor(scope, cursor);
  const filter = { endpointId, topic, sinceMs: since, untilMs: until };
  const after = position === undefined ? undefined : DeliveryPosition.parse(position);
  const rows = await listDead(c.env.DB, tenantId, filter, { after, limit: limit + 1 });
  return c.json(await deliveryPage(c.env.DB, scope, rows, limit), 200);
});

dead.openapi(replayRoute, async (c) => {
  const { endpointId, topic, since, dryRun } = c.req.valid("json");
  const { tenantId } = c.get("principal");
  if (endpointId !== undefined && isEndpoint(endpointId) && !(await endpointExists(c.env.DB, tenantId, endpointId))) {
    return fail({ code: "not-found", detail: "There is no endpoint with this `endpointId`." });
  }
  const streamOf = (stream: string) => streamStub(c.env.STREAMS, stream);
  const options = { dryRun, atMost: replayableOf(c, MAX_REPLAYED) };
  const replayed = await replayDead(c.env.DB, streamOf, tenantId, { endpointId, topic, sinceMs: since }, options);
  if (!dryRun) {
    const after = { endpointId, topic, since: since === undefined ? undefined : toTime(since), ...replayed };
    await recordAudit(c.env.DB, auditEntry(c, { action: "dead.replay", target: endpointId ?? topic ?? "all", after }));
  }
  return c.json(replayed, 202);
});
