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
import { askAgain, type InboundCall, publishInbound, type PublishedInbound, refused } from "./inbound-answer.ts";
import { readBody } from "./read-body.ts";
import { fail } from "./router.ts";

/** What SNS said about a subscription, once it is recorded. */
export type SubscriptionRecorded = { topicArn: string; state: "confirmed" | "unsubscribed" };

let certificates: ReturnType<typeof createCertificateCache> | undefined;

/** Takes a push of SNS (§6): a notification becomes an event, a confirmation is given or recorded. */
export async function receiveFromSns(call: InboundCall, source: SnsSource): Promise<PublishedInbound | SubscriptionRecorded> {
  const verification = await verifyRequest(call, source);
  if (!verification.ok) return reject(call, source, verification);
  const { message } = verification;
  switch (message.type) {
    case "Notification":
      return accept(call, source, message);
    case "SubscriptionConfirmation":
      return confirm(call, source, message);
    case "UnsubscribeConfirmation":
      return recordState(call, source, message, "unsubscribed", null);
  }
}

async function verifyRequest(call: InboundCall, source: SnsSource): Promise<Verification> {
  const body = await readBody(call.request, MAX_SNS_BODY_BYTES);
  if (body === null) return { ok: false, kind: "refused", reason: "body-too-large" };
  certificates ??= createCertificateCache({
    fetch: isolateOf(call.env).world.fetch,
    sleep: (ms) => new Promise((resolve) => setTimeout(resolve, ms)),
    snsEndpoint: isolateOf(call.env).config.snsEndpoint,
  });
  const policy = { sourceId: source.id, topicArns: source.topicArns, minVersion: source.minVersion };
  return verify({ headers: call.request.headers, body }, policy, certificates, Date.now());
}

function reject(call: InboundCall, source: SnsSource, { kind, reason }: Exclude<Verification, { ok: true }>): never {
  switch (kind) {
    case "refused":
      return refused(call, source, "sns.refused", reason);
    case "cannot-judge":
      log("error", "an inbound message could not be judged", {
        event: "sns.undecided", requestId: call.requestId, sourceId: source.id, reason,
      });
      return fail(askAgain("The message could not be verified now: send it again."));
  }
}

async function accept(call: InboundCall, source: SnsSource, notification: Notification): Promise<PublishedInbound> {
  const message = toMessage(notification, newTraceparent(isolateOf(call.env).world.fillRandom));
  return publishInbound(call, source.tenantId, source.topic ?? notification.topic.name, message);
}

async function confirm(call: InboundCall, source: SnsSource, confirmation: Confirmation): Promise<SubscriptionRecorded> {
  const { world: { fetch }, config: { snsEndpoint } } = isolateOf(call.env);
  const result = await confirmSubscription(confirmation.topic, confirmation.token, { fetch, snsEndpoint });
  if (!result.ok) {
    const { reason, status } = result;
    const fields = { event: "sns.confirmation-failed", requestId: call.requestId, sourceId: source.id, reason, status };
    log("error", "SNS did not confirm a subscription", fields);
    return fail(askAgain("The subscription could not be confirmed now: send it again."));
  }
  return recordState(call, source, confirmation, "confirmed", result.subscriptionArn);
}

async function recordState(
  call: InboundCall,
  source: SnsSource,
  { topic }: Confirmation,
  state: SubscriptionRecorded["state"],
  subscriptionArn: string | null,
): Promise<SubscriptionRecorded> {
  await recordSubscriptionState(call.env.DB, source.id, topic.text, state, subscriptionArn, Date.now());
  return { topicArn: topic.text, state };
}
