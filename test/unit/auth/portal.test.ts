import { beforeEach, describe, expect, it, vi } from "vitest";
import { deleteExpiredPortal } from "../../../src/storage/portal-codes.ts";
import { bodyOf, makeToken, openGateway, type TestGateway } from "../http/gateway.ts";

let gateway: TestGateway;
beforeEach(async () => {
  gateway = openGateway();
  for (const method of ["info", "warn"] as const) vi.spyOn(console, method).mockImplementation(() => undefined);
  vi.useFakeTimers({ toFake: ["Date", "setTimeout"] });
  await gateway.send("POST", "/v1/tenants", { json: { id: "acme" } });
  return () => vi.useRealTimers();
});

type Made = { readonly id: string; readonly code: string; readonly token: string; readonly scopes: string[]; readonly tenant: string; readonly expiresAt: string };

async function makeCode(json: object = {}, options: object = { tenant: "acme" }): Promise<Made> {
  const response = await gateway.send("POST", "/v1/portal-codes", { json, ...options });
  expect(response.status).toBe(201);
  expect(response.headers.get("cache-control")).toBe("no-store");
  return response.json<Made>();
}

const exchange = (code: unknown, more: object = {}) => gateway.send("POST", "/v1/portal-sessions", { token: null, json: { code, ...more } });

async function openSession(json: object = {}, options?: object): Promise<Made> {
  const response = await exchange((await makeCode(json, options)).code);
  expect(response.status).toBe(201);
  return response.json<Made>();
}

const statusWith = async (token: string, path = "/v1/endpoints", options: object = {}): Promise<number> => (await gateway.send("GET", path, { token, ...options })).status;

/** A request that is answered only once the isolates' caches have expired. */
async function sendAndWait(...request: Parameters<TestGateway["send"]>): Promise<Response> {
  const answered = gateway.send(...request);
  await vi.waitFor(() => expect(vi.getTimerCount()).toBe(1));
  await vi.advanceTimersByTimeAsync(1_100);
  return answered;
}

