import { checkJson } from "../messages/json-members.ts";
import type { NewMessage } from "../messages/message.ts";
import type { Notification, SnsAttribute } from "./parse.ts";

const TEXT = "text/plain; charset=UTF-8";
const JSON_TYPE = "application/json";
/** `type/subtype` with parameters (RFC 9110 §8.3.1), and nothing that could end a header line. */
const MEDIA_TYPE = /^[!#$%&'*+.^_`|~0-9A-Za-z-]+\/[!#$%&'*+.^_`|~0-9A-Za-z-]+(?:[ \t]*;[ \t]*[\x20-\x7e]*)?$/;
const MAX_MEDIA_TYPE_CHARACTERS = 256;

/**
 * A verified notification as a message: the bytes of `Message` as they are, `MessageId` as the id that de-duplicates,
 * subject and attributes kept. SNS does not sign `MessageAttributes`: the attributes, and a content type taken from
 * one named `content-type` or `contentType`, are only as trustworthy as the connection they came by. An attribute's
 * value is SNS's text of it: a number as written, a `String.Array` as JSON, a `Binary` as base 64.
 */
export function toMessage(notification: Notification, traceparent: string): NewMessage {
  const attributes = new Map(notification.attributes.map(({ name, value }) => [name.toLowerCase(), value]));
  return {
    id: notification.messageId,
    deduplicate: true,
    contentType: contentType(notification),
    attributes: Object.fromEntries(attributes),
    event: {
      source: notification.topic.text,
      type: notification.topic.name,
      ...(notification.subject === null ? {} : { subject: notification.subject }),
      time: notification.timestamp,
    },
    traceparent,
    body: new TextEncoder().encode(notification.message),
  };
}

function contentType({ attributes, message }: Notification): string {
  const named = attributes.find(isContentType)?.value;
  if (named !== undefined && named.length <= MAX_MEDIA_TYPE_CHARACTERS && MEDIA_TYPE.test(named)) return named;
  return /^[ \t\r\n]*[{[]/.test(message) && checkJson(message).ok ? JSON_TYPE : TEXT;
}

function isContentType({ name, type }: SnsAttribute): boolean {
  return type === "String" && ["content-type", "contenttype"].includes(name.toLowerCase());
}
