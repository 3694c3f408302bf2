import type { Parameters } from "./parameters.ts";
import { page } from "./page.ts";
import { invalidParameter } from "./sns-error.ts";
import type { Store } from "./store.ts";
import { attributeMap, element, text, type Xml } from "./xml.ts";

const TOPIC_NAME = /^[A-Za-z0-9_-]{1,256}$/;
const FIFO_TOPIC_NAME = /^[A-Za-z0-9_-]{1,251}\.fifo$/;
const SETTABLE = new Set([
  "ContentBasedDeduplication",
  "DataProtectionPolicy",
  "DeliveryPolicy",
  "DisplayName",
  "FifoThroughputScope",
  "KmsMasterKeyId",
  "Policy",
  "SignatureVersion",
  "TracingConfig",
]);
/** What SNS does by itself for HTTP: three retries, 20 s apart. */
const DELIVERY_POLICY = JSON.stringify({
  http: {
    defaultHealthyRetryPolicy: {
      minDelayTarget: 20,
      maxDelayTarget: 20,
      numRetries: 3,
      numMaxDelayRetries: 0,
      numNoDelayRetries: 0,
      numMinDelayRetries: 0,
      backoffFunction: "linear",
    },
    disableSubscriptionOverrides: false,
  },
});

/** Makes a topic; one that is there already is returned, unless it was asked for with other attributes. */
export function createTopic(store: Store, parameters: Parameters): readonly Xml[] {
  const name = parameters.required("Name");
  const attributes = parameters.attributes();
  const fifo = attributes.get("FifoTopic") === "true";
  if (!(fifo ? FIFO_TOPIC_NAME : TOPIC_NAME).test(name)) throw invalidParameter("Topic Name");
  for (const [key, value] of attributes) checkAttribute(key, value, true);

  const known = store.findTopic(name);
  if (known !== undefined && [...attributes].some(([key, value]) => known.attributes.get(key) !== value)) {
    throw invalidParameter("Attributes Reason: Topic already exists with different attributes");
  }
  return [text("TopicArn", (known ?? store.addTopic(name, attributes)).arn)];
}

export function deleteTopic(store: Store, parameters: Parameters): null {
  store.deleteTopic(parameters.required("TopicArn"));
  return null;
}

export function listTopics(store: Store, parameters: Parameters): readonly Xml[] {
  const { items, next } = page(store.topics(), parameters);
  return [element("Topics", ...items.map((topic) => element("member", text("TopicArn", topic.arn)))), ...next];
}

export function getTopicAttributes(store: Store, parameters: Parameters): readonly Xml[] {
  const topic = store.topic(parameters.required("TopicArn"));
  const subscriptions = store.subscriptions(topic.arn);
  const confirmed = subscriptions.filter((subscription) => subscription.confirmed).length;
  const attributes = new Map([
    ["TopicArn", topic.arn],
    ["Owner", store.accountId],
    ["DisplayName", ""],
    ["EffectiveDeliveryPolicy", DELIVERY_POLICY],
    ["SubscriptionsConfirmed", String(confirmed)],
    ["SubscriptionsPending", String(subscriptions.length - confirmed)],
    ["SubscriptionsDeleted", String(topic.deletedSubscriptions)],
    ...topic.attributes,
  ]);
  return [attributeMap(attributes)];
}

export function setTopicAttributes(store: Store, parameters: Parameters): null {
  const topic = store.topic(parameters.required("TopicArn"));
  const name = parameters.required("AttributeName");
  const value = parameters.optional("AttributeValue") ?? "";
  checkAttribute(name, value, false);
  topic.attributes.set(name, value);
  return null;
}

function checkAttribute(name: string, value: string, creating: boolean): void {
  if (!SETTABLE.has(name) && !(creating && name === "FifoTopic")) throw invalidParameter("AttributeName");
  if (name === "SignatureVersion" && value !== "1" && value !== "2") throw invalidParameter("SignatureVersion");
}
