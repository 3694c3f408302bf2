import { MEMBER_TARGET } from "../delivery/destination.ts";
import type { Append } from "../streams/contract.ts";
import { streamName } from "../streams/ref.ts";
import type { NewMessage } from "./message.ts";
import type { PublishResult, PublishWorld } from "./publish.ts";

/** A message to exactly one member of a queue: a command, or a query. */
export type Order = NewMessage & { readonly method: string };

/**
 * Sends commands to a queue that exists, as one. Each waits in the queue's stream for whoever is a member when it is
 * attempted. Throws when the stream can not be reached.
 */
export async function sendCommand(
  world: Pick<PublishWorld, "append">,
  tenantId: string,
  queue: string,
  orders: readonly Order[],
): Promise<PublishResult> {
  const stream = streamName({ tenantId, kind: "queues", name: queue });
  return world.append(stream, orders.map(toAppend));
}

/** A chosen id is of its `queue/method`, as that of an event is of its topic: two methods may use the same. */
function toAppend(message: Order): Append {
  const endpointIds = [MEMBER_TARGET];
  return message.deduplicate
    ? { message, endpointIds, deduplicationKey: `${message.method}/${message.id}` }
    : { message, endpointIds };
}
