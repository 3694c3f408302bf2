import type { Context } from "hono";
import { isolateOf } from "../isolate.ts";
import { log } from "../log.ts";
import { newTraceparent } from "../messages/traceparent.ts";
import { createCertificateCache } from "../sns/certificate-cache.ts";
import { confirmSubscription } from "../sns/confirm.ts";
import { type Confirmation, MAX_SNS_BODY_BYTES, type Notification } from "../sns/parse.ts";
import { toMessage } from "../sns/to-message.ts";
import { type Verification, verify } from "../sns/verify.ts";
import { recordSubscriptionState } from "../storage/source-subscriptions.ts";
import type { SnsSource } from "../storage/sources.ts";
import { askAgain, publishInbound, type PublishedInbound, refused } from "./inbound-answer.ts";
import { readBody } from "./read-body.ts";
import { type AppEnv, fail } from "./router.ts";

type InboundContext = Context<AppEnv>;

/** What SNS said about a subscription, once it is recorded. */
export type SubscriptionRecorded = { topicArn: string; state: "confirmed" | "unsubscribed" };

let certificates: ReturnType<typeof createCertificateCache> | undefined;

/** Takes a push of SNS (§6): a notification becomes an event, a confirmation is given or recorded. */
export async function receiveFromSns(c: InboundContext, source: SnsSource): Promise<PublishedInbound | SubscriptionRecorded> {
  const verification = await verifyRequest(c, source);
  if (!verification.ok) return reject(c, source, verification);
  const { message } = verification;
  switch (message.type) {
    case "Notification":
      return accept(c, source, message);
    case "SubscriptionConfirmation":
      return confirm(c, source, message);
    case "UnsubscribeConfirmation":
      return recordState(c, source, message, "unsubscribed", null);
  }
}

async function verifyRequest(c: InboundContext, source: SnsSource): Promise<Verification> {
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

function reject(c: InboundContext, source: SnsSource, { kind, reason }: Exclude<Verification, { ok: true }>): never {
  switch (kind) {
    case "refused":
      return refused(c, source, "sns.refused", reason);
    case "cannot-judge":
      log("error", "an inbound message could not be judged", {
        event: "sns.undecided", requestId: c.get("requestId"), sourceId: source.id, reason,
      });
      return fail(askAgain("The message could not be verified now: send it again."));
  }
}

async function accept(c: InboundContext, source: SnsSource, notification: Notification): Promise<PublishedInbound> {
  const message = toMessage(notification, newTraceparent(isolateOf(c.env).world.fillRandom));
  return publishInbound(c, source.tenantId, source.topic ?? notification.topic.name, message);
}

async function confirm(c: InboundContext, source: SnsSource, confirmation: Confirmation): Promise<SubscriptionRecorded> {
  const { fetch } = isolateOf(c.env).world;
  const { snsEndpoint } = c.get("config");
  const result = await confirmSubscription(confirmation.topic, confirmation.token, { fetch, snsEndpoint });
  if (!result.ok) {
    const { reason, status } = result;
    const fields = { event: "sns.confirmation-failed", requestId: c.get("requestId"), sourceId: source.id, reason, status };
    log("error", "SNS did not confirm a subscription", fields);
    return fail(askAgain("The subscription could not be confirmed now: send it again."));
  }
  return recordState(c, source, confirmation, "confirmed", result.subscriptionArn);
}

async function recordState(
  c: InboundContext,
  source: SnsSource,
  { topic }: Confirmation,
  state: SubscriptionRecorded["state"],
  subscriptionArn: string | null,
): Promise<SubscriptionRecorded> {
  await recordSubscriptionState(c.env.DB, source.id, topic.text, state, subscriptionArn, Date.now());
  return { topicArn: topic.text, state };
}
