import { type KeyObject, randomUUID } from "node:crypto";
import type { PublishedAttribute } from "./parameters.ts";
import { type MessageFields, signMessage, type SignatureVersion } from "./sign-message.ts";
import type { Subscription, Topic } from "./store.ts";

/** An HTTP request to a subscriber, ready to be sent, and sent again. */
export type Post = {
  readonly type: string;
  readonly messageId: string;
  readonly endpoint: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: string;
};

export type Publication = {
  readonly messageId: string;
  readonly message: string;
  readonly subject: string | undefined;
  readonly attributes: readonly PublishedAttribute[];
};

/** What signs: `certificateUrl` is the one messages name, at SNS's own host. */
export type Signer = { readonly privateKey: KeyObject; readonly certificateUrl: string; readonly host: string };

/** A published message for each of these subscriptions of its topic; signed once, for what differs is not signed. */
export function composeNotifications(
  topic: Topic,
  subscriptions: readonly Subscription[],
  publication: Publication,
  signer: Signer,
): Post[] {
  if (subscriptions.length === 0) return [];
  const { messageId, message, subject } = publication;
  const fields = {
    Type: "Notification",
    MessageId: messageId,
    TopicArn: topic.arn,
    ...(subject === undefined ? {} : { Subject: subject }),
    Message: message,
    Timestamp: new Date().toISOString(),
  };
  const signed = { ...fields, ...signature(fields, topic, signer) };
  const attributes = Object.fromEntries(publication.attributes.map(({ name, type, value }) => [name, { Type: type, Value: value }]));
  return subscriptions.map((subscription) => {
    const raw = subscription.attributes.get("RawMessageDelivery") === "true";
    const unsubscribeUrl = `${signer.host}/?Action=Unsubscribe&SubscriptionArn=${subscription.arn}`;
    const document = {
      ...signed,
      UnsubscribeURL: unsubscribeUrl,
      ...(publication.attributes.length === 0 ? {} : { MessageAttributes: attributes }),
    };
    return {
      type: fields.Type,
      messageId,
      endpoint: subscription.endpoint,
      headers: {
        ...commonHeaders(fields),
        "x-amz-sns-subscription-arn": subscription.arn,
        ...(raw ? { "x-amz-sns-rawdelivery": "true" } : {}),
      },
      body: raw ? message : format(document),
    };
  });
}

/** Asks the subscriber to confirm (or, after it was unsubscribed, to take that back). */
export function composeConfirmation(
  type: "SubscriptionConfirmation" | "UnsubscribeConfirmation",
  topic: Topic,
  subscription: Subscription,
  signer: Signer,
): Post {
  const { token } = subscription;
  const fields = {
    Type: type,
    MessageId: randomUUID(),
    Token: token,
    TopicArn: topic.arn,
    Message:
      type === "SubscriptionConfirmation"
        ? `You have chosen to subscribe to the topic ${topic.arn}.\nTo confirm the subscription, visit the SubscribeURL included in this message.`
        : `You have chosen to deactivate subscription ${subscription.arn}.\nTo cancel this operation and restore the subscription, visit the SubscribeURL included in this message.`,
    SubscribeURL: `${signer.host}/?Action=ConfirmSubscription&TopicArn=${topic.arn}&Token=${token}`,
    Timestamp: new Date().toISOString(),
  };
  return {
    type,
    messageId: fields.MessageId,
    endpoint: subscription.endpoint,
    headers: {
      ...commonHeaders(fields),
      ...(type === "UnsubscribeConfirmation" ? { "x-amz-sns-subscription-arn": subscription.arn } : {}),
    },
    body: format({ ...fields, ...signature(fields, topic, signer) }),
  };
}

function signature(fields: MessageFields, topic: Topic, signer: Signer): Record<string, string> {
  const version: SignatureVersion = topic.attributes.get("SignatureVersion") === "2" ? "2" : "1";
  return {
    SignatureVersion: version,
    Signature: signMessage(fields, signer.privateKey, version),
    SigningCertURL: signer.certificateUrl,
  };
}

function commonHeaders(fields: MessageFields): Record<string, string> {
  return {
    "x-amz-sns-message-type": fields.Type,
    "x-amz-sns-message-id": fields.MessageId,
    "x-amz-sns-topic-arn": fields.TopicArn,
    "content-type": "text/plain; charset=UTF-8",
    "user-agent": "Amazon Simple Notification Service Agent",
  };
}

/** SNS writes one member a line, with ` : ` between key and value. */
function format(document: Readonly<Record<string, unknown>>): string {
  const lines = Object.entries(document).map(([key, value]) => `  ${JSON.stringify(key)} : ${JSON.stringify(value)}`);
  return `{\n${lines.join(",\n")}\n}`;
}
