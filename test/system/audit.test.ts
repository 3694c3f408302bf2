import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { call, deliveriesOf, eventually } from "./api.ts";
import { type Gateway, startGateway } from "./gateway.ts";
import { type Receiver, startReceiver, status } from "./receiver.ts";

/** What the requests so far have made. */
type Made = Record<string, string>;
type Sent = { readonly method: string; readonly path: string; readonly body?: unknown };
/** A change, as what the audit log has to have it; or why an operation that is no GET changes nothing of the control plane. */
type Row = { readonly route: string; readonly action: string; readonly ask: (made: Made) => Sent; readonly made?: string; readonly isOperators?: true } | { readonly route: string; readonly why: string };

const change = (route: string, action: string, path: (made: Made) => string, body?: unknown, more: { made?: string; isOperators?: true } = {}): Row => ({
  route, action, ask: (made) => ({ method: route.split(" ")[0] ?? "", path: path(made), ...(body === undefined ? {} : { body: typeof body === "function" ? body(made) : body }) }), ...more,
});
const none = (route: string, why: string): Row => ({ route, why });

const ROWS = (receiverUrl: string): Row[] => [
  change("post /v1/endpoints", "endpoint.create", () => "/v1/endpoints", { kind: "push", url: `${receiverUrl}/`, topics: ["a"], headers: { "x-key": "canary-header" }, handshake: true }, { made: "ep" }),
  change("patch /v1/endpoints/{id}", "endpoint.update", ({ ep }) => `/v1/endpoints/${ep}`, { name: "renamed", handshake: false, headers: { "x-key": "canary-header-2" } }),
  change("post /v1/endpoints/{id}/secret/rotate", "secret.rotate", ({ ep }) => `/v1/endpoints/${ep}/secret/rotate`, {}),
  change("post /v1/endpoints/{id}/pause", "endpoint.pause", ({ ep }) => `/v1/endpoints/${ep}/pause`),
  change("post /v1/endpoints/{id}/resume", "endpoint.resume", ({ ep }) => `/v1/endpoints/${ep}/resume`),
  none("post /v1/endpoints/{id}/test", "sends an example"),
  none("post /v1/endpoints/{id}/handshake", "asks the receiver, whose answer is in the log"),
  change("post /v1/endpoints/{id}/recover", "endpoint.recover", ({ ep }) => `/v1/endpoints/${ep}/recover`, { since: "2026-01-01T00:00:00Z" }),
  change("post /v1/dead/replay", "dead.replay", () => "/v1/dead/replay", { topic: "a" }),
  change("post /v1/endpoints/{id}/replay", "endpoint.replay", ({ ep }) => `/v1/endpoints/${ep}/replay`, { topic: "a" }),
  change("delete /v1/jobs/{id}", "job.stop", ({ job }) => `/v1/jobs/${job}`),
  change("post /v1/endpoints/{id}/enable", "endpoint.enable", ({ gone }) => `/v1/endpoints/${gone}/enable`),
  change("post /v1/messages/{id}/resend", "message.resend", ({ message }) => `/v1/messages/${message}/resend`, {}),
  change("delete /v1/messages/{id}/content", "message.expunge", ({ message }) => `/v1/messages/${message}/content`),
  change("post /v1/subscriptions", "subscription.create", () => "/v1/subscriptions", ({ ep }: Made) => ({ endpointId: ep, topic: "b" }), { made: "sub" }),
  change("patch /v1/subscriptions/{id}", "subscription.update", ({ sub }) => `/v1/subscriptions/${sub}`, { filter: { a: ["b"] } }),
  change("delete /v1/subscriptions/{id}", "subscription.delete", ({ sub }) => `/v1/subscriptions/${sub}`),
  change("put /v1/queues/{queue}", "queue.create", () => "/v1/queues/work", { maxReceives: 3 }),
  change("post /v1/queues/{queue}/purge", "queue.purge", () => "/v1/queues/work/purge"),
  change("post /v1/queues/{queue}/redrive", "queue.redrive", () => "/v1/queues/work/redrive"),
  change("delete /v1/queues/{queue}", "queue.delete", () => "/v1/queues/work"),
  change("put /v1/topics/{topic}", "topic.update", () => "/v1/topics/a", { retentionSeconds: 1000 }),
  change("delete /v1/topics/{topic}", "topic.delete", () => "/v1/topics/a"),
  change("post /v1/sources", "source.create", () => "/v1/sources", { kind: "github", topic: "a", secret: "canary-source-secret" }, { made: "src" }),
  change("patch /v1/sources/{id}", "source.update", ({ src }) => `/v1/sources/${src}`, { name: "renamed" }),
  change("post /v1/sources/{id}/secret/rotate", "source.rotate", ({ src }) => `/v1/sources/${src}/secret/rotate`, { secret: "canary-source-secret-2" }),
  change("delete /v1/sources/{id}", "source.delete", ({ src }) => `/v1/sources/${src}`),
  change("post /v1/tokens", "token.create", () => "/v1/tokens", { name: "t", scopes: ["read"] }, { made: "tok" }),
  change("patch /v1/tokens/{id}", "token.update", ({ tok }) => `/v1/tokens/${tok}`, { name: "renamed" }),
  change("post /v1/tokens/{id}/rotate", "token.rotate", ({ tok }) => `/v1/tokens/${tok}/rotate`, {}),
  change("delete /v1/tokens/{id}", "token.delete", ({ tok }) => `/v1/tokens/${tok}`),
  change("post /v1/portal-codes", "portal-code.create", () => "/v1/portal-codes", {}, { made: "code" }),
  change("post /v1/portal-sessions", "portal-session.create", () => "/v1/portal-sessions", ({ code }: Made) => ({ code }), { made: "portal" }),
  change("delete /v1/portal-sessions/current", "portal-session.delete", () => "/v1/portal-sessions/current"),
  change("get /handshakes/{key}", "endpoint.allow", ({ callback }) => callback ?? ""),
  none("post /handshakes/{key}", "is its twin"),
  change("post /v1/tenants", "tenant.create", () => "/v1/tenants", { id: "acme" }, { isOperators: true }),
  change("patch /v1/tenants/{id}", "tenant.update", () => "/v1/tenants/acme", { name: "Acme" }, { isOperators: true }),
  change("post /v1/tenants/{id}/suspend", "tenant.suspend", () => "/v1/tenants/acme/suspend", undefined, { isOperators: true }),
  change("post /v1/tenants/{id}/resume", "tenant.resume", () => "/v1/tenants/acme/resume", undefined, { isOperators: true }),
  change("delete /v1/tenants/{id}", "tenant.delete", () => "/v1/tenants/acme", undefined, { isOperators: true }),
  change("put /v1/stream/__ds/subscriptions/{id}", "stream-subscription.create", () => "/v1/stream/__ds/subscriptions/of-streams", { type: "pull-wake", wake_stream: "wakes", pattern: "orders/**" }),
  change("post /v1/stream/__ds/subscriptions/{id}/streams", "stream-subscription.add-streams", () => "/v1/stream/__ds/subscriptions/of-streams/streams", { streams: ["own-stream"] }),
  change("delete /v1/stream/__ds/subscriptions/{id}/streams/{path}", "stream-subscription.remove-stream", () => "/v1/stream/__ds/subscriptions/of-streams/streams/own-stream"),
  change("delete /v1/stream/__ds/subscriptions/{id}", "stream-subscription.delete", () => "/v1/stream/__ds/subscriptions/of-streams"),
  ...["claim", "ack", "callback", "release"].map((verb) => none(`post /v1/stream/__ds/subscriptions/{id}/${verb}`, "moves a cursor")),
  change("delete /v1/endpoints/{id}", "endpoint.delete", ({ ep }) => `/v1/endpoints/${ep}`),
  ...["events/{topic}", "batch", "commands/{queue}/{method}", "queries/{queue}/{method}", "direct/{node}", "messages/{id}/reply"].map((path) => none(`post /v1/${path}`, "sends a message")),
  ...["endpoints/{id}", "queues/{queue}"].flatMap((path) => [
    ...["ack", "nack", "extend"].map((verb) => none(`post /v1/${path}/${verb}`, "settles what was pulled")),
    none(`delete /v1/${path}/messages/{receipt}`, "settles what was pulled"),
  ]),
  ...["ack", "nack", "extend"].map((verb) => none(`post /v1/pull/${verb}`, "settles what was pulled")),
  ...["put", "post", "delete"].map((method) => none(`${method} /v1/stream/{path}`, "writes a stream of the tenant's own")),
  ...["put", "delete"].map((method) => none(`${method} /v1/consumers/{name}/offsets/{stream}`, "notes where a consumer is")),
  none("post /in/{sourceId}", "brings a message in"),
];

