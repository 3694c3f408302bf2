import type { WebhookKind } from "./scheme.ts";
import type { Delivery } from "./verify.ts";

/** What a verified body says of itself, for senders that say it there; null where it does not. */
export type BodyFacts = {
  /** Names the delivery, the same again when it is repeated. */
  readonly deliveryId: string | null;
  readonly eventName: string | null;
};

/** A request that only asks whether somebody is here: answered, and nothing of it is published. */
export type Handshake =
  /** Slack's `url_verification`: the challenge is to be sent back. */
  | { readonly kind: "challenge"; readonly challenge: string }
  /** What GitHub sends when the webhook is made. */
  | { readonly kind: "ping" };

const STRIPE_EVENT_ID = /^evt_[A-Za-z0-9_]{1,128}$/;
const SLACK_EVENT_ID = /^Ev[A-Za-z0-9]{1,64}$/;
const MAX_CHALLENGE_CHARACTERS = 1024;
const NO_FACTS: BodyFacts = { deliveryId: null, eventName: null };

/** Reads the bodies of senders whose headers name neither delivery nor event. */
export function bodyFacts(kind: WebhookKind, body: Uint8Array): BodyFacts {
  switch (kind) {
    case "github":
    case "shopify":
    case "hmac":
      return NO_FACTS;
    case "standard-webhooks":
      return { deliveryId: null, eventName: textIn(parseObject(body), "type") };
    case "stripe": {
      const event = parseObject(body);
      return { deliveryId: matching(textIn(event, "id"), STRIPE_EVENT_ID), eventName: textIn(event, "type") };
    }
    case "slack": {
      const callback = parseObject(body);
      const deliveryId = matching(textIn(callback, "event_id"), SLACK_EVENT_ID);
      return { deliveryId, eventName: textIn(asObject(callback?.["event"]), "type") ?? textIn(callback, "type") };
    }
  }
}

/** The handshake a verified delivery is; null for one that is an event. */
export function handshakeOf(kind: WebhookKind, { headers, body }: Delivery): Handshake | null {
  if (kind === "github") return headers.get("x-github-event") === "ping" ? { kind: "ping" } : null;
  if (kind !== "slack") return null;
  const request = parseObject(body);
  const challenge = textIn(request, "challenge");
  if (textIn(request, "type") !== "url_verification" || challenge === null) return null;
  return challenge.length <= MAX_CHALLENGE_CHARACTERS ? { kind: "challenge", challenge } : null;
}

type JsonObject = Readonly<Record<string, unknown>>;

function parseObject(body: Uint8Array): JsonObject | null {
  try {
    return asObject(JSON.parse(new TextDecoder().decode(body)));
  } catch {
    return null; // no JSON: a form, or whatever the sender likes
  }
}

function asObject(value: unknown): JsonObject | null {
  if (typeof value !== "object" || value === null || Array.isArray(value)) return null;
  return Object.fromEntries(Object.entries(value));
}

function textIn(object: JsonObject | null, name: string): string | null {
  const value = object?.[name];
  return typeof value === "string" ? value : null;
}

function matching(text: string | null, pattern: RegExp): string | null {
  return text !== null && pattern.test(text) ? text : null;
}
