import { newId } from "../ids.ts";
import { findEndpoint } from "../storage/endpoints.ts";
import { ensureQueue } from "../storage/queues.ts";
import {
  deleteSubscription,
  type FilterScope,
  findSubscription,
  insertSubscriptions,
  NO_PATTERN,
  parseFilter,
  parseSubscription,
  type SelectionChange,
  selectSubscription,
  type SubscriptionRow,
  updateSubscription,
} from "../storage/subscriptions.ts";
import { accept, type Fault, type Outcome, type Refusal, refuse } from "./refusal.ts";
import { keyedPattern, refusalOf } from "./rules.ts";
import type { RegistryWorld } from "./world.ts";

export type NewSubscriptionInput = {
  readonly endpointId: string;
  /** Null: a member of the queue that binds no topic to it. */
  readonly topic: string | null;
  readonly filter: Readonly<Record<string, unknown>> | null;
  readonly filterScope: FilterScope;
  readonly queue: string | null;
};

/** What is left out stays as it is. */
export type SubscriptionPatch = {
  readonly [Field in keyof Omit<NewSubscriptionInput, "endpointId">]?: NewSubscriptionInput[Field] | undefined;
};

/** A subscription as the API shows it. */
export type SubscriptionView = ReturnType<typeof viewSubscription>;

export function viewSubscription(row: SubscriptionRow) {
  return {
    id: row.id,
    endpointId: row.endpoint_id,
    topic: row.topic,
    filter: parseFilter(row.filter),
    filterScope: row.filter_scope,
    queue: row.queue,
    createdAt: new Date(row.created_at).toISOString(),
  };
}

export async function createSubscription(
  world: RegistryWorld,
  input: NewSubscriptionInput,
): Promise<Outcome<SubscriptionView>> {
  const { db, tenantId, nowMs, audit } = world;
  const refusal = refusalOf(input, world.guard) ?? membershipRefusal(input);
  if (refusal !== null) return refuse(refusal);
  if ((await findEndpoint(db, tenantId, input.endpointId)) === null) return refuse({ code: "no-such-endpoint" });
  const id = newId("sub", nowMs);
  const { filterScope, queue } = input;
  const selection = { filter: input.filter === null ? null : JSON.stringify(input.filter), filterScope, queue };
  const subscription = { id, ...(input.topic === null ? NO_PATTERN : keyedPattern(input.topic)) };
  const results = await db.batch([
    ...(queue === null ? [] : [ensureQueue(db, tenantId, queue, nowMs)]),
    insertSubscriptions(db, tenantId, input.endpointId, [subscription], selection, nowMs),
    audit({ action: "subscription.create", target: id, after: input }),
    selectSubscription(db, tenantId, id),
  ]);
  const created = parseSubscription(results.at(-1)?.results[0]);
  // none when the endpoint was deleted between the two
  return created === null ? refuse({ code: "no-such-endpoint" }) : accept(viewSubscription(created));
}

/** Without a topic there is nothing to filter, and nothing but the queue's commands to receive. */
function membershipRefusal({ topic, filter, queue }: Omit<NewSubscriptionInput, "endpointId" | "filterScope">): Refusal | null {
  if (topic !== null) return null;
  const faults: Fault[] = [];
  if (queue === null) faults.push({ pointer: "/topic", detail: "is needed, unless `queue` names one to be a member of" });
  if (filter !== null) faults.push({ pointer: "/filter", detail: "selects among the messages of a topic: give `topic` with it" });
  return faults.length > 0 ? { code: "invalid", faults } : null;
}

export async function changeSubscription(
  world: RegistryWorld,
  id: string,
  patch: SubscriptionPatch,
): Promise<Outcome<SubscriptionView>> {
  const { db, tenantId, nowMs, audit } = world;
  const current = await findSubscription(db, tenantId, id);
  if (current === null) return refuse({ code: "no-such-subscription" });
  // a new scope has to fit the filter that stays, and the other way round
  const filter = patch.filter === undefined ? parseFilter(current.filter) : patch.filter;
  const { topic = current.topic, queue = current.queue } = patch;
  const refusal =
    refusalOf({ ...patch, filter, filterScope: patch.filterScope ?? current.filter_scope }, world.guard) ??
    membershipRefusal({ topic, filter, queue });
  if (refusal !== null) return refuse(refusal);
  const results = await db.batch([
    ...(queue === null ? [] : [ensureQueue(db, tenantId, queue, nowMs)]),
    updateSubscription(db, tenantId, id, {
      ...(patch.topic === undefined ? {} : patch.topic === null ? NO_PATTERN : keyedPattern(patch.topic)),
      ...selectionChange(patch),
    }),
    audit({ action: "subscription.update", target: id, before: viewSubscription(current), after: { ...viewSubscription(current), ...patch } }),
    selectSubscription(db, tenantId, id),
  ]);
  const changed = parseSubscription(results.at(-1)?.results[0]);
  return changed === null ? refuse({ code: "no-such-subscription" }) : accept(viewSubscription(changed));
}

export async function removeSubscription({ db, tenantId, audit }: RegistryWorld, id: string): Promise<Outcome<null>> {
  const current = await findSubscription(db, tenantId, id);
  if (current === null) return refuse({ code: "no-such-subscription" });
  await db.batch([
    deleteSubscription(db, tenantId, id),
    audit({ action: "subscription.delete", target: id, before: viewSubscription(current) }),
  ]);
  return accept(null);
}

function selectionChange({ filter, filterScope, queue }: SubscriptionPatch): SelectionChange {
  return {
    ...(filter === undefined ? {} : { filter: filter === null ? null : JSON.stringify(filter) }),
    ...(filterScope === undefined ? {} : { filterScope }),
    ...(queue === undefined ? {} : { queue }),
  };
}
