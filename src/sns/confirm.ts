import { snsHost, type TopicArn } from "./arn.ts";
import { boundedFetch, type Fetch } from "./bounded-fetch.ts";

const DEADLINE_MS = 10_000;
const MAX_ANSWER_BYTES = 64 * 1024;
const SUBSCRIPTION_ARN = /<SubscriptionArn>\s*(arn:[A-Za-z0-9:._-]{1,512})\s*<\/SubscriptionArn>/;

export type ConfirmResult =
  | { readonly ok: true; /** Null when the answer named none. */ readonly subscriptionArn: string | null }
  | { readonly ok: false; readonly reason: "timed-out" | "connection-failed" | "too-large" | "status"; readonly status: number | null };

type World = { readonly fetch: Fetch; readonly snsEndpoint: string | null };

/**
 * Confirms a subscription by SNS's `ConfirmSubscription` (API version 2010-03-31; needs no AWS credentials) at the
 * host derived from the ARN, or at `snsEndpoint` (an origin) when set. A `SubscribeURL` is never fetched, signed or not.
 */
export async function confirmSubscription(topic: TopicArn, token: string, world: World): Promise<ConfirmResult> {
  const url = new URL(world.snsEndpoint ?? `https://${snsHost(topic)}/`);
  url.search = new URLSearchParams({
    Action: "ConfirmSubscription",
    Version: "2010-03-31",
    TopicArn: topic.text,
    Token: token,
  }).toString();
  const answer = await boundedFetch(world.fetch, url.href, { maxBytes: MAX_ANSWER_BYTES, deadlineMs: DEADLINE_MS });
  if (!answer.ok) return { ok: false, reason: answer.reason, status: null };
  if (answer.status !== 200) return { ok: false, reason: "status", status: answer.status };
  const subscriptionArn = SUBSCRIPTION_ARN.exec(new TextDecoder().decode(answer.body))?.[1] ?? null;
  return { ok: true, subscriptionArn };
}
