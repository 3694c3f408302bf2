import { openAuth, openHeaders } from "../delivery/open-endpoint.ts";
import {
  type EndpointChange,
  type EndpointWithTopics,
  findEndpoint,
  isNodeTaken,
  parseEndpoint,
  selectEndpoint,
  updateEndpoint,
} from "../storage/endpoints.ts";
import { beginHandshake, endHandshake } from "../storage/handshakes.ts";
import { ensureQueue } from "../storage/queues.ts";
import {
  deleteOtherMemberships,
  deleteOtherSubscriptions,
  insertSubscriptions,
  type Selection,
  type SelectionChange,
  updateSelections,
} from "../storage/subscriptions.ts";
import { membershipStatements, newSubscriptions, NO_RECEIVER, sealHeaders } from "./create-endpoint.ts";
import { type EndpointPatch, orderingFault, unmaskAuth, unmaskHeaders, urlFault } from "./endpoint-input.ts";
import { type EndpointView, viewEndpoint } from "./endpoint-view.ts";
import { handshakeChange, originOf } from "./handshake.ts";
import { authFaults, nameRefusal, sealAuth, signingKeyStatements } from "./outbound.ts";
import { accept, type Fault, type Outcome, type Refusal, refuse } from "./refusal.ts";
import { refusalOf } from "./rules.ts";
import type { RegistryWorld } from "./world.ts";

/**
 * Changes what the patch names, all or nothing. `topics` is the whole list: subscriptions to other patterns end, those
 * to listed ones stay as they are, new ones begin. `filter` (with its scope) and `queue` are set on all of them; an
 * endpoint that subscribes to nothing is made a member of the queue all the same.
 */
export async function changeEndpoint(
  world: RegistryWorld,
  id: string,
  patch: EndpointPatch,
): Promise<Outcome<EndpointView>> {
  const { db, keyRing, tenantId, nowMs } = world;
  const current = await findEndpoint(db, tenantId, id);
  if (current === null) return refuse({ code: "no-such-endpoint" });
  const headers = unmaskHeaders(patch.headers ?? {}, await openHeaders(current, keyRing));
  const storedAuth = await openAuth(current, keyRing);
  const auth = unmaskAuth(patch.auth ?? null, storedAuth);
  // another URL is judged together with what it is to be authenticated by
  const judgedAuth = patch.auth === undefined && patch.url !== undefined ? storedAuth : patch.auth;
  const faults = [...headers.faults, ...auth.faults, ...authFaults(world, judgedAuth, patch.url ?? current.url)];
  const refusal = patchRefusal(world, current, patch, faults) ?? (await nameRefusal(world, patch));
  if (refusal !== null) return refuse(refusal);

  const handshake = changedHandshake(world, current, patch);
  const change = { ...columnsOf(patch), ...handshake.columns };
  if (patch.headers !== undefined) change.headers = await sealHeaders(keyRing, tenantId, id, headers.headers);
  if (patch.auth !== undefined) change.auth = await sealAuth(keyRing, tenantId, id, auth.auth);
  const before = await viewEndpoint(current, keyRing);
  try {
    const results = await db.batch([
      ...(await signingKeyStatements(world, patch.asymmetric)),
      updateEndpoint(db, tenantId, id, change, nowMs),
      ...handshake.statements,
      ...subscriptionStatements(world, id, patch),
      world.audit({ action: "endpoint.update", target: id, before, after: { ...before, ...patch } }),
      selectEndpoint(db, tenantId, id),
    ]);
    const changed = parseEndpoint(results.at(-1)?.results[0]);
    // deleted between the two
    if (changed === null) return refuse({ code: "no-such-endpoint" });
    return accept(await viewEndpoint(changed, keyRing));
  } catch (error) {
    if (isNodeTaken(error)) return refuse({ code: "node-taken" });
    throw error;
  }
}

