import type { KeyRing } from "../crypto/keyring.ts";
import type { EndpointAuth } from "../delivery/endpoint-auth.ts";
import { openAuth, openHeaders } from "../delivery/open-endpoint.ts";
import type { EndpointWithTopics } from "../storage/endpoints.ts";
import { parseFilter } from "../storage/subscriptions.ts";

/** Stands for the value of a custom header wherever an endpoint is shown; sent back, it means: as it was. */
export const HEADER_MASK = "***";
/** Stands for the client secret of its authentication, in the same way. */
export const SECRET_MASK = HEADER_MASK;

/** An endpoint as the API shows it: no secret, no header value. */
export type EndpointView = ReturnType<typeof viewOf>;

/** Opens the header names and the authentication of an endpoint and shows it. */
export async function viewEndpoint(endpoint: EndpointWithTopics, keyRing: KeyRing): Promise<EndpointView> {
  const [headers, auth] = await Promise.all([openHeaders(endpoint, keyRing), openAuth(endpoint, keyRing)]);
  return viewOf(endpoint, Object.keys(headers), auth);
}

function viewOf(endpoint: EndpointWithTopics, headerNames: readonly string[], auth: EndpointAuth | null) {
  return {
    id: endpoint.id,
    name: endpoint.name,
    node: endpoint.node,
    kind: endpoint.kind,
    url: endpoint.url,
    topics: [...endpoint.topics],
    filter: parseFilter(endpoint.selection.filter),
    filterScope: endpoint.selection.filterScope,
    queue: endpoint.selection.queue,
    format: endpoint.format,
    headers: Object.fromEntries(headerNames.map((name) => [name, HEADER_MASK])),
    asymmetric: endpoint.asymmetric,
    auth: auth?.kind === "oauth2" ? { ...auth, clientSecret: SECRET_MASK } : auth,
    handshake: endpoint.handshake !== null,
    handshakeStatus: endpoint.handshake,
    allowedRatePerMinute: endpoint.allowed_rate,
    timeoutSeconds: endpoint.timeout_seconds,
    retrySchedule: endpoint.retry_schedule,
    rateLimit: endpoint.rate_limit,
    maxConcurrency: endpoint.max_concurrency,
    ordered: endpoint.ordered,
    orderingKey: endpoint.ordering_key,
    fallback: endpoint.fallback,
    description: endpoint.description,
    metadata: endpoint.metadata,
    status: endpoint.status,
    disabledReason: endpoint.disabled_reason,
    circuit: endpoint.circuit_opened_at === null ? ("closed" as const) : ("open" as const),
    circuitOpenedAt: endpoint.circuit_opened_at === null ? null : new Date(endpoint.circuit_opened_at).toISOString(),
    createdAt: new Date(endpoint.created_at).toISOString(),
    updatedAt: new Date(endpoint.updated_at).toISOString(),
  };
}
