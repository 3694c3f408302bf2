import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { call, createEndpoint, deliveriesOf, eventually, publish } from "./api.ts";
import { type Gateway, startGateway } from "./gateway.ts";
import { type ReceivedRequest, type Receiver, startReceiver } from "./receiver.ts";

let gateway: Gateway;
let receiver: Receiver;
/** What OPTIONS at each path is answered with, beside 200. */
const permissions = new Map<string, Record<string, string>>();

beforeAll(async () => {
  receiver = await startReceiver();
  receiver.answerWith((request, response) => {
    response.writeHead(200, request.method === "OPTIONS" ? permissions.get(request.path) : {}).end();
  });
  gateway = await startGateway({ env: { POSTERN_ALLOW_HOSTS: receiver.host, POSTERN_MAILBOX: "durable-object" } });
});

afterAll(async () => {
  await gateway?.dispose();
  await receiver?.close();
});

const at = (path: string, method: string): ReceivedRequest[] => receiver.requests.filter((request) => request.path === path && request.method === method);
const bodies = (path: string): string[] => at(path, "POST").map(({ body }) => body.toString());
const statusOf = (id: string) => call(gateway, "GET", `/v1/endpoints/${id}/handshake`);
const callbackOf = (path: string): string => new URL(at(path, "OPTIONS").at(-1)?.headers["webhook-request-callback"] ?? "").pathname;
const asked = (path: string, times = 1) => receiver.until(() => at(path, "OPTIONS").length >= times);