function patchRefusal(
  world: RegistryWorld,
  current: EndpointWithTopics,
  patch: EndpointPatch,
  otherFaults: readonly Fault[],
): Refusal | null {
  const refusal = refusalOf(patch, world.guard);
  if (refusal?.code === "malformed-target") return refusal;
  const faults: Fault[] = [...otherFaults];
  const url = urlFault(current.kind, patch.url);
  if (url !== null) faults.push(url);
  if (patch.handshake === true && current.kind === "pull") faults.push(NO_RECEIVER);
  const { ordered = current.ordered, orderingKey = current.ordering_key } = patch;
  const ordering = orderingFault({ ordered, orderingKey });
  if (ordering !== null) faults.push(ordering);
  if (patch.filterScope !== undefined && patch.filter === undefined) {
    faults.push({ pointer: "/filterScope", detail: "says how to read `filter`: send both" });
  }
  if (refusal?.code === "invalid") faults.push(...refusal.faults);
  return faults.length > 0 ? { code: "invalid", faults } : null;
}

/** What a handshake that begins or ends sets beside what the patch itself does. */
function changedHandshake(
  { db, tenantId, gatewayUrl, nowMs }: RegistryWorld,
  current: EndpointWithTopics,
  patch: EndpointPatch,
): { readonly columns: EndpointChange; readonly statements: readonly D1PreparedStatement[] } {
  switch (handshakeChange(current, patch)) {
    case "none":
      return { columns: {}, statements: [] };
    case "end":
      return {
        columns: { handshake: null, request_origin: null, allowed_rate: null },
        statements: endHandshake(db, tenantId, current.id),
      };
    case "begin":
      return {
        columns: { handshake: "waiting", request_origin: originOf(gatewayUrl), allowed_rate: null },
        statements: beginHandshake(db, tenantId, current.id, gatewayUrl, nowMs),
      };
  }
}

type WritableChange = { -readonly [Column in keyof EndpointChange]: EndpointChange[Column] };

function columnsOf(patch: EndpointPatch): WritableChange {
  const change: WritableChange = {};
  if (patch.name !== undefined) change.name = patch.name;
  if (patch.node !== undefined) change.node = patch.node;
  if (patch.url !== undefined) change.url = patch.url;
  if (patch.format !== undefined) change.format = patch.format;
  if (patch.asymmetric !== undefined) change.asymmetric = patch.asymmetric;
  if (patch.timeoutSeconds !== undefined) change.timeout_seconds = patch.timeoutSeconds;
  if (patch.retrySchedule !== undefined) change.retry_schedule = [...patch.retrySchedule];
  if (patch.rateLimit !== undefined) change.rate_limit = patch.rateLimit;
  if (patch.maxConcurrency !== undefined) change.max_concurrency = patch.maxConcurrency;
  if (patch.ordered !== undefined) change.ordered = patch.ordered;
  if (patch.orderingKey !== undefined) change.ordering_key = patch.orderingKey;
  if (patch.fallback !== undefined) change.fallback = patch.fallback;
  if (patch.description !== undefined) change.description = patch.description;
  if (patch.metadata !== undefined) change.metadata = patch.metadata ?? {};
  return change;
}

function subscriptionStatements(world: RegistryWorld, id: string, patch: EndpointPatch): D1PreparedStatement[] {
  const { db, tenantId, nowMs } = world;
  const change = selectionChange(patch);
  const statements: D1PreparedStatement[] = [];
  const topics = patch.topics === undefined ? undefined : [...new Set(patch.topics)];
  if (typeof patch.queue === "string") statements.push(ensureQueue(db, tenantId, patch.queue, nowMs));
  if (topics !== undefined) statements.push(deleteOtherSubscriptions(db, tenantId, id, topics));
  if (Object.keys(change).length > 0) statements.push(updateSelections(db, tenantId, id, change));
  if (topics !== undefined) {
    const selection: Selection = { filter: null, filterScope: "attributes", queue: null, ...change };
    statements.push(insertSubscriptions(db, tenantId, id, newSubscriptions(topics, nowMs), selection, nowMs, true));
  }
  if (patch.queue !== undefined) {
    statements.push(deleteOtherMemberships(db, tenantId, id, patch.queue), ...membershipStatements(world, id, patch.queue));
  }
  return statements;
}

function selectionChange({ filter, filterScope = "attributes", queue }: EndpointPatch): SelectionChange {
  return {
    ...(filter === undefined ? {} : { filter: filter === null ? null : JSON.stringify(filter), filterScope }),
    ...(queue === undefined ? {} : { queue }),
  };
}
