import { untilCachesExpired } from "../delivery/freshness.ts";
import {
  deleteQueue,
  findQueue,
  isQueueInUse,
  listQueueMembers,
  parseQueue,
  type Queue,
  selectQueue,
  upsertQueue,
} from "../storage/queues.ts";
import { accept, type Outcome, type Refusal, refuse } from "./refusal.ts";
import { keyedPattern, nameFault, refusalOf } from "./rules.ts";
import type { RegistryWorld } from "./world.ts";

export const MIN_RECEIVES = 1;
export const MAX_RECEIVES = 1000;
export const MIN_RETENTION_SECONDS = 60;
/** The longest of Amazon SQS, 14 days; also the default. */
export const MAX_RETENTION_SECONDS = 1_209_600;
export const DEFAULT_MAX_RECEIVES = 5;

/** What is left out keeps its value, and is the default in a queue that is new. */
export type QueueInput = {
  readonly topics?: readonly string[] | undefined;
  readonly maxReceives?: number | undefined;
  readonly retentionSeconds?: number | undefined;
};

/** A queue's settings as the API shows them. */
export type QueueSettingsView = ReturnType<typeof viewQueue>;

export function viewQueue(queue: Queue) {
  return {
    queue: queue.name,
    topics: [...queue.topics],
    maxReceives: queue.maxReceives,
    retentionSeconds: queue.retentionSeconds,
    createdAt: new Date(queue.createdAtMs).toISOString(),
    updatedAt: new Date(queue.updatedAtMs).toISOString(),
  };
}

/** Makes the queue, or changes what the input names. `topics` is the whole list of patterns bound to it by itself. */
export async function putQueue(
  world: RegistryWorld,
  name: string,
  input: QueueInput,
): Promise<Outcome<{ readonly queue: QueueSettingsView; readonly created: boolean }>> {
  const { db, tenantId, nowMs } = world;
  const refusal = queueNameRefusal(name) ?? refusalOf({ topics: input.topics }, world.guard);
  if (refusal !== null) return refuse(refusal);
  const before = await findQueue(db, tenantId, name);
  const topics = input.topics === undefined ? undefined : [...new Set(input.topics)].map(keyedPattern);
  const results = await db.batch([
    ...upsertQueue(db, tenantId, name, { ...input, topics }, nowMs),
    world.audit({
      action: before === null ? "queue.create" : "queue.update",
      target: name,
      ...(before === null ? {} : { before: viewQueue(before) }),
      after: before === null ? input : { ...viewQueue(before), ...given(input) },
    }),
    selectQueue(db, tenantId, name),
  ]);
  const queue = parseQueue(results.at(-1)?.results[0]);
  if (queue === null) throw new Error("a queue that was just written is not there");
  return accept({ queue: viewQueue(queue), created: before === null });
}

/** What was sent, without the fields that were left out. */
function given(input: QueueInput): QueueInput {
  return Object.fromEntries(Object.entries(input).filter(([, value]) => value !== undefined));
}

/** The queue of that name; refuses a malformed name before looking for it. */
export async function requireQueue(
  { db, tenantId }: Pick<RegistryWorld, "db" | "tenantId">,
  name: string,
): Promise<Outcome<Queue>> {
  const refusal = queueNameRefusal(name);
  if (refusal !== null) return refuse(refusal);
  const queue = await findQueue(db, tenantId, name);
  return queue === null ? refuse({ code: "no-such-queue" }) : accept(queue);
}

/**
 * Deletes a queue with its bindings and its members' subscriptions to it, and answers once no isolate can still believe
 * in it. With `ifUnused` one that has members is refused. What it was; its messages are for the caller to drop.
 */
export async function removeQueue(
  world: RegistryWorld,
  name: string,
  { ifUnused }: { readonly ifUnused: boolean },
): Promise<Outcome<Queue>> {
  const { db, tenantId } = world;
  const found = await requireQueue(world, name);
  if (!found.ok) return found;
  const endpointIds = (await listQueueMembers(db, tenantId, name)).map(({ endpointId }) => endpointId);
  if (endpointIds.length > 0 && ifUnused) return refuse({ code: "queue-in-use", endpointIds });
  const before = { ...viewQueue(found.value), members: endpointIds };
  try {
    await db.batch([
      ...deleteQueue(db, tenantId, name, { withMemberships: !ifUnused }),
      world.audit({ action: "queue.delete", target: name, before }),
    ]);
  } catch (error) {
    if (!isQueueInUse(error)) throw error;
    // one became a member between the two
    const members = await listQueueMembers(db, tenantId, name);
    return refuse({ code: "queue-in-use", endpointIds: members.map(({ endpointId }) => endpointId) });
  }
  await untilCachesExpired(Date.now());
  return found;
}

function queueNameRefusal(name: string): Refusal | null {
  const fault = nameFault("path:queue", name);
  return fault === null ? null : { code: "malformed-target", faults: [fault] };
}