describe("an endpoint that asks its receiver first", () => {
  it("sends nothing until the receiver allows it by the callback, once; then what waited arrives, through a restart", async () => {
    const { id } = await createEndpoint(gateway, { url: `${receiver.url}/later`, topics: ["later"], handshake: true });
    await asked("/later");
    const [first] = at("/later", "OPTIONS");
    expect(first?.headers).toMatchObject({ "webhook-request-origin": "127.0.0.1" });
    expect(callbackOf("/later")).toMatch(/^\/handshakes\/[A-Za-z0-9_-]{32}$/);
    const shown = await eventually(() => statusOf(id), ({ json }) => json.detail !== null);
    expect(shown.json).toMatchObject({ status: "waiting", requests: 1, detail: expect.stringContaining("WebHook-Allowed-Origin") });

    const { id: messageId } = await publish(gateway, "later", "it waited");
    await eventually(() => deliveriesOf(gateway, messageId), ([delivery]) => delivery?.status === "open");
    const test = await call(gateway, "POST", `/v1/endpoints/${id}/test`, { body: {} });
    expect([test.status, test.json.type]).toEqual([409, expect.stringContaining("conflict")]);
    gateway = await gateway.restart();
    expect(bodies("/later")).toEqual([]);

    const callback = callbackOf("/later");
    const malformed = await call(gateway, "POST", callback, { token: null, headers: { "webhook-allowed-rate": "many" } });
    expect([malformed.status, malformed.json.errors[0].pointer]).toEqual([400, "header:webhook-allowed-rate"]);
    const allowed = await call(gateway, "GET", callback, { token: null, headers: { "webhook-allowed-rate": "6000" } });
    expect([allowed.status, allowed.json]).toEqual([200, { status: "allowed" }]);
    await receiver.until(() => bodies("/later").length > 0);
    expect(bodies("/later")).toEqual(["it waited"]);
    expect(at("/later", "POST")[0]?.headers).toMatchObject({ "webhook-request-origin": "127.0.0.1", "webhook-id": messageId });
    expect((await call(gateway, "GET", `/v1/endpoints/${id}`)).json).toMatchObject({ handshake: true, handshakeStatus: "allowed", allowedRatePerMinute: 6000 });
    for (const path of [callback, `/handshakes/${"x".repeat(32)}`, "/handshakes/x"]) {
      expect((await call(gateway, "POST", path, { token: null })).status).toBe(404);
    }
    const { data } = (await call(gateway, "GET", "/v1/audit?limit=1")).json;
    expect(data[0]).toMatchObject({ action: "endpoint.allow", actor: "receiver", target: id, change: { after: { allowedRatePerMinute: 6000 } } });
  });

  it("asks again for another URL, and the permission for the one before is none for it", async () => {
    permissions.set("/moving-1", { "webhook-allowed-origin": "127.0.0.1" });
    const { id } = await createEndpoint(gateway, { url: `${receiver.url}/moving-1`, topics: ["moving"], handshake: true });
    await eventually(() => statusOf(id), ({ json }) => json.status === "allowed");
    await publish(gateway, "moving", "to the first");
    await receiver.until(() => bodies("/moving-1").length === 1);

    const changed = await call(gateway, "PATCH", `/v1/endpoints/${id}`, { body: { url: `${receiver.url}/moving-2` } });
    expect(changed.json).toMatchObject({ handshake: true, handshakeStatus: "waiting" });
    await asked("/moving-2");
    const stale = callbackOf("/moving-2");
    await call(gateway, "PATCH", `/v1/endpoints/${id}`, { body: { url: `${receiver.url}/moving-3` } });
    await asked("/moving-3");
    await publish(gateway, "moving", "to the third");
    expect((await call(gateway, "GET", stale, { token: null })).status).toBe(404);
    expect((await statusOf(id)).json.status).toBe("waiting");
    permissions.set("/moving-3", { "webhook-allowed-origin": "*" });
    const again = async () => (await call(gateway, "POST", `/v1/endpoints/${id}/handshake`)).json;
    await eventually(again, ({ status }) => status === "allowed");
    await receiver.until(() => bodies("/moving-3").length > 0);
    expect([bodies("/moving-1"), bodies("/moving-2"), bodies("/moving-3")]).toEqual([["to the first"], [], ["to the third"]]);
  });

  it("keeps the rate that was allowed, which is one of requests a minute", async () => {
    permissions.set("/slow", { "webhook-allowed-origin": "*", "webhook-allowed-rate": "120" });
    const { id } = await createEndpoint(gateway, { url: `${receiver.url}/slow`, topics: ["slow"], handshake: true, rateLimit: 50 });
    await eventually(() => statusOf(id), ({ json }) => json.status === "allowed");
    expect(at("/slow", "OPTIONS")[0]?.headers["webhook-request-rate"]).toBe("3000");
    await Promise.all(Array.from({ length: 7 }, (_, index) => publish(gateway, "slow", String(index))));
    await receiver.until(() => bodies("/slow").length === 7, 30_000);
    const times = at("/slow", "POST").map(({ arrivedAt }) => arrivedAt).toSorted((one, other) => one - other);
    // 120 a minute are two a second
    const busiest = Math.max(...times.map((time) => times.filter((other) => other >= time && other < time + 1_000).length));
    expect(busiest).toBeLessThanOrEqual(2);
  });

  it("is no member of a queue to be sent to before, and is one then", async () => {
    const body = { kind: "push", url: `${receiver.url}/member`, queue: "allowed", handshake: true };
    const { json } = await call(gateway, "POST", "/v1/endpoints", { body });
    await asked("/member");
    await call(gateway, "POST", "/v1/commands/allowed/run", { raw: "a command" });
    const direct = await createEndpoint(gateway, { url: `${receiver.url}/node`, node: "asks.first", handshake: true });
    await asked("/node");
    await call(gateway, "POST", "/v1/direct/asks.first", { raw: "direct" });
    expect([bodies("/member"), bodies("/node")]).toEqual([[], []]);
    for (const path of ["/member", "/node"]) expect((await call(gateway, "POST", callbackOf(path), { token: null })).status).toBe(200);
    await receiver.until(() => bodies("/member").length > 0 && bodies("/node").length > 0);
    expect([bodies("/member"), bodies("/node")]).toEqual([["a command"], ["direct"]]);
    expect((await call(gateway, "GET", `/v1/endpoints/${json.id}`)).json.handshakeStatus).toBe("allowed");
    expect((await statusOf(direct.id)).json.status).toBe("allowed");
  });

  it("that stops asking gets what waited", async () => {
    const { id } = await createEndpoint(gateway, { url: `${receiver.url}/stops`, topics: ["stops"], handshake: true });
    await asked("/stops");
    await publish(gateway, "stops", "it waited");
    expect((await call(gateway, "PATCH", `/v1/endpoints/${id}`, { body: { handshake: false } })).json).toMatchObject({ handshake: false, handshakeStatus: null });
    await receiver.until(() => bodies("/stops").length > 0);
    expect((await statusOf(id)).status).toBe(409);
    expect((await call(gateway, "GET", callbackOf("/stops"), { token: null })).status).toBe(404);
  });

  it("is a push endpoint", async () => {
    const answer = await call(gateway, "POST", "/v1/endpoints", { body: { kind: "pull", handshake: true } });
    expect([answer.status, answer.json.errors[0].pointer]).toEqual([422, "/handshake"]);
  });
});
