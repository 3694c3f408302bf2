import { describe, expect, it } from "vitest";
import { parseTopicArn } from "../../../src/sns/arn.ts";
import type { Fetch } from "../../../src/sns/bounded-fetch.ts";
import { confirmSubscription } from "../../../src/sns/confirm.ts";
import { attempt, confirmationFields, fakeFetch, signedBody, TOPIC_ARN } from "./fixtures.ts";

const SUBSCRIPTION_ARN = `${TOPIC_ARN}:0ae5ddb2-7a1c-5f3c-8e43-8a1f9f9a2f10`;

function answer(): Response {
  return new Response(
    `<ConfirmSubscriptionResponse xmlns="http://sns.amazonaws.com/doc/2010-03-31/">
      <ConfirmSubscriptionResult>
        <SubscriptionArn>${SUBSCRIPTION_ARN}</SubscriptionArn>
      </ConfirmSubscriptionResult>
    </ConfirmSubscriptionResponse>`,
  );
}

async function confirm(fetch: Fetch, arn = TOPIC_ARN, snsEndpoint: string | null = null, token = "abc") {
  const topic = parseTopicArn(arn);
  if (topic === null) throw new Error(`not an ARN: ${arn}`);
  return confirmSubscription(topic, token, { fetch, snsEndpoint });
}

describe("confirming a subscription", () => {
  it("asks the host of the ARN's region and partition, and reads the subscription's ARN", async () => {
    for (const [arn, host] of [
      [TOPIC_ARN, "sns.eu-central-1.amazonaws.com"],
      ["arn:aws-cn:sns:cn-north-1:123456789012:orders", "sns.cn-north-1.amazonaws.com.cn"],
    ] as const) {
      const { fetch, urls } = fakeFetch(answer);
      expect(await confirm(fetch, arn)).toEqual({ ok: true, subscriptionArn: SUBSCRIPTION_ARN });
      const url = new URL(urls[0] ?? "");
      expect([url.protocol, url.host, url.pathname]).toEqual(["https:", host, "/"]);
      expect(Object.fromEntries(url.searchParams)).toEqual({
        Action: "ConfirmSubscription", Version: "2010-03-31", TopicArn: arn, Token: "abc",
      });
    }
  });

  it("asks snsEndpoint instead when that is set", async () => {
    const { fetch, urls } = fakeFetch(answer);
    await confirm(fetch, TOPIC_ARN, "http://127.0.0.1:4100");
    expect(urls[0]).toMatch(/^http:\/\/127\.0\.0\.1:4100\/\?Action=ConfirmSubscription&/);
  });

  it("never touches SubscribeURL, neither in verifying nor in confirming", async () => {
    const body = signedBody(confirmationFields("SubscriptionConfirmation"));
    const { verification, urls } = await attempt(body);
    if (!verification.ok || verification.message.type !== "SubscriptionConfirmation") throw new Error("not verified");
    const confirmation = fakeFetch(answer);
    await confirmSubscription(verification.message.topic, verification.message.token, { fetch: confirmation.fetch, snsEndpoint: null });
    expect(body["SubscribeURL"]).toContain("attacker.example");
    expect([...urls, ...confirmation.urls].map((url) => new URL(url).host)).toEqual(Array(2).fill("sns.eu-central-1.amazonaws.com"));
  });

  it("keeps a token within its parameter", async () => {
    const { fetch, urls } = fakeFetch(answer);
    await confirm(fetch, TOPIC_ARN, null, "a&Action=DeleteTopic#/../?@evil.example");
    const url = new URL(urls[0] ?? "");
    expect(url.host).toBe("sns.eu-central-1.amazonaws.com");
    expect(url.searchParams.getAll("Action")).toEqual(["ConfirmSubscription"]);
  });

  it("succeeds without an ARN when the answer names none", async () => {
    const { fetch } = fakeFetch(() => new Response("<ok/>"));
    expect(await confirm(fetch)).toEqual({ ok: true, subscriptionArn: null });
  });

  const failures: [name: string, respond: () => Response, expected: object][] = [
    ["an error of SNS", () => new Response("<ErrorResponse/>", { status: 400 }), { reason: "status", status: 400 }],
    ["a redirect, which is not followed", () => new Response(null, { status: 302, headers: { location: "https://evil.example/" } }), { reason: "status", status: 302 }],
    ["an endless answer", () => new Response("x".repeat(64 * 1024 + 1)), { reason: "too-large", status: null }],
    ["no connection", () => { throw new TypeError("fetch failed"); }, { reason: "connection-failed", status: null }],
  ];
  for (const [name, respond, expected] of failures) {
    it(`fails at ${name}, after one request`, async () => {
      const { fetch, urls } = fakeFetch(respond);
      expect(await confirm(fetch)).toEqual({ ok: false, ...expected });
      expect(urls).toHaveLength(1);
    });
  }

  it("asks for redirects not to be followed, and sends nothing but a GET", async () => {
    const inits: RequestInit[] = [];
    await confirm(async (_url, init) => {
      inits.push(init);
      return answer();
    });
    expect(inits).toEqual([{ redirect: "manual", signal: expect.any(AbortSignal) }]);
  });
});
