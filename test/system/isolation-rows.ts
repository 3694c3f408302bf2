/** What is addressed in a request: a tenant's own things, or names and ids of the same form that nobody has. */
export type Ids = {
  readonly tenant: string;
  readonly endpoint: string;
  readonly push: string;
  /** Asks its receiver before anything is sent. */
  readonly asking: string;
  readonly subscription: string;
  readonly queue: string;
  readonly source: string;
  readonly token: string;
  readonly message: string;
  readonly queueMessage: string;
  readonly receipt: string;
  readonly queueReceipt: string;
  readonly topic: string;
  readonly node: string;
  readonly stream: string;
  readonly streamSubscription: string;
  readonly consumer: string;
  readonly job: string;
  readonly cursor: string;
};

export type Sent = {
  readonly path: string;
  readonly body?: unknown;
  readonly raw?: string;
  readonly headers?: Readonly<Record<string, string>>;
};

/**
 * How a route is asked for another tenant's things, and what is wanted of the answers:
 * - `same`: the answer for theirs is the answer for what does not exist;
 * - `list`: it names nothing, and shows nothing of theirs;
 * - `operator`: no tenant's token is enough, whatever is named;
 * - `open`: it needs no token, and depends on none.
 */
export type Row = { readonly wants: "same" | "list" | "operator" | "open"; readonly ask: (ids: Ids) => Sent };

const same = (ask: Row["ask"]): Row => ({ wants: "same", ask });
const list = (path: string): Row => ({ wants: "list", ask: () => ({ path }) });
const operator = (ask: Row["ask"]): Row => ({ wants: "operator", ask });
const open = (ask: Row["ask"]): Row => ({ wants: "open", ask });

const LOG_TIME = "2026-01-01T00:00:00Z";
const JSON_TYPE = { "content-type": "application/json" };

