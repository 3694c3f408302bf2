import { createRoute, z } from "@hono/zod-openapi";
import { recordAudit } from "../../storage/audit.ts";
import { listAttempts, positionOfAttempt } from "../../storage/history-attempts.ts";
import { endpointExists } from "../../storage/history-read.ts";
import { MAX_COUNTED, readEndpointStats } from "../../storage/stats.ts";
import { streamStub } from "../../streams/stub.ts";
import { auditEntry } from "../audit-trail.ts";
import { Attempt, isOrdered, NOT_BEFORE_SINCE, presentAttempts, Since, TopicFilter, Until } from "../history-json.ts";
import { requireScope } from "../middleware/require-scope.ts";
import { decodeCursor, toPage } from "../pagination.ts";
import { replayableOf } from "../replay-limits.ts";
import { createRouter, fail } from "../router.ts";
import { IdParam, jsonBody, jsonResponse, Page, pageOf, problemResponses, Time, toTime } from "../schemas.ts";
import { MAX_REPLAYED, Replayed, replayDead } from "./dead.ts";

const INTERVALS_MS = { minute: 60_000, hour: 3_600_000, day: 86_400_000 } as const;
const DEFAULT_PERIOD_MS = 86_400_000;
const MAX_BUCKETS = 1_500;

const AttemptPosition = z.tuple([z.number(), z.string(), z.number(), z.string()]);

const attemptsRoute = createRoute({
  method: "get",
  path: "/v1/endpoints/{id}/attempts",
  tags: ["Endpoints"],
  summary: "List the attempts at an endpoint",
  description: "Newest first; history is about a second behind.",
  middleware: [requireScope("read")] as const,
  request: {
    params: IdParam,
    query: Page.extend({
      status: z.enum(["succeeded", "failed"]).optional(),
      topic: TopicFilter.optional(),
      since: Since.optional(),
      until: Until.optional(),
    }).refine(isOrdered, NOT_BEFORE_SINCE),
  },
  responses: { 200: jsonResponse(pageOf(Attempt), "Attempts"), ...problemResponses("invalid-cursor", "not-found") },
});

const Interval = z.enum(["minute", "hour", "day"]);

const EndpointStats = z
  .object({
    since: Time,
    until: Time,
    interval: Interval,
    attempts: z.number().int(),
    succeeded: z.number().int(),
    failed: z.number().int(),
    successRate: z.number().min(0).max(1).nullable().openapi({ description: "Null when there was no attempt" }),
    durationMs: z
      .object({ p50: z.number().nullable(), p95: z.number().nullable() })
      .openapi({ description: "Until the response, of all attempts, within 5 %" }),
    buckets: z
      .array(z.object({ time: Time, succeeded: z.number().int(), failed: z.number().int() }))
      .openapi({ description: "Oldest first; each begins at `time`, a whole minute, hour or day of UTC" }),
  })
  .openapi("EndpointStats");

const statsRoute = createRoute({
  method: "get",
  path: "/v1/endpoints/{id}/stats",
  tags: ["Endpoints"],
  summary: "Rates and durations of an endpoint over time",
  description:
    "Without a period: the last 24 hours. Of a period with very many attempts, the newest count: those that history has in " +
    `its newest ${MAX_COUNTED} portions, of up to a second each.`,
  middleware: [requireScope("read")] as const,
  request: {
    params: IdParam,
    query: z
      .object({ since: Since.optional(), until: Until.optional(), interval: Interval.default("hour") })
      .refine(isOrdered, NOT_BEFORE_SINCE),
  },
  responses: { 200: jsonResponse(EndpointStats, "Statistics"), ...problemResponses("not-found", "invalid-request") },
});

