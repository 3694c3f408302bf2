import { generateSigningSecret } from "../delivery/signing-secret.ts";
import { newId } from "../ids.ts";
import { insertSecret } from "../storage/endpoint-secrets.ts";
import { type EndpointRow, type EndpointWithTopics, insertEndpoint, isNodeTaken } from "../storage/endpoints.ts";
import { beginHandshake } from "../storage/handshakes.ts";
import { ensureQueue } from "../storage/queues.ts";
import { insertMembership, insertSubscriptions, type NewSubscription } from "../storage/subscriptions.ts";
import { type NewEndpoint, orderingFault, unmaskAuth, unmaskHeaders, urlFault } from "./endpoint-input.ts";
import { type EndpointView, viewEndpoint } from "./endpoint-view.ts";
import { authFaults, nameRefusal, sealAuth, signingKeyStatements } from "./outbound.ts";
import { accept, type Fault, type Outcome, type Refusal, refuse } from "./refusal.ts";
import { originOf } from "./handshake.ts";
import { keyedPattern, refusalOf } from "./rules.ts";
import type { RegistryWorld } from "./world.ts";

/** Makes an endpoint with its secret and subscriptions, all or nothing; the secret is shown here once. */
export async function createEndpoint(
  world: RegistryWorld,
  input: NewEndpoint,
): Promise<Outcome<{ readonly endpoint: EndpointView; readonly secret: string }>> {
  const refusal = creationRefusal(world, input) ?? (await nameRefusal(world, input));
  if (refusal !== null) return refuse(refusal);

  const { db, keyRing, tenantId, nowMs } = world;
  const secret = input.secret ?? generateSigningSecret();
  const secretId = newId("sec", nowMs);
  const row = await newRow(world, input);
  const topics = [...new Set(input.topics)];

  const selection = {
    filter: input.filter === null ? null : JSON.stringify(input.filter),
    filterScope: topics.length === 0 ? ("attributes" as const) : input.filterScope,
    queue: input.queue,
  };
  const endpoint: EndpointWithTopics = { ...row, topics, selection, circuit_opened_at: null };
  const view = await viewEndpoint(endpoint, keyRing);
  try {
    await db.batch([
      ...(await signingKeyStatements(world, input.asymmetric)),
      insertEndpoint(db, row),
      insertSecret(db, tenantId, row.id, {
        id: secretId,
        sealed: await keyRing.seal(secret, `${tenantId}/${secretId}`),
        createdAtMs: nowMs,
      }),
      ...(input.handshake ? beginHandshake(db, tenantId, row.id, world.gatewayUrl, nowMs) : []),
      ...(input.queue === null ? [] : [ensureQueue(db, tenantId, input.queue, nowMs)]),
      insertSubscriptions(db, tenantId, row.id, newSubscriptions(topics, nowMs), selection, nowMs),
      ...membershipStatements(world, row.id, input.queue),
      world.audit({ action: "endpoint.create", target: row.id, after: view }),
    ]);
  } catch (error) {
    if (isNodeTaken(error)) return refuse({ code: "node-taken" });
    throw error;
  }
  return accept({ endpoint: view, secret });
}

/** Makes the endpoint a member of the queue, where none of its subscriptions has done so. */
export function membershipStatements(
  { db, tenantId, nowMs }: RegistryWorld,
  endpointId: string,
  queue: string | null,
): D1PreparedStatement[] {
  if (queue === null) return [];
  return [insertMembership(db, tenantId, endpointId, { id: newId("sub", nowMs), queue }, nowMs)];
}

/** Subscriptions to these patterns, with ids that sort in the order given. */
export function newSubscriptions(topics: readonly string[], nowMs: number): NewSubscription[] {
  const ids = topics.map(() => newId("sub", nowMs)).sort();
  return ids.map((id, index) => ({ id, ...keyedPattern(topics[index] ?? "") }));
}

function creationRefusal(world: RegistryWorld, input: NewEndpoint): Refusal | null {
  const refusal = refusalOf(input, world.guard);
  if (refusal?.code === "malformed-target") return refusal;
  const faults: Fault[] = [
    ...unmaskHeaders(input.headers ?? {}, {}).faults,
    ...unmaskAuth(input.auth, null).faults,
    ...authFaults(world, input.auth, input.url),
  ];
  const url = urlFault(input.kind, input.url);
  if (url !== null) faults.push(url);
  if (input.handshake && input.kind === "pull") faults.push(NO_RECEIVER);
  if (input.topics.length === 0 && input.filter !== null) {
    faults.push({ pointer: "/filter", detail: "belongs to the subscriptions: give `topics` with it" });
  }
  if (refusal?.code === "invalid") faults.push(...refusal.faults);
  const ordering = orderingFault(input);
  if (ordering !== null) faults.push(ordering);
  return faults.length > 0 ? { code: "invalid", faults } : null;
}

/** Of a pull endpoint that asks for a handshake. */
export const NO_RECEIVER: Fault = { pointer: "/handshake", detail: "leave it out: a pull endpoint has no receiver to be asked" };

async function newRow({ keyRing, tenantId, nowMs, gatewayUrl }: RegistryWorld, input: NewEndpoint): Promise<EndpointRow> {
  const id = newId("ep", nowMs);
  return {
    id,
    tenant_id: tenantId,
    kind: input.kind,
    name: input.name,
    node: input.node,
    url: input.url,
    format: input.format,
    headers: input.headers === null ? null : await sealHeaders(keyRing, tenantId, id, input.headers),
    auth: await sealAuth(keyRing, tenantId, id, input.auth),
    asymmetric: input.asymmetric,
    timeout_seconds: input.timeoutSeconds,
    retry_schedule: [...input.retrySchedule],
    rate_limit: input.rateLimit,
    max_concurrency: input.maxConcurrency,
    ordered: input.ordered,
    ordering_key: input.orderingKey,
    fallback: input.fallback,
    description: input.description,
    metadata: input.metadata ?? {},
    status: "active",
    disabled_reason: null,
    failing_since: null,
    handshake: input.handshake ? "waiting" : null,
    request_origin: input.handshake ? originOf(gatewayUrl) : null,
    allowed_rate: null,
    created_at: nowMs,
    updated_at: nowMs,
  };
}

/** Custom headers as they are stored; null when there are none. */
export async function sealHeaders(
  keyRing: RegistryWorld["keyRing"],
  tenantId: string,
  endpointId: string,
  headers: Readonly<Record<string, string>>,
): Promise<string | null> {
  if (Object.keys(headers).length === 0) return null;
  return keyRing.seal(JSON.stringify(headers), `${tenantId}/${endpointId}`);
}