/** Every route of the gateway, as Hono has it: one that has no row here fails the test. */
export const ROWS: Readonly<Record<string, Row>> = {
  "POST /v1/events/:topic": same(({ topic }) => ({ path: `/v1/events/${topic}`, raw: "x" })),
  "POST /v1/batch": same(({ topic, queue, node }) => ({
    path: "/v1/batch",
    body: { messages: [{ topic, data: "x" }, { command: `${queue}/run`, data: "x" }, { node, data: "x" }] },
  })),
  "POST /v1/commands/:queue/:method": same(({ queue }) => ({ path: `/v1/commands/${queue}/run`, raw: "x" })),
  "POST /v1/queries/:queue/:method": same(({ queue }) => ({ path: `/v1/queries/${queue}/run?timeout=1`, raw: "x" })),
  "POST /v1/direct/:node": same(({ node }) => ({ path: `/v1/direct/${node}`, raw: "x" })),

  "POST /v1/endpoints": same(({ node }) => ({ path: "/v1/endpoints", body: { kind: "pull", node } })),
  "GET /v1/endpoints": same(({ node, cursor }) => ({ path: `/v1/endpoints?node=${node}&cursor=${cursor}` })),
  "GET /v1/endpoints/:id": same(({ endpoint }) => ({ path: `/v1/endpoints/${endpoint}` })),
  "PATCH /v1/endpoints/:id": same(({ endpoint }) => ({ path: `/v1/endpoints/${endpoint}`, body: { name: "mine" } })),
  "DELETE /v1/endpoints/:id": same(({ endpoint }) => ({ path: `/v1/endpoints/${endpoint}` })),
  "GET /v1/endpoints/:id/secret": same(({ push }) => ({ path: `/v1/endpoints/${push}/secret` })),
  "POST /v1/endpoints/:id/secret/rotate": same(({ push }) => ({ path: `/v1/endpoints/${push}/secret/rotate`, body: {} })),
  "POST /v1/endpoints/:id/pause": same(({ push }) => ({ path: `/v1/endpoints/${push}/pause` })),
  "POST /v1/endpoints/:id/resume": same(({ push }) => ({ path: `/v1/endpoints/${push}/resume` })),
  "POST /v1/endpoints/:id/enable": same(({ push }) => ({ path: `/v1/endpoints/${push}/enable` })),
  "POST /v1/endpoints/:id/test": same(({ push }) => ({ path: `/v1/endpoints/${push}/test`, body: {} })),
  "GET /v1/endpoints/:id/handshake": same(({ asking }) => ({ path: `/v1/endpoints/${asking}/handshake` })),
  "POST /v1/endpoints/:id/handshake": same(({ asking }) => ({ path: `/v1/endpoints/${asking}/handshake` })),
  "GET /v1/endpoints/:id/attempts": same(({ push, cursor }) => ({ path: `/v1/endpoints/${push}/attempts?cursor=${cursor}` })),
  "GET /v1/endpoints/:id/stats": same(({ push }) => ({ path: `/v1/endpoints/${push}/stats` })),
  "POST /v1/endpoints/:id/recover": same(({ push }) => ({ path: `/v1/endpoints/${push}/recover`, body: { since: LOG_TIME } })),
  "POST /v1/endpoints/:id/replay": same(({ push, topic }) => ({ path: `/v1/endpoints/${push}/replay`, body: { topic } })),

  "POST /v1/subscriptions": same(({ endpoint, topic }) => ({ path: "/v1/subscriptions", body: { endpointId: endpoint, topic } })),
  "GET /v1/subscriptions": same(({ endpoint, cursor }) => ({ path: `/v1/subscriptions?endpointId=${endpoint}&cursor=${cursor}` })),
  "GET /v1/subscriptions/:id": same(({ subscription }) => ({ path: `/v1/subscriptions/${subscription}` })),
  "PATCH /v1/subscriptions/:id": same(({ subscription }) => ({ path: `/v1/subscriptions/${subscription}`, body: { filter: null } })),
  "DELETE /v1/subscriptions/:id": same(({ subscription }) => ({ path: `/v1/subscriptions/${subscription}` })),

  "GET /v1/queues": list("/v1/queues"),
  "GET /v1/queues/:queue": same(({ queue }) => ({ path: `/v1/queues/${queue}` })),
  "POST /v1/queues/:queue/purge": same(({ queue }) => ({ path: `/v1/queues/${queue}/purge` })),
  "POST /v1/queues/:queue/redrive": same(({ queue }) => ({ path: `/v1/queues/${queue}/redrive` })),
  "DELETE /v1/queues/:queue": same(({ queue }) => ({ path: `/v1/queues/${queue}` })),

  "GET /v1/endpoints/:id/messages": same(({ endpoint }) => ({ path: `/v1/endpoints/${endpoint}/messages` })),
  "GET /v1/queues/:queue/messages": same(({ queue }) => ({ path: `/v1/queues/${queue}/messages` })),
  "GET /v1/pull": same(({ queue }) => ({ path: `/v1/pull?queue=${queue}` })),
  "POST /v1/endpoints/:id/ack": same(({ endpoint, receipt }) => ({ path: `/v1/endpoints/${endpoint}/ack`, body: { receipts: [receipt] } })),
  "POST /v1/endpoints/:id/nack": same(({ endpoint, receipt }) => ({ path: `/v1/endpoints/${endpoint}/nack`, body: { receipts: [receipt] } })),
  "POST /v1/endpoints/:id/extend": same(({ endpoint, receipt }) => ({
    path: `/v1/endpoints/${endpoint}/extend`, body: { receipts: [receipt], visibility: 1 },
  })),
  "DELETE /v1/endpoints/:id/messages/:receipt": same(({ endpoint, receipt }) => ({ path: `/v1/endpoints/${endpoint}/messages/${receipt}` })),
  "POST /v1/queues/:queue/ack": same(({ queue, queueReceipt }) => ({ path: `/v1/queues/${queue}/ack`, body: { receipts: [queueReceipt] } })),
  "POST /v1/queues/:queue/nack": same(({ queue, queueReceipt }) => ({ path: `/v1/queues/${queue}/nack`, body: { receipts: [queueReceipt] } })),
  "POST /v1/queues/:queue/extend": same(({ queue, queueReceipt }) => ({
    path: `/v1/queues/${queue}/extend`, body: { receipts: [queueReceipt], visibility: 1 },
  })),
  "DELETE /v1/queues/:queue/messages/:receipt": same(({ queue, queueReceipt }) => ({ path: `/v1/queues/${queue}/messages/${queueReceipt}` })),
  "POST /v1/pull/ack": same(({ receipt, queueReceipt }) => ({ path: "/v1/pull/ack", body: { receipts: [receipt, queueReceipt] } })),
  "POST /v1/pull/nack": same(({ receipt, queueReceipt }) => ({ path: "/v1/pull/nack", body: { receipts: [receipt, queueReceipt] } })),
  "POST /v1/pull/extend": same(({ receipt, queueReceipt }) => ({ path: "/v1/pull/extend", body: { receipts: [receipt, queueReceipt], visibility: 1 } })),
  "POST /v1/messages/:id/reply": same(({ queueMessage }) => ({ path: `/v1/messages/${queueMessage}/reply`, raw: "x" })),
  // after those that ask for the queue: this one makes it, as the asker's own
  "PUT /v1/queues/:queue": same(({ queue }) => ({ path: `/v1/queues/${queue}`, body: {} })),

  "GET /v1/stream/:path{.+}": same(({ stream }) => ({ path: `/v1/stream/${stream}` })),
  "POST /v1/stream/:path{.+}": same(({ stream }) => ({ path: `/v1/stream/${stream}`, raw: "[1]", headers: JSON_TYPE })),
  "DELETE /v1/stream/:path{.+}": same(({ stream }) => ({ path: `/v1/stream/${stream}` })),
  "PUT /v1/stream/:path{.+}": same(({ stream }) => ({
    path: `/v1/stream/fork-of-${stream}`, headers: { "stream-forked-from": `/v1/stream/${stream}` },
  })),
  "GET /v1/stream/__ds/subscriptions/:id": same(({ streamSubscription }) => ({ path: `/v1/stream/__ds/subscriptions/${streamSubscription}` })),
  "POST /v1/stream/__ds/subscriptions/:id/streams": same(({ streamSubscription }) => ({
    path: `/v1/stream/__ds/subscriptions/${streamSubscription}/streams`, body: { streams: ["mine"] },
  })),
  "DELETE /v1/stream/__ds/subscriptions/:id/streams/:path{.+}": same(({ streamSubscription, stream }) => ({
    path: `/v1/stream/__ds/subscriptions/${streamSubscription}/streams/${stream}`,
  })),
  "POST /v1/stream/__ds/subscriptions/:id/claim": same(({ streamSubscription }) => ({
    path: `/v1/stream/__ds/subscriptions/${streamSubscription}/claim`, body: { worker: "asker" },
  })),
  "POST /v1/stream/__ds/subscriptions/:id/ack": same(({ streamSubscription }) => ({
    path: `/v1/stream/__ds/subscriptions/${streamSubscription}/ack`, body: { wake_id: "w", generation: 1, done: true },
  })),
  "POST /v1/stream/__ds/subscriptions/:id/callback": same(({ streamSubscription }) => ({
    path: `/v1/stream/__ds/subscriptions/${streamSubscription}/callback`, body: { wake_id: "w", generation: 1, done: true },
  })),
  "POST /v1/stream/__ds/subscriptions/:id/release": same(({ streamSubscription }) => ({
    path: `/v1/stream/__ds/subscriptions/${streamSubscription}/release`, body: { wake_id: "w", generation: 1 },
  })),
  "DELETE /v1/stream/__ds/subscriptions/:id": same(({ streamSubscription }) => ({ path: `/v1/stream/__ds/subscriptions/${streamSubscription}` })),
  // after those that ask for it: this one makes it, as the asker's own
  "PUT /v1/stream/__ds/subscriptions/:id": same(({ streamSubscription, stream }) => ({
    path: `/v1/stream/__ds/subscriptions/${streamSubscription}`, body: { type: "pull-wake", streams: [stream], wake_stream: "mine/wakes" },
  })),
  // Public keys, for receivers who have no token.
  "GET /v1/stream/__ds/jwks.json": open(({ tenant }) => ({ path: `/v1/stream/__ds/jwks.json?tenant=${tenant}` })),
  "GET /v1/tail": same(({ topic, cursor }) => ({ path: `/v1/tail?topic=${topic}&since=${LOG_TIME}`, headers: { "last-event-id": cursor } })),
  "GET /v1/topics": list("/v1/topics"),
  "GET /v1/topics/:topic": same(({ topic }) => ({ path: `/v1/topics/${topic}` })),
  "PUT /v1/topics/:topic": same(({ topic }) => ({ path: `/v1/topics/${topic}`, body: { retentionSeconds: 1000 } })),
  "DELETE /v1/topics/:topic": same(({ topic }) => ({ path: `/v1/topics/${topic}` })),
  "GET /v1/consumers": list("/v1/consumers"),
  "GET /v1/consumers/:name/offsets": same(({ consumer }) => ({ path: `/v1/consumers/${consumer}/offsets` })),
  "GET /v1/consumers/:name/offsets/:stream{.+}": same(({ consumer, topic }) => ({ path: `/v1/consumers/${consumer}/offsets/topics/${topic}` })),
  "DELETE /v1/consumers/:name/offsets/:stream{.+}": same(({ consumer, topic }) => ({ path: `/v1/consumers/${consumer}/offsets/topics/${topic}` })),
  "PUT /v1/consumers/:name/offsets/:stream{.+}": same(({ consumer, topic }) => ({
    path: `/v1/consumers/${consumer}/offsets/topics/${topic}`, body: { offset: 1, expectedOffset: null },
  })),

  "GET /v1/messages": same(({ topic, cursor }) => ({ path: `/v1/messages?topic=${topic}&cursor=${cursor}` })),
  "GET /v1/messages/:id": same(({ message }) => ({ path: `/v1/messages/${message}` })),
  "GET /v1/messages/:id/content": same(({ message }) => ({ path: `/v1/messages/${message}/content` })),
  "DELETE /v1/messages/:id/content": same(({ message }) => ({ path: `/v1/messages/${message}/content` })),
  "GET /v1/messages/:id/deliveries": same(({ message }) => ({ path: `/v1/messages/${message}/deliveries` })),
  "POST /v1/messages/:id/resend": same(({ message, push }) => ({ path: `/v1/messages/${message}/resend`, body: { endpointId: push } })),
  "GET /v1/dead": same(({ topic, push }) => ({ path: `/v1/dead?topic=${topic}&endpointId=${push}` })),
  "POST /v1/dead/replay": same(({ topic, push }) => ({ path: "/v1/dead/replay", body: { topic, endpointId: push } })),
  "GET /v1/jobs": list("/v1/jobs"),
  "GET /v1/jobs/:id": same(({ job }) => ({ path: `/v1/jobs/${job}` })),
  "DELETE /v1/jobs/:id": same(({ job }) => ({ path: `/v1/jobs/${job}` })),

  "POST /v1/sources": same(({ topic }) => ({
    path: "/v1/sources", body: { kind: "sns", topicArns: ["arn:aws:sns:eu-central-1:123456789012:orders"], topic },
  })),
  "GET /v1/sources": same(({ cursor }) => ({ path: `/v1/sources?cursor=${cursor}` })),
  "GET /v1/sources/:id": same(({ source }) => ({ path: `/v1/sources/${source}` })),
  "PATCH /v1/sources/:id": same(({ source }) => ({ path: `/v1/sources/${source}`, body: { name: "mine" } })),
  "POST /v1/sources/:id/secret/rotate": same(({ source }) => ({ path: `/v1/sources/${source}/secret/rotate`, body: { secret: "x".repeat(40) } })),
  "DELETE /v1/sources/:id": same(({ source }) => ({ path: `/v1/sources/${source}` })),
  // The address a sender is given: who knows it may send to it, and is judged by the signature.
  "POST /in/:sourceId": open(() => ({ path: "/in/src_00000000000000000000000000", raw: "{}" })),

  // The callback of a receiver, which has it from a handshake: who knows it says yes for the receiver.
  "GET /handshakes/:key": open(() => ({ path: `/handshakes/${"k".repeat(32)}` })),
  "POST /handshakes/:key": open(() => ({ path: `/handshakes/${"k".repeat(32)}` })),

  "POST /v1/tenants": operator(({ tenant }) => ({ path: "/v1/tenants", body: { id: tenant } })),
  "GET /v1/tenants": operator(() => ({ path: "/v1/tenants" })),
  "GET /v1/tenants/:id": operator(({ tenant }) => ({ path: `/v1/tenants/${tenant}` })),
  "PATCH /v1/tenants/:id": operator(({ tenant }) => ({ path: `/v1/tenants/${tenant}`, body: { name: "mine" } })),
  "POST /v1/tenants/:id/suspend": operator(({ tenant }) => ({ path: `/v1/tenants/${tenant}/suspend` })),
  "POST /v1/tenants/:id/resume": operator(({ tenant }) => ({ path: `/v1/tenants/${tenant}/resume` })),
  "DELETE /v1/tenants/:id": operator(({ tenant }) => ({ path: `/v1/tenants/${tenant}` })),

  "POST /v1/tokens": same(({ endpoint }) => ({ path: "/v1/tokens", body: { name: "x", scopes: ["consume"], endpointId: endpoint } })),
  "GET /v1/tokens": list("/v1/tokens"),
  "GET /v1/tokens/:id": same(({ token }) => ({ path: `/v1/tokens/${token}` })),
  "PATCH /v1/tokens/:id": same(({ token }) => ({ path: `/v1/tokens/${token}`, body: { name: "mine" } })),
  "POST /v1/tokens/:id/rotate": same(({ token }) => ({ path: `/v1/tokens/${token}/rotate`, body: {} })),
  "DELETE /v1/tokens/:id": same(({ token }) => ({ path: `/v1/tokens/${token}` })),

  "POST /v1/portal-codes": same(({ tenant }) => ({ path: "/v1/portal-codes", body: { name: tenant } })),
  // Who has the code opens the session: it is from the tenant's own server.
  "POST /v1/portal-sessions": open(() => ({ path: "/v1/portal-sessions", body: { code: `pcd_${"k".repeat(32)}` } })),
  "DELETE /v1/portal-sessions/current": same(() => ({ path: "/v1/portal-sessions/current" })),

  "GET /v1/audit": list("/v1/audit"),
  "GET /v1/stats": list("/v1/stats"),
  "GET /metrics": list("/metrics"),
  "GET /healthz": open(() => ({ path: "/healthz" })),
  "GET /readyz": open(() => ({ path: "/readyz" })),
  // Public keys, for receivers who have no token.
  "GET /.well-known/jwks.json": open(({ tenant }) => ({ path: `/.well-known/jwks.json?tenant=${tenant}` })),
  "GET /openapi.json": open(() => ({ path: "/openapi.json" })),
  "GET /docs": open(() => ({ path: "/docs" })),
  "GET /docs/style.css": open(() => ({ path: "/docs/style.css" })),
};
