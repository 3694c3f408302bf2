import { createRoute, z } from "@hono/zod-openapi";
import type { Context } from "hono";
import { CACHE_MAX_AGE_MS } from "../../delivery/freshness.ts";
import { RecentReads } from "../../recent-reads.ts";
import { getSource, type SourceWithSecrets } from "../../storage/sources.ts";
import { requireStanding } from "../inbound-answer.ts";
import { receiveFromSns } from "../inbound-sns.ts";
import { receiveWebhook } from "../inbound-webhook.ts";
import { type AppEnv, createRouter, fail } from "../router.ts";
import { jsonResponse, problemResponses, Time } from "../schemas.ts";

const MAX_CACHED_SOURCES = 1000;

const Accepted = z.union([
  z
    .object({ id: z.string(), topic: z.string(), offset: z.number().int(), time: Time, matched: z.number().int() })
    .openapi({ description: "The message became an event, now or when it came before" }),
  z
    .object({ topicArn: z.string(), state: z.enum(["confirmed", "unsubscribed"]) })
    .openapi({ description: "Of SNS: a subscription was confirmed, or its end recorded" }),
  z.object({ challenge: z.string() }).openapi({ description: "Of Slack: the challenge of `url_verification`" }),
  z.object({ pong: z.literal(true) }).openapi({ description: "Of GitHub: its `ping`" }),
]);

const receive = createRoute({
  method: "post",
  path: "/in/{sourceId}",
  tags: ["Sources"],
  summary: "Receive from another sender",
  description:
    "For the sender itself, which needs no token: what it signed is what counts. 403 is for good, and says no more than " +
    "that; after a 5xx senders send the message again. Message attributes are not signed by SNS, nor are event names " +
    "and delivery ids by GitHub and Shopify.",
  security: [],
  request: { params: z.object({ sourceId: z.string().openapi({ param: { name: "sourceId", in: "path" } }) }) },
  responses: {
    200: jsonResponse(Accepted, "Committed"),
    ...problemResponses("verification-failed", "not-found", "payload-too-large", "rate-limited", "overloaded", "unavailable"),
  },
});

/** Found sources by id; what was not found is asked again every time. */
const recentSources = new RecentReads<SourceWithSecrets>(CACHE_MAX_AGE_MS, MAX_CACHED_SOURCES);

export const inbound = createRouter();

inbound.openapi(receive, async (c) => {
  const { source, secrets } = await requireSource(c, c.req.valid("param").sourceId);
  await requireStanding(c, source);
  if (source.kind === "sns") return c.json(await receiveFromSns(c, source), 200);
  return c.json(await receiveWebhook(c, source, secrets), 200);
});

async function requireSource(c: Context<AppEnv>, id: string): Promise<SourceWithSecrets> {
  const nowMs = Date.now();
  const recent = recentSources.get(id, nowMs);
  if (recent !== undefined) return recent;
  const found = await getSource(c.env.DB, id);
  if (found === null) return fail({ code: "not-found", detail: "There is no source of that id." });
  recentSources.set(id, found, nowMs);
  return found;
}
