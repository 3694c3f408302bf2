import { beforeEach, describe, expect, it, vi } from "vitest";
import { type Body, bodyOf, makeToken, openGateway, type TestGateway } from "../http/gateway.ts";

let gateway: TestGateway;
beforeEach(() => {
  gateway = openGateway();
  for (const method of ["info", "warn"] as const) vi.spyOn(console, method).mockImplementation(() => undefined);
  vi.useFakeTimers({ toFake: ["Date", "setTimeout"] });
  return () => vi.useRealTimers();
});

/** A request that is answered only once the isolates' caches have expired. */
async function sendAndWait(...request: Parameters<TestGateway["send"]>): Promise<Response> {
  const answered = gateway.send(...request);
  await vi.waitFor(() => expect(vi.getTimerCount()).toBe(1));
  await vi.advanceTimersByTimeAsync(1_100);
  return answered;
}

async function make(fields: Record<string, unknown> = {}): Promise<Body> {
  const response = await gateway.send("POST", "/v1/tokens", { json: { name: "ci", scopes: ["admin"], ...fields } });
  expect(response.status).toBe(201);
  return bodyOf(response);
}

const statusWith = async (token: string, path = "/v1/tokens"): Promise<number> => (await gateway.send("GET", path, { token })).status;

describe("changing a token", () => {
  it("changes what is sent, and nothing else", async () => {
    const { id, token } = await make();
    const named = await gateway.send("PATCH", `/v1/tokens/${id}`, { json: { name: "deploy" } });
    expect(await bodyOf(named)).toMatchObject({ id, name: "deploy", scopes: ["admin"], expiresAt: null });
    const expiresAt = new Date(Date.now() + 60_000).toISOString();
    expect(await bodyOf(await sendAndWait("PATCH", `/v1/tokens/${id}`, { json: { expiresAt } }))).toMatchObject({ name: "deploy", expiresAt });
    expect(await statusWith(token)).toBe(200);
    vi.setSystemTime(Date.now() + 60_000);
    expect(await statusWith(token)).toBe(401);
    expect(await bodyOf(await sendAndWait("PATCH", `/v1/tokens/${id}`, { json: { expiresAt: null } }))).toMatchObject({ expiresAt: null });
    expect(await statusWith(token)).toBe(200);
    const { data } = await bodyOf(await gateway.send("GET", "/v1/audit"));
    expect(data.map(({ action }) => action)).toContain("token.update");
  });

  it("refuses a time that is past, an unknown field, and what can not be changed", async () => {
    const { id } = await make();
    for (const json of [{ expiresAt: "2020-01-01T00:00:00Z" }, { scopes: ["read"] }, { name: "" }, { operator: true }]) {
      expect((await gateway.send("PATCH", `/v1/tokens/${id}`, { json })).status).toBe(422);
    }
    expect((await gateway.send("PATCH", "/v1/tokens/tok_none", { json: { name: "x" } })).status).toBe(404);
  });
});

describe("rotating a token", () => {
  it("gives a new value once, while the old one works for the overlap", async () => {
    const { id, token: before } = await make();
    const rotated = await sendAndWait("POST", `/v1/tokens/${id}/rotate`, { json: { overlapSeconds: 60 } });
    expect(rotated.status).toBe(200);
    const { token: after } = await bodyOf(rotated);
    expect(after).not.toBe(before);
    expect([await statusWith(before), await statusWith(after)]).toEqual([200, 200]);
    vi.setSystemTime(Date.now() + 60_000);
    expect([await statusWith(before), await statusWith(after)]).toEqual([401, 200]);
    const dump = JSON.stringify(gateway.sqlite.prepare("SELECT * FROM tokens").all()) + JSON.stringify(gateway.sqlite.prepare("SELECT * FROM audit").all());
    for (const value of [before, after]) expect(dump).not.toContain(value.slice(4));
  });

  it("ends the old value at once without an overlap, and one from before the last rotation in any case", async () => {
    const { id, token: first } = await make();
    const second = (await bodyOf(await sendAndWait("POST", `/v1/tokens/${id}/rotate`, { json: {} }))).token;
    expect(await statusWith(first)).toBe(200);
    const third = (await bodyOf(await sendAndWait("POST", `/v1/tokens/${id}/rotate`, { json: { overlapSeconds: 60 } }))).token;
    expect([await statusWith(first), await statusWith(second), await statusWith(third)]).toEqual([401, 200, 200]);
    const fourth = (await bodyOf(await sendAndWait("POST", `/v1/tokens/${id}/rotate`, { json: { overlapSeconds: 0 } }))).token;
    expect([await statusWith(third), await statusWith(fourth)]).toEqual([401, 200]);
  });

  it("hands nobody the value of a token that may do more than they", async () => {
    const { id } = await make({ scopes: ["publish", "admin"] });
    const operator = await make({ scopes: ["read"], operator: true });
    const admin = await makeToken(gateway, ["admin"]);
    expect((await gateway.send("POST", `/v1/tokens/${id}/rotate`, { token: admin, json: {} })).status).toBe(403);
    expect((await gateway.send("POST", `/v1/tokens/${operator.id}/rotate`, { token: admin, json: {} })).status).toBe(404);
  });

  it("revokes both values with the token", async () => {
    const { id, token: before } = await make();
    const { token: after } = await bodyOf(await sendAndWait("POST", `/v1/tokens/${id}/rotate`, { json: {} }));
    expect((await sendAndWait("DELETE", `/v1/tokens/${id}`)).status).toBe(204);
    expect([await statusWith(before), await statusWith(after)]).toEqual([401, 401]);
  });
});