let gateway: Gateway;
let receiver: Receiver;
const made: Made = {};

beforeAll(async () => {
  receiver = await startReceiver();
  gateway = await startGateway({ env: { POSTERN_ALLOW_HOSTS: receiver.host, POSTERN_MAILBOX: "durable-object" } });
});

afterAll(async () => {
  await gateway?.dispose();
  await receiver?.close();
});

/** An endpoint that is disabled, a message, and a replay that runs. */
async function prepare(route: string): Promise<void> {
  const create = async (fields: object) => (await call(gateway, "POST", "/v1/endpoints", { body: { kind: "push", ...fields } })).json.id;
  if (route === "post /v1/endpoints/{id}/enable") {
    receiver.answerWith(status(410));
    made["gone"] = await create({ url: `${receiver.url}/gone`, topics: ["c"] });
    made["message"] = (await call(gateway, "POST", "/v1/events/c", { raw: "x" })).json.id;
    await eventually(() => deliveriesOf(gateway, made["message"] ?? ""), ([delivery]) => delivery?.attempts.length > 0);
    await eventually(() => call(gateway, "GET", `/v1/endpoints/${made["gone"]}`), ({ json }) => json.status === "disabled");
    receiver.answerWith(status(204));
  }
  if (route === "delete /v1/jobs/{id}") {
    const pull = await create({ url: `${receiver.url}/paused` });
    await call(gateway, "POST", `/v1/endpoints/${pull}/pause`);
    await call(gateway, "POST", "/v1/batch", { body: { messages: Array.from({ length: 300 }, () => ({ topic: "many", data: "x" })) } });
    made["job"] = (await call(gateway, "POST", `/v1/endpoints/${pull}/replay`, { body: { topic: "many" } })).json.jobId;
  }
  if (route === "get /handshakes/{key}") {
    await create({ url: `${receiver.url}/asked`, handshake: true });
    const asked = () => receiver.requests.find(({ path, method }) => path === "/asked" && method === "OPTIONS");
    await receiver.until(() => asked() !== undefined);
    made["callback"] = new URL(asked()?.headers["webhook-request-callback"] ?? "").pathname;
  }
}

