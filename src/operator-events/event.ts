import { sha256Hex } from "../crypto/digest.ts";
import type { Attributes } from "../messages/message.ts";

/** The topics that the gateway itself publishes on, to the tenant that it concerns. */
export type OperatorTopic =
  | "postern.endpoint.disabled"
  | "postern.endpoint.enabled"
  | "postern.endpoint.circuit-opened"
  | "postern.endpoint.circuit-closed"
  | "postern.delivery.dead"
  | "postern.queue.backlog";

/** Something an operator may want to be told. */
export type OperatorEvent = {
  readonly tenantId: string;
  readonly topic: OperatorTopic;
  readonly timeMs: number;
  /** Tells apart what happened on this topic: told again, the same fact has the same key. */
  readonly key: string;
  /** For filter policies. */
  readonly attributes: Attributes;
  readonly data: Readonly<Record<string, string | number | null>>;
};

/** An event as it waits to be published. */
export type StoredEvent = {
  readonly id: string;
  readonly tenantId: string;
  readonly topic: string;
  readonly timeMs: number;
  readonly attributes: Attributes;
  /** JSON */
  readonly body: string;
};

const ID_CHARACTERS = 32;

/** The id of the message that tells a fact: `webhook-id`, and what de-duplicates it. */
export async function operatorEventId(tenantId: string, topic: OperatorTopic, key: string): Promise<string> {
  return `msg_${(await sha256Hex(`operator ${tenantId} ${topic} ${key}`)).slice(0, ID_CHARACTERS)}`;
}

/** The event as it is stored, and as it goes out: `{type, timestamp, data}`, as Standard Webhooks recommends. */
export async function storedEvent({ tenantId, topic, timeMs, key, attributes, data }: OperatorEvent): Promise<StoredEvent> {
  const body = JSON.stringify({ type: topic, timestamp: new Date(timeMs).toISOString(), data });
  return { id: await operatorEventId(tenantId, topic, key), tenantId, topic, timeMs, attributes, body };
}
