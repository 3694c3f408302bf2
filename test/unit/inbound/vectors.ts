import { createHmac } from "node:crypto";

/** What one sender sends, as its documentation has it or as its rules make it. */
export type Vector = { readonly secret: string; readonly headers: Readonly<Record<string, string>>; readonly body: string; readonly atMs: number };

const hmac = (secret: string | Buffer, text: string, encoding: "hex" | "base64", algorithm = "sha256") =>
  createHmac(algorithm, secret).update(text).digest(encoding);

/** github.com, "Validating webhook deliveries", the test values. */
export const GITHUB: Vector = {
  secret: "It's a Secret to Everybody",
  body: "Hello, World!",
  headers: {
    "x-hub-signature-256": "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17",
    "x-github-delivery": "72d3162e-cc78-11e3-81ab-4c9367dc0958",
    "x-github-event": "issues",
    "content-type": "text/plain",
  },
  atMs: Date.parse("2026-11-17T09:30:00Z"),
};

/** slack.com, "Verifying requests from Slack", the example. */
export const SLACK: Vector = {
  secret: "8f742231b10e8888abcd99yyyzzz85a5",
  body:
    "token=xyzz0WbapA4vBCDEFasx0q6G&team_id=T1DC2JH3J&team_domain=testteamnow&channel_id=G8PSS9T3V&channel_name=foobar" +
    "&user_id=U2CERLKJA&user_name=roadrunner&command=%2Fwebhook-collect&text=&response_url=https%3A%2F%2Fhooks.slack.com" +
    "%2Fcommands%2FT1DC2JH3J%2F397700885554%2F96rGlfmibIGlgcZRskXaIFfN&trigger_id=398738663015.47445629121.803a0bc887a14d10d2c447fce8b6703c",
  headers: {
    "x-slack-signature": "v0=a2114d57b48eac39b9ad189dd8316235a7b4a8d21a10bd27519666489c69b503",
    "x-slack-request-timestamp": "1531420618",
    "content-type": "application/x-www-form-urlencoded",
  },
  atMs: 1_531_420_618_000,
};

/** standardwebhooks.com, the golden vector of its libraries. */
export const STANDARD: Vector = {
  secret: "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
  body: '{"test": 2432232314}',
  headers: {
    "webhook-id": "msg_p5jXN8AQM9LWM0D4loKWxJek",
    "webhook-timestamp": "1614265330",
    "webhook-signature": "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
    "content-type": "application/json",
  },
  atMs: 1_614_265_330_000,
};

/** Stripe publishes no vector with its secret: made by the rule it documents, beside a `v0` that has to be passed over. */
export function stripe(secret: string, body: string, atMs: number): Vector {
  const seconds = Math.floor(atMs / 1000);
  const signature = `t=${seconds},v1=${hmac(secret, `${seconds}.${body}`, "hex")},v0=6ffbb59b2300aae63f272406069a9788598b792a944a07aba816edb039989a39`;
  return { secret, body, headers: { "stripe-signature": signature, "content-type": "application/json; charset=utf-8" }, atMs };
}

export function slack(secret: string, body: string, atMs: number): Vector {
  const seconds = String(Math.floor(atMs / 1000));
  const headers = {
    "x-slack-signature": `v0=${hmac(secret, `v0:${seconds}:${body}`, "hex")}`,
    "x-slack-request-timestamp": seconds,
    "content-type": "application/json",
  };
  return { secret, body, headers, atMs };
}

export function github(secret: string, body: string, event: string, deliveryId: string): Vector {
  const headers = {
    "x-hub-signature-256": `sha256=${hmac(secret, body, "hex")}`,
    "x-github-event": event,
    "x-github-delivery": deliveryId,
    "content-type": "application/json",
  };
  return { secret, body, headers, atMs: Date.now() };
}

export function shopify(secret: string, body: string, deliveryId: string): Vector {
  const headers = {
    "x-shopify-hmac-sha256": hmac(secret, body, "base64"),
    "x-shopify-topic": "orders/create",
    "x-shopify-shop-domain": "johns-apparel.myshopify.com",
    "x-shopify-webhook-id": deliveryId,
    "content-type": "application/json",
  };
  return { secret, body, headers, atMs: Date.now() };
}

export function standard(secret: string, body: string, id: string, atMs: number): Vector {
  const seconds = String(Math.floor(atMs / 1000));
  const key = Buffer.from(secret.slice("whsec_".length), "base64");
  const headers = {
    "webhook-id": id,
    "webhook-timestamp": seconds,
    "webhook-signature": `v1,${hmac(key, `${id}.${seconds}.${body}`, "base64")}`,
    "content-type": "application/json",
  };
  return { secret, body, headers, atMs };
}

export { hmac };
