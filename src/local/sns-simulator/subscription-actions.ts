import { page } from "./page.ts";
import type { Parameters } from "./parameters.ts";
import { invalidParameter } from "./sns-error.ts";
import type { Store, Subscription, Topic } from "./store.ts";
import { attributeMap, element, text, type Xml } from "./xml.ts";

/** Sends a subscriber the message that asks it to confirm. */
export type AskToConfirm = (
  type: "SubscriptionConfirmation" | "UnsubscribeConfirmation",
  topic: Topic,
  subscription: Subscription,
) => void;

const SETTABLE = new Set(["DeliveryPolicy", "FilterPolicy", "FilterPolicyScope", "RawMessageDelivery", "RedrivePolicy"]);

/** Only HTTP and HTTPS: the rest is not this simulator's business. */
export function subscribe(store: Store, parameters: Parameters, askToConfirm: AskToConfirm): readonly Xml[] {
  const topic = store.topic(parameters.required("TopicArn"));
  const protocol = parameters.required("Protocol");
  const endpoint = parameters.required("Endpoint");
  const attributes = parameters.attributes();
  for (const [name, value] of attributes) checkAttribute(name, value);
  if (protocol !== "http" && protocol !== "https") throw invalidParameter(`Does not support this protocol string: ${protocol}`);
  // "SNS FIFO topics can't deliver messages to customer managed endpoints, such as … HTTP(S) endpoints"
  if (topic.fifo) throw invalidParameter(`Invalid protocol type: ${protocol}`);
  if (!endpoint.startsWith(`${protocol}://`) || !URL.canParse(endpoint)) {
    throw invalidParameter("Endpoint must match the specified protocol");
  }

  const known = store.subscriptions(topic.arn).find((each) => each.endpoint === endpoint);
  const subscription = known ?? store.addSubscription(topic, { protocol, endpoint, attributes });
  if (!subscription.confirmed) askToConfirm("SubscriptionConfirmation", topic, subscription);
  const shown = subscription.confirmed || parameters.optional("ReturnSubscriptionArn") === "true";
  return [text("SubscriptionArn", shown ? subscription.arn : "pending confirmation")];
}

export function confirmSubscription(store: Store, parameters: Parameters): readonly Xml[] {
  const topic = store.topic(parameters.required("TopicArn"));
  const subscription = store.confirm(topic.arn, parameters.required("Token"));
  if (subscription === undefined) throw invalidParameter("Token");
  return [text("SubscriptionArn", subscription.arn)];
}

/** Unsubscribing what is not there succeeds, as in SNS. */
export function unsubscribe(store: Store, parameters: Parameters, askToConfirm: AskToConfirm): null {
  const arn = parameters.required("SubscriptionArn");
  const subscription = store.subscriptions().find((each) => each.arn === arn);
  if (subscription === undefined) return null;
  if (!subscription.confirmed) throw invalidParameter("SubscriptionArn Reason: This subscription is pending confirmation");
  store.unsubscribe(subscription);
  askToConfirm("UnsubscribeConfirmation", store.topic(subscription.topicArn), subscription);
  return null;
}

export function listSubscriptions(store: Store, parameters: Parameters): readonly Xml[] {
  return subscriptionPage(store, store.subscriptions(), parameters);
}

export function listSubscriptionsByTopic(store: Store, parameters: Parameters): readonly Xml[] {
  const topic = store.topic(parameters.required("TopicArn"));
  return subscriptionPage(store, store.subscriptions(topic.arn), parameters);
}

export function getSubscriptionAttributes(store: Store, parameters: Parameters): readonly Xml[] {
  const subscription = store.subscription(parameters.required("SubscriptionArn"));
  const attributes = new Map([
    ["SubscriptionArn", subscription.arn],
    ["TopicArn", subscription.topicArn],
    ["Owner", store.accountId],
    ["Protocol", subscription.protocol],
    ["Endpoint", subscription.endpoint],
    ["PendingConfirmation", String(!subscription.confirmed)],
    ["ConfirmationWasAuthenticated", "false"],
    ["RawMessageDelivery", "false"],
    ...subscription.attributes,
  ]);
  return [attributeMap(attributes)];
}

export function setSubscriptionAttributes(store: Store, parameters: Parameters): null {
  const subscription = store.subscription(parameters.required("SubscriptionArn"));
  const name = parameters.required("AttributeName");
  const value = parameters.optional("AttributeValue") ?? "";
  checkAttribute(name, value);
  subscription.attributes.set(name, value);
  return null;
}

function subscriptionPage(store: Store, all: readonly Subscription[], parameters: Parameters): readonly Xml[] {
  const { items, next } = page(all, parameters);
  const members = items.map((subscription) =>
    element(
      "member",
      text("SubscriptionArn", subscription.confirmed ? subscription.arn : "PendingConfirmation"),
      text("Owner", store.accountId),
      text("Protocol", subscription.protocol),
      text("Endpoint", subscription.endpoint),
      text("TopicArn", subscription.topicArn),
    ),
  );
  return [element("Subscriptions", ...members), ...next];
}

function checkAttribute(name: string, value: string): void {
  if (!SETTABLE.has(name)) throw invalidParameter("AttributeName");
  if (name === "RawMessageDelivery" && value !== "true" && value !== "false") throw invalidParameter("RawMessageDelivery");
  if (name === "FilterPolicy" && value !== "" && !isJsonObject(value)) throw invalidParameter("FilterPolicy: failed to parse JSON.");
}

function isJsonObject(text: string): boolean {
  try {
    const value: unknown = JSON.parse(text);
    return typeof value === "object" && value !== null && !Array.isArray(value);
  } catch {
    return false; // JSON.parse has no other way to say so
  }
}