describe("the last use of a token", () => {
  it("is written once a minute, however often it is used", async () => {
    const { id, token } = await make();
    const lastUsed = (): unknown => gateway.sqlite.prepare("SELECT last_used_at AS at FROM tokens WHERE id = ?").get(id)?.["at"];
    expect(lastUsed()).toBeNull();
    const firstMs = Date.now();
    for (let use = 0; use < 10; use++) {
      await statusWith(token);
      vi.setSystemTime(Date.now() + 5_000);
    }
    expect(lastUsed()).toBe(firstMs);
    expect(gateway.statements.filter((sql) => sql.includes("SET last_used_at"))).toHaveLength(1);
    vi.setSystemTime(firstMs + 61_000);
    await statusWith(token);
    expect(lastUsed()).toBe(firstMs + 61_000);
    expect(await bodyOf(await gateway.send("GET", `/v1/tokens/${id}`))).toMatchObject({ lastUsedAt: new Date(firstMs + 61_000).toISOString() });
  });
});

describe("a bound token", () => {
  const endpoint = async (fields: Record<string, unknown> = {}): Promise<string> => {
    const response = await gateway.send("POST", "/v1/endpoints", { json: { kind: "pull", ...fields } });
    expect(response.status).toBe(201);
    return (await bodyOf(response)).id;
  };

  it("reads its own endpoint, and knows of no other", async () => {
    const [own, other] = [await endpoint(), await endpoint()];
    const { token } = await make({ scopes: ["consume", "read"], endpointId: own });
    expect(await statusWith(token, `/v1/endpoints/${own}`)).toBe(200);
    const answers = await Promise.all(
      [other, "ep_none"].map(async (id) => ({ ...(await bodyOf(await gateway.send("GET", `/v1/endpoints/${id}`, { token }))), instance: "" })),
    );
    expect(answers[0]).toEqual(answers[1]);
    expect(answers[0]).toMatchObject({ status: 404 });
  });

  it.each([
    ["GET", "/v1/endpoints"],
    ["GET", "/v1/messages"],
    ["GET", "/v1/messages/msg_1/content"],
    ["GET", "/v1/queues/billing/messages"],
    ["GET", "/v1/pull?queue=billing"],
    ["GET", "/v1/stream/topics/orders"],
    ["GET", "/v1/stats"],
    ["GET", "/metrics"],
    ["GET", "/v1/subscriptions"],
  ])("has no use at %s %s", async (method, path) => {
    const { token } = await make({ scopes: ["publish", "consume", "read"], endpointId: await endpoint() });
    const response = await gateway.send(method, path, { token });
    expect(response.status).toBe(403);
    expect((await bodyOf(response)).type).toMatch(/\/bound-token$/);
  });

  it("is one node's, whichever endpoint has its name", async () => {
    const { token } = await make({ scopes: ["read"], node: "till.7" });
    const other = await endpoint({ node: "till.8" });
    expect(await statusWith(token, `/v1/endpoints/${other}`)).toBe(404);
    const own = await endpoint({ node: "till.7" });
    expect(await statusWith(token, `/v1/endpoints/${own}`)).toBe(200);
    expect(await statusWith(token, `/v1/endpoints/${other}`)).toBe(404);
  });

  it("gets no answer that another token's Idempotency-Key has kept", async () => {
    const [own, other] = [await endpoint(), await endpoint()];
    const headers = { "idempotency-key": "same-key-1" };
    const json = { receipts: ["x"] };
    const free = await makeToken(gateway, ["consume"]);
    expect((await gateway.send("POST", `/v1/endpoints/${other}/ack`, { token: free, json, headers })).status).toBe(200);
    const { token } = await make({ scopes: ["consume"], endpointId: own });
    expect((await gateway.send("POST", `/v1/endpoints/${other}/ack`, { token, json, headers })).status).toBe(404);
  });

  it("can not be more than a subscriber's", async () => {
    const own = await endpoint();
    const refused = [
      { scopes: ["manage"], endpointId: own },
      { scopes: ["admin"], node: "till.7" },
      { scopes: ["read"], endpointId: own, node: "till.7" },
      { scopes: ["read"], endpointId: own, operator: true },
      { scopes: ["read"], node: "till 7" },
    ];
    for (const fields of refused) {
      expect((await gateway.send("POST", "/v1/tokens", { json: { name: "x", ...fields } })).status, JSON.stringify(fields)).toBe(422);
    }
    await gateway.send("POST", "/v1/tenants", { json: { id: "other" } });
    const foreign = await gateway.send("POST", "/v1/tokens", { tenant: "other", json: { name: "x", scopes: ["read"], endpointId: own } });
    expect(foreign.status).toBe(404);
    const none = await gateway.send("POST", "/v1/tokens", { tenant: "other", json: { name: "x", scopes: ["read"], endpointId: "ep_none" } });
    expect(none.status).toBe(404);
  });

  it("goes with its endpoint", async () => {
    const own = await endpoint();
    const { token } = await make({ scopes: ["read"], endpointId: own });
    expect((await sendAndWait("DELETE", `/v1/endpoints/${own}`)).status).toBe(204);
    expect(await statusWith(token, `/v1/endpoints/${own}`)).toBe(401);
  });
});
