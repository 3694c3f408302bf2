import type { StoredMessage } from "../messages/message.ts";
import type { StreamRef } from "../streams/ref.ts";

/**
 * What a consumer is told a message is about: the topic of an event, also where it came by way of a queue,
 * `queue/method` of a command or query, the node of a direct message.
 */
export function shownTopic(message: Pick<StoredMessage, "publishedOn" | "method">, stream: StreamRef): string {
  if (message.publishedOn !== undefined) return message.publishedOn;
  return message.method === undefined ? stream.name : `${stream.name}/${message.method}`;
}