const recoverRoute = createRoute({
  method: "post",
  path: "/v1/endpoints/{id}/recover",
  tags: ["Endpoints"],
  summary: "Replay the dead deliveries of a time",
  description: "Opens the dead deliveries of the messages published in that time again, as after an outage.",
  middleware: [requireScope("manage")] as const,
  request: {
    params: IdParam,
    body: jsonBody(
      z
        .strictObject({
          since: Since,
          until: Until.optional(),
          dryRun: z.boolean().default(false).openapi({ description: "Only count" }),
        })
        .refine(isOrdered, NOT_BEFORE_SINCE),
    ),
  },
  responses: { 202: jsonResponse(Replayed, "Opened again"), ...problemResponses("not-found", "invalid-request") },
});

export const endpointHistory = createRouter();

endpointHistory.openapi(attemptsRoute, async (c) => {
  const { id } = c.req.valid("param");
  const { limit, cursor, status, topic, since, until } = c.req.valid("query");
  const { tenantId } = c.get("principal");
  await requireEndpoint(c.env.DB, tenantId, id);
  const scope = { config: c.get("config"), tenantId, list: `attempts:${id}` };
  const position = await decodeCursor(scope, cursor);
  const filter = { outcome: status, topic, sinceMs: since, untilMs: until };
  const after = position === undefined ? undefined : AttemptPosition.parse(position);
  const rows = await listAttempts(c.env.DB, tenantId, id, filter, { after, limit: limit + 1 });
  const page = await toPage(scope, rows, limit, positionOfAttempt, (row) => row);
  return c.json({ data: await presentAttempts(page.data), next: page.next }, 200);
});

endpointHistory.openapi(statsRoute, async (c) => {
  const { id } = c.req.valid("param");
  const { since, until, interval } = c.req.valid("query");
  const { tenantId } = c.get("principal");
  const untilMs = until ?? Math.max(Date.now(), since ?? 0);
  const sinceMs = since ?? untilMs - DEFAULT_PERIOD_MS;
  const intervalMs = INTERVALS_MS[interval];
  if ((untilMs - sinceMs) / intervalMs > MAX_BUCKETS) {
    const detail = `A period holds ${MAX_BUCKETS} intervals at most: take a longer interval or a shorter period.`;
    return fail({ code: "invalid-request", detail, errors: [{ pointer: "?interval", detail }] });
  }
  await requireEndpoint(c.env.DB, tenantId, id);
  const stats = await readEndpointStats(c.env.DB, tenantId, id, { sinceMs, untilMs, intervalMs });
  const attempts = stats.succeeded + stats.failed;
  return c.json(
    {
      since: toTime(sinceMs),
      until: toTime(untilMs),
      interval,
      attempts,
      succeeded: stats.succeeded,
      failed: stats.failed,
      successRate: attempts === 0 ? null : stats.succeeded / attempts,
      durationMs: { p50: stats.p50DurationMs, p95: stats.p95DurationMs },
      buckets: stats.buckets.map(({ startMs, ...counts }) => ({ time: toTime(startMs), ...counts })),
    },
    200,
  );
});

endpointHistory.openapi(recoverRoute, async (c) => {
  const { id } = c.req.valid("param");
  const { since, until, dryRun } = c.req.valid("json");
  const { tenantId } = c.get("principal");
  await requireEndpoint(c.env.DB, tenantId, id);
  const streamOf = (stream: string) => streamStub(c.env.STREAMS, stream);
  const filter = { endpointId: id, sinceMs: since, untilMs: until };
  const replayed = await replayDead(c.env.DB, streamOf, tenantId, filter, { dryRun, atMost: replayableOf(c, MAX_REPLAYED) });
  if (!dryRun) {
    const after = { since: toTime(since), until: until === undefined ? undefined : toTime(until), ...replayed };
    await recordAudit(c.env.DB, auditEntry(c, { action: "endpoint.recover", target: id, after }));
  }
  return c.json(replayed, 202);
});

async function requireEndpoint(db: D1Database, tenantId: string, id: string): Promise<void> {
  if (await endpointExists(db, tenantId, id)) return;
  fail({ code: "not-found", detail: "There is no endpoint with this id." });
}
