import { setTimeout as delay } from "node:timers/promises";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { call, eventually } from "./api.ts";
import { type Gateway, startGateway } from "./gateway.ts";

const TENANT = "acme";
let gateway: Gateway;

beforeAll(async () => {
  gateway = await startGateway({ env: { POSTERN_MAILBOX: "durable-object" } });
  await call(gateway, "POST", "/v1/tenants", { body: { id: TENANT } });
});

afterAll(() => gateway?.dispose());

const asAcme = (method: string, path: string, options: Parameters<typeof call>[3] = {}) =>
  call(gateway, method, path, { ...options, headers: { "postern-tenant": TENANT, ...options.headers } });

async function makeToken(): Promise<{ id: string; token: string }> {
  return (await asAcme("POST", "/v1/tokens", { body: { name: "t", scopes: ["read", "consume", "publish"] } })).json;
}

/** The events of a stream as they come, and whether it has ended. */
async function follow(path: string, token: string): Promise<{ text: string; ended: boolean }> {
  const response = await fetch(gateway.url + path, { headers: { authorization: `Bearer ${token}` } });
  expect([response.status, response.headers.get("content-type")]).toEqual([200, "text/event-stream"]);
  const seen = { text: "", ended: false };
  const read = async (): Promise<void> => {
    for await (const chunk of response.body ?? []) seen.text += Buffer.from(chunk).toString();
  };
  // the gateway's end is the end of those that go on
  void read().catch(() => undefined).finally(() => {
    seen.ended = true;
  });
  return seen;
}

describe("a token that is revoked", () => {
  it("shows nothing that comes after that, also where it was waiting for it", async () => {
    const [revoked, kept] = [await makeToken(), await makeToken()];
    await asAcme("PUT", "/v1/stream/own", { raw: "[1]", headers: { "content-type": "application/json" } });
    await asAcme("POST", "/v1/events/live", { raw: "first" });
    const paths = ["/v1/tail?topic=live", "/v1/stream/own?offset=-1&live=sse", "/v1/stream/topics/live?offset=-1&live=sse"];
    const ended = await Promise.all(paths.map((path) => follow(path, revoked.token)));
    const going = await Promise.all(paths.map((path) => follow(path, kept.token)));
    await eventually(async () => [...ended, ...going], (all) => all.every(({ text }) => text !== ""));

    expect((await asAcme("DELETE", `/v1/tokens/${revoked.id}`)).status).toBe(204);
    await asAcme("POST", "/v1/events/live", { raw: "CANARY-after" });
    await asAcme("POST", "/v1/stream/own", { raw: '["CANARY-after"]', headers: { "content-type": "application/json" } });
    await eventually(async () => going, (all) => all.every(({ text }) => text.includes("CANARY-after")));
    await eventually(async () => ended, (all) => all.every((one) => one.ended));
    for (const { text } of ended) expect(text).not.toContain("CANARY-after");
    expect(going.map((one) => one.ended)).toEqual([false, false, false]);
  });

  it("is given nothing where it waited, and what came meanwhile is for others at once", async () => {
    const { id, token } = await makeToken();
    const endpoint = (await asAcme("POST", "/v1/endpoints", { body: { kind: "pull", topics: ["pulled"] } })).json.id;
    await asAcme("PUT", "/v1/queues/asked", { body: {} });
    const paths = [`/v1/endpoints/${endpoint}/messages?wait=10&visibility=600`, "/v1/stream/topics/live?offset=now&live=long-poll", "/v1/queries/asked/now?timeout=10"];
    const waiting = paths.map((path) => call(gateway, path.startsWith("/v1/queries") ? "POST" : "GET", path, { token }));
    await delay(300);
    await asAcme("DELETE", `/v1/tokens/${id}`);
    await asAcme("POST", "/v1/events/pulled", { raw: "for another" });
    await asAcme("POST", "/v1/events/live", { raw: "CANARY-after" });
    const query = (await asAcme("GET", "/v1/queues/asked/messages?wait=5")).json.messages[0];
    expect((await asAcme("POST", `/v1/messages/${query.id}/reply`, { raw: "CANARY-answer" })).status).toBeLessThan(300);
    const [pulled, read, answered] = await Promise.all(waiting);
    expect([pulled?.status, pulled?.json]).toEqual([200, { messages: [] }]);
    for (const answer of [read, answered]) {
      expect([answer?.status, answer?.json.type, answer?.headers.get("stream-next-offset")]).toEqual([401, expect.stringContaining("unauthenticated"), null]);
      expect(answer?.headers.get("www-authenticate")).toContain("invalid_token");
    }
    const others = await asAcme("GET", `/v1/endpoints/${endpoint}/messages?wait=5`);
    expect(others.json.messages).toMatchObject([{ data: "for another" }]);
  });

  it("is refused by every path within a second, however busy it was", async () => {
    const { id, token } = await makeToken();
    const ask = async (): Promise<number> => (await call(gateway, "GET", "/v1/endpoints", { token })).status;
    expect(await ask()).toBe(200);
    const deletedAt = Date.now();
    const deleting = asAcme("DELETE", `/v1/tokens/${id}`);
    let lastAcceptedAt = 0;
    while (Date.now() - deletedAt < 2_500) if ((await ask()) === 200) lastAcceptedAt = Date.now();
    await deleting;
    expect(lastAcceptedAt - deletedAt).toBeLessThan(1_100);
  });
});

describe("a tenant that is suspended", () => {
  it("has its streams of events ended, as when it is deleted", async () => {
    const { token } = await makeToken();
    const seen = await follow("/v1/tail?topic=**", token);
    await eventually(async () => seen, ({ text }) => text !== "");
    await call(gateway, "POST", `/v1/tenants/${TENANT}/suspend`);
    await asAcme("POST", "/v1/events/live", { raw: "CANARY-suspended" });
    await eventually(async () => seen, ({ ended }) => ended);
    expect(seen.text).not.toContain("CANARY-suspended");
    await call(gateway, "POST", `/v1/tenants/${TENANT}/resume`);
  });
});