describe("a portal code", () => {
  it("is exchanged for a short-lived token of its tenant with limited scopes, in an answer nobody keeps", async () => {
    const response = await exchange((await makeCode()).code);
    expect([response.status, response.headers.get("cache-control"), response.headers.get("location")]).toEqual([201, "no-store", null]);
    const session = await response.json<Made>();
    expect(session).toMatchObject({ tenant: "acme", scopes: ["read", "manage"], expiresAt: new Date(Date.now() + 3_600_000).toISOString() });
    expect(await statusWith(session.token)).toBe(200);
    expect(await statusWith(session.token, "/v1/tokens")).toBe(403);
    expect(await statusWith(session.token, "/v1/endpoints", { tenant: "default" })).toBe(404);
    expect((await gateway.send("POST", "/v1/endpoints", { token: session.token, json: { kind: "pull" } })).status).toBe(201);
    vi.setSystemTime(Date.now() + 3_600_000);
    expect(await statusWith(session.token)).toBe(401);
  });

  it("works once, also when it is sent twice at the same moment", async () => {
    const { code } = await makeCode();
    const answers = await Promise.all([exchange(code), exchange(code), exchange(code)]);
    expect(answers.map(({ status }) => status).toSorted()).toEqual([201, 403, 403]);
    expect((await exchange(code)).status).toBe(403);
    expect(gateway.sqlite.prepare("SELECT count(*) AS n FROM tokens WHERE portal = 1").get()).toEqual({ n: 1 });
  });

  it("lives for minutes", async () => {
    const { code } = await makeCode({ expiresInSeconds: 10 });
    vi.setSystemTime(Date.now() + 10_000);
    expect((await exchange(code)).status).toBe(403);
    for (const json of [{ expiresInSeconds: 601 }, { expiresInSeconds: 9 }, { sessionSeconds: 86_401 }, { sessionSeconds: 59 }]) {
      expect((await gateway.send("POST", "/v1/portal-codes", { json })).status).toBe(422);
    }
  });

  it("that is none is answered as one that was used, and read from the body alone", async () => {
    const { code } = await makeCode();
    const [used, unknown, malformed] = [await exchange(code).then(() => exchange(code)), await exchange(`pcd_${"x".repeat(32)}`), await exchange("x")];
    const texts = await Promise.all([used, unknown, malformed].map(async (response) => (await response.text()).replace(/"instance":"[^"]*"/, "")));
    expect(new Set(texts).size).toBe(1);
    const other = await makeCode();
    const inUrl = await gateway.send("POST", `/v1/portal-sessions?code=${other.code}`, { token: null, json: {} });
    expect([inUrl.status, (await bodyOf(inUrl)).errors[0]?.pointer]).toEqual([422, "/code"]);
    expect((await gateway.send("GET", `/v1/portal-sessions?code=${other.code}`, { token: null })).status).toBe(405);
    expect((await exchange(other.code)).status).toBe(201);
  });

  it("is kept as a hash, as its session's token is", async () => {
    const { code } = await makeCode({}, {});
    const session = await openSession({}, {});
    for (const table of ["portal_codes", "tokens", "audit"]) {
      const rows = JSON.stringify(gateway.sqlite.prepare(`SELECT * FROM ${table}`).all());
      for (const secret of [code, session.token]) expect(rows).not.toContain(secret.slice(4));
    }
    for (const path of ["/v1/audit", "/v1/tokens"]) expect(await (await gateway.send("GET", path)).text()).not.toContain(session.token.slice(4));
  });

  it("gives no scope that its maker lacks, and never `admin`", async () => {
    const manage = await makeToken(gateway, ["manage"], "acme");
    const denied = await gateway.send("POST", "/v1/portal-codes", { token: manage, json: {} });
    expect([denied.status, (await bodyOf(denied)).detail]).toEqual([403, expect.stringContaining("`read`")]);
    expect((await openSession({ scopes: ["manage"] }, { token: manage })).scopes).toEqual(["manage"]);
    expect((await gateway.send("POST", "/v1/portal-codes", { json: { scopes: ["admin"] } })).status).toBe(422);
    const reader = await makeToken(gateway, ["read"], "acme");
    expect((await gateway.send("POST", "/v1/portal-codes", { token: reader, json: {} })).status).toBe(403);
  });
});

describe("a portal session", () => {
  it("opens no further one", async () => {
    const { token } = await openSession();
    expect((await gateway.send("POST", "/v1/portal-codes", { token, json: {} })).status).toBe(403);
  });

  it("is among the tenant's tokens, and revoked as any", async () => {
    const { id, token } = await openSession({ name: "customer 1" });
    const { data } = await bodyOf(await gateway.send("GET", "/v1/tokens", { tenant: "acme" }));
    expect(data).toMatchObject([{ id, name: "customer 1", portal: true }]);
    await sendAndWait("DELETE", `/v1/tokens/${id}`, { tenant: "acme" });
    expect(await statusWith(token)).toBe(401);
  });

  it("ends itself, which no other token does", async () => {
    const { id, token } = await openSession();
    expect((await sendAndWait("DELETE", "/v1/portal-sessions/current", { token })).status).toBe(204);
    expect(await statusWith(token)).toBe(401);
    expect((await gateway.send("DELETE", "/v1/portal-sessions/current")).status).toBe(409);
    const { data } = await bodyOf(await gateway.send("GET", "/v1/audit", { tenant: "acme" }));
    const entries = Object.fromEntries(data.map((entry) => [entry.action, entry]));
    expect(entries).toMatchObject({
      "portal-session.delete": { target: id, actor: id },
      "portal-session.create": { target: id, actor: expect.stringMatching(/^pco_/) },
      "portal-code.create": { actor: "operator" },
    });
  });

  it("ends with the token that opened it, and so does a code that was not used yet", async () => {
    const response = await gateway.send("POST", "/v1/tokens", { tenant: "acme", json: { name: "server", scopes: ["manage", "read"] } });
    const { id, token } = await bodyOf(response);
    const session = await openSession({}, { token });
    const { code } = await makeCode({}, { token });
    await sendAndWait("DELETE", `/v1/tokens/${id}`, { tenant: "acme" });
    expect(await statusWith(session.token)).toBe(401);
    expect((await exchange(code)).status).toBe(403);
  });

  it("is not opened for a tenant that is suspended, or gone", async () => {
    const { code } = await makeCode();
    await sendAndWait("POST", "/v1/tenants/acme/suspend");
    expect((await exchange(code)).status).toBe(403);
    await sendAndWait("POST", "/v1/tenants/acme/resume");
    expect((await exchange(code)).status).toBe(201);
    const last = await makeCode();
    await sendAndWait("DELETE", "/v1/tenants/acme");
    expect((await exchange(last.code)).status).toBe(403);
    expect(gateway.sqlite.prepare("SELECT 1 FROM portal_codes").all()).toEqual([]);
  });

  it("and its code are removed when they are over", async () => {
    await openSession();
    await makeCode();
    expect(await deleteExpiredPortal(gateway.db, Date.now())).toBe(0);
    expect(await deleteExpiredPortal(gateway.db, Date.now() + 3_600_000)).toBe(2);
  });
});