describe("the audit log", () => {
  it("has a row here for every operation that is no GET, and none for what there is not", async () => {
    const { paths } = (await call(gateway, "GET", "/openapi.json")).json;
    const operations = Object.entries<object>(paths).flatMap(([path, item]) => Object.keys(item).map((method) => `${method} ${path}`));
    const wanted = operations.filter((name) => !/^(?:get|head|parameters) /.test(name) || name.startsWith("get /handshakes"));
    expect(ROWS("").map(({ route }) => route).toSorted()).toEqual(wanted.toSorted());
  });

  it("has every change, with who, what, before and after, and from where", async () => {
    for (const row of ROWS(receiver.url)) {
      if ("why" in row) continue;
      await prepare(row.route);
      const { method, path, body } = row.ask(made);
      const requestId = `audit-${row.action}`;
      const isPublic = /portal-sessions$|handshakes/.test(path);
      const token = path.endsWith("/current") ? (made["portalToken"] ?? null) : isPublic ? null : gateway.token;
      const answer = await call(gateway, method.toUpperCase(), path, { token, headers: { "x-request-id": requestId, "cf-connecting-ip": "203.0.113.9" }, ...(body === undefined ? {} : { body }) });
      expect(answer.status, `${row.route}: ${answer.bytes.toString()}`).toBeLessThan(300);
      if (row.made !== undefined) made[row.made] = answer.json.code ?? answer.json.id;
      if (row.made === "portal") made["portalToken"] = answer.json.token;
      const { data } = (await call(gateway, "GET", `/v1/audit?limit=50${row.isOperators === true ? "&operator=true" : ""}`)).json;
      const [entry, ...more] = data.filter((one: any) => one.requestId === requestId && one.action === row.action);
      expect(entry, `${row.route}: ${JSON.stringify(data.slice(0, 3))}`).toMatchObject({ ip: "127.0.0.1", action: row.action });
      expect([more.length, entry.actor.length > 0, entry.target.length > 0], row.route).toEqual([0, true, true]);
      expectBothSides(row.action, entry.change);
    }
  }, 120_000);

  it("shows no secret, in the lists or in the export", async () => {
    const exported = await fetch(`${gateway.url}/v1/audit`, { headers: { authorization: `Bearer ${gateway.token}`, accept: "application/x-ndjson" } });
    const text = await exported.text();
    expect(text).not.toMatch(/canary|whsec_|pst_|pcd_/);
    expect(text.split("\n").length).toBeGreaterThan(30);
  });

  it("believes a header about where a request came from when an operator said so, and no other", async () => {
    gateway = await gateway.restart({ POSTERN_CLIENT_IP_HEADER: "x-real-ip" });
    const headers = { "x-real-ip": "198.51.100.7", "x-forwarded-for": "203.0.113.9", "cf-connecting-ip": "203.0.113.9" };
    await call(gateway, "PUT", "/v1/queues/proxied", { body: {}, headers });
    expect((await call(gateway, "GET", "/v1/audit?limit=1")).json.data[0]).toMatchObject({ target: "proxied", ip: "198.51.100.7" });
  });
});

/** A change of something has what it was and what it became; a creation and a deletion one of the two. */
function expectBothSides(action: string, { before, after }: { readonly before: unknown; readonly after: unknown }): void {
  const [, verb = ""] = action.split(".");
  const isCreated = ["create", "replay", "recover", "resend", "expunge", "purge", "redrive", "allow"].includes(verb);
  const isDeleted = ["delete", "stop"].includes(verb);
  const sides = { before: before !== null, after: after !== null };
  if (action === "topic.update" || action === "topic.delete") return; // the defaults are nothing
  expect({ action, ...sides }).toEqual({ action, before: !isCreated, after: !isDeleted });
}
