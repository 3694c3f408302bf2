import type { Append, AppendResult, Appended } from "../streams/contract.ts";
import { streamName } from "../streams/ref.ts";
import type { NewMessage } from "./message.ts";
import type { RouteTable } from "./route-table.ts";

/** What publishing needs of the outside. */
export type PublishWorld = {
  readonly db: D1Database;
  readonly routes: RouteTable;
  /** As `StreamApi.append`. */
  readonly append: (stream: string, appends: readonly Append[]) => Promise<AppendResult>;
  readonly now: () => number;
  readonly inBackground: (promise: Promise<unknown>) => void;
};

export type PublishResult =
  | { readonly ok: true; readonly appended: readonly Appended[] }
  | { readonly ok: false; readonly code: "overloaded"; readonly retryAfterSeconds: number };

/**
 * Publishes events on one topic, as one: finds the endpoints each goes to, and commits messages and targets in one
 * append. When this answers `ok`, they are on disk and their delivery no longer depends on the caller. Throws when
 * D1 or the stream can not be reached: then nothing was promised, and the publisher may try again.
 */
export async function publish(
  world: PublishWorld,
  tenantId: string,
  topic: string,
  messages: readonly NewMessage[],
): Promise<PublishResult> {
  const targets = await world.routes.endpointsFor(world.db, tenantId, topic, messages, world.now(), world.inBackground);
  const stream = streamName({ tenantId, kind: "topics", name: topic });
  const appends = messages.map((message, index) => ({ message, ...(targets[index] ?? { endpointIds: [] }) }));
  return world.append(stream, appends);
}
