import { deliveryId, streamKey } from "../delivery/delivery-id.ts";
import type { HistoryDelivery } from "../streams/history-records.ts";
import { parseStreamName } from "../streams/ref.ts";
import { type OperatorEvent, type StoredEvent, storedEvent } from "./event.ts";

/** A delivery that came to its end, and what its message is about. */
export type DeadDelivery = { readonly delivery: HistoryDelivery; readonly topic: string };

/** The events that deliveries of a stream are dead; `topic` is what a consumer would be told the message is about. */
export async function deadDeliveryEvents(stream: string, dead: readonly DeadDelivery[]): Promise<StoredEvent[]> {
  const key = await streamKey(stream);
  return Promise.all(dead.map((one) => storedEvent(eventOf(stream, key, one))));
}

function eventOf(stream: string, key: string, { delivery, topic }: DeadDelivery): OperatorEvent {
  const { tenantId, kind, name } = parseStreamName(stream);
  const { offset, endpointId: target, messageId, reason, updatedAtMs } = delivery;
  const id = deliveryId(key, offset, target);
  const endpointId = target.startsWith("ep_") ? target : null;
  return {
    tenantId,
    topic: "postern.delivery.dead",
    timeMs: updatedAtMs,
    key: `${id} ${updatedAtMs}`,
    attributes: { topic, ...(endpointId === null ? {} : { endpoint: endpointId }), ...(kind === "queues" ? { queue: name } : {}) },
    data: { deliveryId: id, messageId, topic, offset, target, endpointId, queue: kind === "queues" ? name : null, reason },
  };
}
