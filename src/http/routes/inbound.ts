import { createRoute, z } from "@hono/zod-openapi";
import type { Context } from "hono";
import { CACHE_MAX_AGE_MS } from "../../delivery/freshness.ts";
import { isolateOf } from "../../isolate.ts";
import { log } from "../../log.ts";
import { publish } from "../../messages/publish.ts";
import { newTraceparent } from "../../messages/traceparent.ts";
import { createCertificateCache } from "../../sns/certificate-cache.ts";
import { confirmSubscription } from "../../sns/confirm.ts";
import { type Confirmation, MAX_SNS_BODY_BYTES, type Notification } from "../../sns/parse.ts";
import { toMessage } from "../../sns/to-message.ts";
import { type Verification, verify } from "../../sns/verify.ts";
import { getSource, recordSubscriptionState, type Source } from "../../storage/sources.ts";
import { publishWorld } from "../published.ts";
import { readBody } from "../read-body.ts";
import { RecentReads } from "../../recent-reads.ts";
import { type AppEnv, createRouter, fail } from "../router.ts";
import { jsonResponse, problemResponses, Time, toTime } from "../schemas.ts";

const RETRY_AFTER_SECONDS = "5";
const MAX_CACHED_SOURCES = 1000;

const Accepted = z.union([
  z
    .object({ id: z.string(), topic: z.string(), offset: z.number().int(), time: Time, matched: z.number().int() })
    .openapi({ description: "A notification became an event, now or when it came before" }),
  z
    .object({ topicArn: z.string(), state: z.enum(["confirmed", "unsubscribed"]) })
    .openapi({ description: "A subscription was confirmed, or its end recorded" }),
]);

type Acceptance = z.input<typeof Accepted>;

const receive = createRoute({
  method: "post",
  path: "/in/{sourceId}",
  tags: ["Sources"],
  summary: "Receive from Amazon SNS",
  description:
    "For SNS itself, which needs no token: what it signed is what counts. 403 is for good, and says no more than that; " +
    "after a 5xx SNS sends the message again. Message attributes are not signed by SNS.",
  security: [],
  request: { params: z.object({ sourceId: z.string().openapi({ param: { name: "sourceId", in: "path" } }) }) },
  responses: {
    200: jsonResponse(Accepted, "Committed"),
    ...problemResponses("verification-failed", "not-found", "overloaded", "unavailable"),
  },
});

/** Found sources by id; what was not found is asked again every time. */
const recentSources = new RecentReads<Source>(CACHE_MAX_AGE_MS, MAX_CACHED_SOURCES);
let certificates: ReturnType<typeof createCertificateCache> | undefined;

type InboundContext = Context<AppEnv>;

export const inbound = createRouter();

inbound.openapi(receive, async (c) => {
  const source = await requireSource(c, c.req.valid("param").sourceId);
  const verification = await verifyRequest(c, source);
  if (!verification.ok) return reject(c, source, verification);
  const { message } = verification;
  switch (message.type) {
    case "Notification":
      return c.json(await accept(c, source, message), 200);
    case "SubscriptionConfirmation":
      return c.json(await confirm(c, source, message), 200);
    case "UnsubscribeConfirmation":
      return c.json(await recordState(c, source, message, "unsubscribed", null), 200);
  }
});

async function requireSource(c: InboundContext, id: string): Promise<Source> {
  const nowMs = Date.now();
  const recent = recentSources.get(id, nowMs);
  if (recent !== undefined) return recent;
  const source = await getSource(c.env.DB, id);
  if (source === null) return fail({ code: "not-found", detail: "There is no source of that id." });
  recentSources.set(id, source, nowMs);
  return source;
}

async function verifyRequest(c: InboundContext, source: Source): Promise<Verification> {
  const body = await readBody(c.req.raw, MAX_SNS_BODY_BYTES);
  if (body === null) return { ok: false, kind: "refused", reason: "body-too-large" };
  certificates ??= createCertificateCache({
    fetch: isolateOf(c.env).world.fetch,
    sleep: (ms) => new Promise((resolve) => setTimeout(resolve, ms)),
    snsEndpoint: c.get("config").snsEndpoint,
  });
  const policy = { sourceId: source.id, topicArns: source.topicArns, minVersion: source.minVersion };
  return verify({ headers: c.req.raw.headers, body }, policy, certificates, Date.now());
}

/** The log alone knows the reason: whoever tries messages out learns nothing from the answer. */
function reject(c: InboundContext, source: Source, verification: Exclude<Verification, { ok: true }>): never {
  const { kind, reason } = verification;
  const fields = { requestId: c.get("requestId"), sourceId: source.id, reason };
  switch (kind) {
    case "refused":
      log("warn", "an inbound message was refused", { event: "sns.refused", ...fields });
      return fail({ code: "verification-failed", detail: "The message did not pass verification." });
    case "cannot-judge":
      log("error", "an inbound message could not be judged", { event: "sns.undecided", ...fields });
      return fail(unavailable("The message could not be verified now: send it again."));
  }
}

/** Answers once the event is committed; a repeat of it finds itself there and delivers nothing. */
async function accept(c: InboundContext, source: Source, notification: Notification): Promise<Acceptance> {
  const { world } = isolateOf(c.env);
  const topic = source.topic ?? notification.topic.name;
  const message = toMessage(notification, newTraceparent(world.fillRandom));
  const result = await publish(publishWorld(c), source.tenantId, topic, [message]);
  if (!result.ok) {
    const headers = { "retry-after": String(result.retryAfterSeconds) };
    return fail({ code: "overloaded", detail: "Send the message again later.", headers });
  }
  const [appended] = result.appended;
  if (appended === undefined) throw new Error("one message was appended, and nothing came back");
  const { id, offset, timeMs, matched } = appended;
  return { id, topic, offset, time: toTime(timeMs), matched };
}

async function confirm(c: InboundContext, source: Source, confirmation: Confirmation): Promise<Acceptance> {
  const { fetch } = isolateOf(c.env).world;
  const { snsEndpoint } = c.get("config");
  const result = await confirmSubscription(confirmation.topic, confirmation.token, { fetch, snsEndpoint });
  if (!result.ok) {
    const { reason, status } = result;
    const fields = { event: "sns.confirmation-failed", requestId: c.get("requestId"), sourceId: source.id, reason, status };
    log("error", "SNS did not confirm a subscription", fields);
    return fail(unavailable("The subscription could not be confirmed now: send it again."));
  }
  return recordState(c, source, confirmation, "confirmed", result.subscriptionArn);
}

async function recordState(
  c: InboundContext,
  source: Source,
  { topic }: Confirmation,
  state: "confirmed" | "unsubscribed",
  subscriptionArn: string | null,
): Promise<Acceptance> {
  await recordSubscriptionState(c.env.DB, source.id, topic.text, state, subscriptionArn, Date.now());
  return { topicArn: topic.text, state };
}

function unavailable(detail: string) {
  return { code: "unavailable", detail, headers: { "retry-after": RETRY_AFTER_SECONDS } } as const;
}
