import type { SnsMessage } from "./parse.ts";
import type { RefusalReason } from "./refusal.ts";

/** Raw delivery posts the bare message, unsigned (SNS Developer Guide, "Raw message delivery"): never accepted. */
export function isRawDelivery(headers: Headers): boolean {
  return headers.has("x-amz-sns-rawdelivery");
}

/** SNS says type, topic and id in headers too; null when each is there and says what the body says. */
export function headerMismatch(headers: Headers, message: SnsMessage): RefusalReason | null {
  if (headers.get("x-amz-sns-message-type") !== message.type) return "type-header-mismatch";
  if (headers.get("x-amz-sns-topic-arn") !== message.topic.text) return "topic-header-mismatch";
  if (headers.get("x-amz-sns-message-id") !== message.messageId) return "message-id-header-mismatch";
  return null;
}
