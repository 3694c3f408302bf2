import { createRoute, z } from "@hono/zod-openapi";
import type { Context } from "hono";
import { newId } from "../../ids.ts";
import { isTarget, MAX_TARGET_CHARACTERS } from "../../messages/topic.ts";
import { recordAudit } from "../../storage/audit.ts";
import { findEndpoint } from "../../storage/endpoints.ts";
import type { ReplayRequest, ReplayStarted } from "../../streams/contract.ts";
import { formatOffset, parseLogOffset } from "../../streams/protocol/offset.ts";
import { streamName } from "../../streams/ref.ts";
import { MAX_RUNNING } from "../../streams/replays.ts";
import { streamStub } from "../../streams/stub.ts";
import { auditEntry } from "../audit-trail.ts";
import { isOrdered, NOT_BEFORE_SINCE, Since, Until } from "../history-json.ts";
import { requireScope } from "../middleware/require-scope.ts";
import { orUnavailable, requireName } from "../published.ts";
import { requireReplayable, requireReplayJob } from "../replay-limits.ts";
import { type AppEnv, createRouter, fail } from "../router.ts";
import { IdParam, jsonBody, jsonResponse, problemResponses } from "../schemas.ts";

/** An offset in a body: as publishing returned it, or as the stream API writes it. */
export const OffsetInput = z
  .union([z.int().min(0), z.string().max(64)], { error: "Must be an offset: a number as publishing returned it, or a Stream-Next-Offset." })
  .openapi({ description: "An offset: the number that publishing returned, or a `Stream-Next-Offset`", example: 42 });

const ReplayBody = z
  .strictObject({
    // its grammar is judged by the route: a malformed name is a 400
    topic: z.string().openapi({ example: "orders.completed", maxLength: MAX_TARGET_CHARACTERS }),
    fromOffset: OffsetInput.optional().openapi({ description: "Of the first message; without it and `since`, the earliest there is" }),
    since: Since.optional(),
    until: Until.optional(),
    dryRun: z.boolean().default(false).openapi({ description: "Only count" }),
  })
  .refine(isOrdered, NOT_BEFORE_SINCE)
  .refine(({ fromOffset, since }) => fromOffset === undefined || since === undefined, {
    path: ["fromOffset"],
    error: "Send `fromOffset` or `since`, not both.",
  });

const ReplayAnswer = z
  .object({
    count: z.number().int().openapi({ description: "Messages of the stretch, whose content was not expunged" }),
    jobId: z.string().nullable().openapi({ description: "Of `/v1/jobs/{id}`; null for a dry run" }),
  })
  .openapi("ReplayAnswer");

const replayRoute = createRoute({
  method: "post",
  path: "/v1/endpoints/{id}/replay",
  tags: ["Endpoints"],
  summary: "Deliver a stretch of a topic to an endpoint again",
  description:
    "Every message of the stretch that the topic has now, whatever the endpoint is or was subscribed to and whatever its " +
    "filters: also what was published before it subscribed. Each keeps its `webhook-id` and gets a new timestamp. A job " +
    "in the background hands at most 200 messages a second to delivery, and waits while the endpoint is paused or slow.",
  middleware: [requireScope("manage")] as const,
  request: { params: IdParam, body: jsonBody(ReplayBody) },
  responses: {
    202: jsonResponse(ReplayAnswer, "Begun, or only counted"),
    ...problemResponses("malformed-target", "not-found", "gone", "invalid-request", "limit-reached", "rate-limited", "unavailable"),
  },
});

export const replay = createRouter();

replay.openapi(replayRoute, async (c) => {
  const { id: endpointId } = c.req.valid("param");
  const { topic, fromOffset, since, until, dryRun } = c.req.valid("json");
  const { tenantId } = c.get("principal");
  if (!isTarget(topic)) requireName("topic", topic);
  const from = firstMessage(fromOffset, since);
  const endpoint = await findEndpoint(c.env.DB, tenantId, endpointId);
  if (endpoint === null) return fail({ code: "not-found", detail: "There is no endpoint with this id." });
  const stream = streamName({ tenantId, kind: "topics", name: topic });
  if (!dryRun) await requireWithinLimits(c, stream, { endpointId, from, untilMs: until ?? null });
  const jobId = dryRun ? null : newId("job", Date.now());
  const ordered = endpoint.ordered ? { ordered: { orderingKey: endpoint.ordering_key } } : {};
  const request = { jobId, endpointId, from, untilMs: until ?? null, ...ordered };
  const starting = streamStub(c.env.STREAMS, stream).replay(stream, request);
  const started = await orUnavailable(c.get("requestId"), starting, "Whether it began is unknown: look at `/v1/jobs` before you try again.");
  if (!started.ok) return refuse(started);
  const { count, untilOffset } = started;
  if (jobId !== null) {
    const after = { jobId, topic, fromOffset: started.fromOffset, untilOffset, count };
    await recordAudit(c.env.DB, auditEntry(c, { action: "endpoint.replay", target: endpointId, after }));
  }
  return c.json({ count, jobId }, 202);
});

/** Counts first what the replay would be, where the tenant has a limit of it. */
async function requireWithinLimits(c: Context<AppEnv>, stream: string, stretch: Omit<ReplayRequest, "jobId">): Promise<void> {
  await requireReplayJob(c);
  if (c.get("limits").replayMessages === null) return;
  const counted = await streamStub(c.env.STREAMS, stream).replay(stream, { ...stretch, jobId: null });
  if (counted.ok) requireReplayable(c, counted.count);
}

function firstMessage(fromOffset: number | string | undefined, sinceMs: number | undefined): ReplayRequest["from"] {
  if (sinceMs !== undefined) return { timeMs: sinceMs };
  if (fromOffset === undefined) return null;
  const parsed = parseLogOffset(String(fromOffset));
  if (parsed === "start") return null;
  return typeof parsed === "number" ? { offset: parsed } : malformedOffset("/fromOffset");
}

/** Ends the request: the text names no position. */
export function malformedOffset(pointer: string): never {
  const detail = "Must be a number as publishing returned it, or an offset as the stream API writes it.";
  return fail({ code: "invalid-request", detail: "Mend the offset and send the request again.", errors: [{ pointer, detail }] });
}

function refuse(refused: ReplayStarted & { ok: false }): never {
  switch (refused.code) {
    case "beyond-head": {
      const detail = `lies beyond the end of the topic, which is ${refused.nextOffset}`;
      return fail({ code: "invalid-request", detail: "Mend the offset and send the request again.", errors: [{ pointer: "/fromOffset", detail }] });
    }
    case "trimmed": {
      const earliest = formatOffset(refused.earliestOffset);
      return fail({
        code: "gone",
        detail: `What was before ${refused.earliestOffset} is no longer kept: begin there, or use \`since\`.`,
        headers: { "stream-earliest-offset": earliest },
      });
    }
    case "too-many":
      return fail({
        code: "rate-limited",
        detail: `${MAX_RUNNING} replays of this topic run already: wait for one to end, or stop one at /v1/jobs.`,
        headers: { "retry-after": "60" },
      });
  }
}
