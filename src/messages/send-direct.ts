import { NODE_TARGET } from "../delivery/destination.ts";
import { streamName } from "../streams/ref.ts";
import type { NewMessage } from "./message.ts";
import type { PublishResult, PublishWorld } from "./publish.ts";

/**
 * Sends messages to the endpoint with this node name, as one. There may be none yet: they wait in the node's stream,
 * as long as that keeps them. Throws when the stream can not be reached.
 */
export async function sendDirect(
  world: Pick<PublishWorld, "append">,
  tenantId: string,
  node: string,
  messages: readonly NewMessage[],
): Promise<PublishResult> {
  const stream = streamName({ tenantId, kind: "nodes", name: node });
  return world.append(stream, messages.map((message) => ({ message, endpointIds: [NODE_TARGET] })));
}
