import type { SnsMessage } from "./parse.ts";

/**
 * The string SNS signs: `Key\nValue\n` of these fields in this order (SNS Developer Guide, "Verifying the signatures
 * of Amazon SNS messages"). One reading only: all but Message, which comes first, are free of line feeds.
 */
export function stringToSign(message: SnsMessage): string {
  return signedFields(message)
    .map(([key, value]) => `${key}\n${value}\n`)
    .join("");
}

function signedFields(message: SnsMessage): readonly (readonly [string, string])[] {
  const head = [
    ["Message", message.message],
    ["MessageId", message.messageId],
  ] as const;
  const time = ["Timestamp", message.timestamp] as const;
  const topic = ["TopicArn", message.topic.text] as const;
  const type = ["Type", message.type] as const;
  switch (message.type) {
    case "Notification":
      return [...head, ...(message.subject === null ? [] : [["Subject", message.subject] as const]), time, topic, type];
    case "SubscriptionConfirmation":
    case "UnsubscribeConfirmation":
      return [...head, ["SubscribeURL", message.subscribeUrl], time, ["Token", message.token], topic, type];
  }
}
