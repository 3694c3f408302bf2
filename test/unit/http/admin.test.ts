import { beforeEach, describe, expect, it, vi } from "vitest";
import { recordSubscriptionState } from "../../../src/storage/source-subscriptions.ts";
import { bodyOf, makeToken, openGateway, type TestGateway } from "./gateway.ts";

let gateway: TestGateway;
beforeEach(() => {
  gateway = openGateway();
  vi.spyOn(console, "info").mockImplementation(() => undefined);
  return () => vi.useRealTimers();
});

/** A DELETE or PATCH that is acknowledged only once the isolates' caches have expired. */
async function sendAndWait(...request: Parameters<TestGateway["send"]>): Promise<Response> {
  vi.useFakeTimers({ toFake: ["setTimeout"] });
  const answered = gateway.send(...request);
  await vi.waitFor(() => expect(vi.getTimerCount()).toBe(1));
  await vi.advanceTimersByTimeAsync(1_100);
  const response = await answered;
  vi.useRealTimers();
  return response;
}

function count(table: string, tenantId: string): unknown {
  return gateway.sqlite.prepare(`SELECT count(*) AS n FROM ${table} WHERE tenant_id = ?`).get(tenantId)?.["n"];
}

const ARN = "arn:aws:sns:eu-central-1:123456789012:orders";

describe("tokens", () => {
  it("shows a token's value once and keeps only its hash", async () => {
    const made = await gateway.send("POST", "/v1/tokens", { json: { name: "ci", scopes: ["read", "publish", "read"] } });
    expect(made.status).toBe(201);
    const { token, ...rest } = await bodyOf(made);
    expect(token).toMatch(/^pst_[A-Za-z0-9_-]{32}$/);
    expect(rest).toMatchObject({ name: "ci", scopes: ["publish", "read"], operator: false, expiresAt: null });
    expect(made.headers.get("location")).toBe(`/v1/tokens/${rest.id}`);
    expect(await bodyOf(await gateway.send("GET", `/v1/tokens/${rest.id}`))).toEqual(rest);
    const dump = JSON.stringify(gateway.sqlite.prepare("SELECT * FROM tokens").all()) + JSON.stringify(gateway.sqlite.prepare("SELECT * FROM audit").all());
    expect(dump).not.toContain(token.slice(4));
  });

  it("gives no one more than they have", async () => {
    const admin = await makeToken(gateway, ["admin", "read"]);
    const more = await gateway.send("POST", "/v1/tokens", { token: admin, json: { name: "x", scopes: ["read", "publish"] } });
    expect(more.status).toBe(403);
    expect(await more.text()).toContain("`publish`");
    const operator = await gateway.send("POST", "/v1/tokens", { token: admin, json: { name: "x", scopes: ["read"], operator: true } });
    expect(operator.status).toBe(403);
    expect((await gateway.send("POST", "/v1/tokens", { token: admin, json: { name: "x", scopes: ["read"] } })).status).toBe(201);
  });

  it("lets an operator make operators, with no more scopes than named", async () => {
    const made = await gateway.send("POST", "/v1/tokens", { json: { name: "prometheus", scopes: ["read"], operator: true } });
    const { token, id } = await bodyOf(made);
    await gateway.send("POST", "/v1/tenants", { json: { id: "watched" } });
    expect((await gateway.send("GET", "/v1/stats", { token, tenant: "watched" })).status).toBe(200);
    expect((await gateway.send("GET", "/v1/tenants", { token })).status).toBe(403);
    const { data } = await bodyOf(await gateway.send("GET", "/v1/tokens?operator=true"));
    expect(data.map((one) => one.id)).toEqual([id]);
    expect((await bodyOf(await gateway.send("GET", "/v1/tokens"))).data).toEqual([]);
  });

  it("shows another tenant's token, an operator's and none at all alike: 404", async () => {
    await gateway.send("POST", "/v1/tenants", { json: { id: "acme" } });
    await makeToken(gateway, ["read"], "acme");
    const [foreign] = (await bodyOf(await gateway.send("GET", "/v1/tokens", { tenant: "acme" }))).data;
    const operator = await bodyOf(await gateway.send("POST", "/v1/tokens", { json: { name: "op", scopes: ["read"], operator: true } }));
    const token = await makeToken(gateway, ["admin"]);
    for (const method of ["GET", "DELETE"]) {
      const answers = await Promise.all(
        [foreign?.id, operator.id, "tok_00000000000000000000000000", "%00"].map(async (id) => {
          const response = await gateway.send(method, `/v1/tokens/${id}`, { token });
          return { ...(await bodyOf(response)), instance: "" };
        }),
      );
      expect(new Set(answers.map((answer) => JSON.stringify(answer))).size).toBe(1);
      expect(answers[0]).toMatchObject({ status: 404 });
    }
  });

  it("lists them newest first, page by page", async () => {
    for (const name of ["a", "b", "c"]) await gateway.send("POST", "/v1/tokens", { json: { name, scopes: ["read"] } });
    const names: string[] = [];
    let next: string | null = "";
    for (let page = 0; next !== null; page++) {
      expect(page).toBeLessThan(3);
      const response = await gateway.send("GET", `/v1/tokens?limit=2${next === "" ? "" : `&cursor=${next}`}`);
      const body = await bodyOf(response);
      names.push(...body.data.map((token) => token.name));
      next = body.next;
    }
    expect([...names].sort()).toEqual(["a", "b", "c"]);
  });
});

describe("tenants", () => {
  it("creates, shows and lists them", async () => {
    const made = await gateway.send("POST", "/v1/tenants", { json: { id: "acme", name: "Acme Ltd" } });
    expect(made.status).toBe(201);
    const tenant = await bodyOf(made);
    expect(tenant).toMatchObject({ id: "acme", name: "Acme Ltd" });
    expect(await bodyOf(await gateway.send("GET", "/v1/tenants/acme"))).toEqual(tenant);
    const { data } = await bodyOf(await gateway.send("GET", "/v1/tenants"));
    expect(data.map((one) => one.id)).toEqual(["acme", "default"]);
  });

  it("makes up an id when none is given", async () => {
    const tenant = await bodyOf(await gateway.send("POST", "/v1/tenants", { json: {} }));
    expect(tenant.id).toMatch(/^ten_[0-9a-z]{26}$/);
    expect((await gateway.send("GET", "/v1/tokens", { tenant: tenant.id })).status).toBe(200);
  });

  it.each(["", "-acme", "_acme", "a/b", "a.b", "a".repeat(64), "ä"])("refuses the id %j", async (id) => {
    expect((await gateway.send("POST", "/v1/tenants", { json: { id } })).status).toBe(422);
  });

  it("tells ids apart by case", async () => {
    for (const id of ["Acme_1", "acme_1"]) expect((await gateway.send("POST", "/v1/tenants", { json: { id } })).status).toBe(201);
    await gateway.send("POST", "/v1/sources", { tenant: "Acme_1", json: { kind: "sns", topicArns: [ARN], topic: null } });
    expect((await bodyOf(await gateway.send("GET", "/v1/sources", { tenant: "acme_1" }))).data).toEqual([]);
  });

  it("answers 409 to an id that is taken", async () => {
    expect((await gateway.send("POST", "/v1/tenants", { json: { id: "default" } })).status).toBe(409);
  });

  it("does not delete the default tenant, and 404 what is not there", async () => {
    expect((await gateway.send("DELETE", "/v1/tenants/default")).status).toBe(409);
    expect((await gateway.send("DELETE", "/v1/tenants/absent")).status).toBe(404);
  });

  it("deletes a tenant with everything that is theirs, and nothing of others", async () => {
    for (const id of ["gone", "stays"]) {
      await gateway.send("POST", "/v1/tenants", { json: { id } });
      await gateway.send("POST", "/v1/sources", { tenant: id, json: { kind: "sns", topicArns: [ARN], topic: null } });
      await gateway.send("POST", "/v1/endpoints", { tenant: id, json: { kind: "push", url: "https://example.com/", topics: ["**"] } });
      gateway.sqlite.exec(`
        INSERT INTO message_packs VALUES ('${id}', 1, '${id}/topics/a', 0, 1, 1, 1, 'a', '{}');
        INSERT INTO message_ids VALUES ('${id}', 'o-1', 1, '${id}/topics/a', 0);
        INSERT INTO history_expunged VALUES ('${id}', 1, '${id}/topics/a', 0, 2);
        INSERT INTO deliveries VALUES ('${id}', 1, '${id}/topics/a', 0, 'ep_1', 'o-1', 'a', 'dead', NULL, NULL, 1, '[]');
        INSERT INTO attempt_packs VALUES ('${id}', 'ep_1', 0, '${id}/topics/a', 1, 'a', 0, 0, 1, 0, '{"1":1}', '[[0,1,1,200,"o-1"]]');`);
    }
    const token = await makeToken(gateway, ["admin"], "gone");
    const tables = ["tokens", "sources", "endpoints", "endpoint_secrets", "subscriptions", "audit", "message_packs", "message_ids", "history_expunged", "deliveries", "attempt_packs"];
    expect(tables.filter((table) => count(table, "gone") === 0)).toEqual([]);

    expect((await sendAndWait("DELETE", "/v1/tenants/gone")).status).toBe(204);

    expect(tables.filter((table) => count(table, "gone") !== 0)).toEqual([]);
    expect(tables.filter((table) => table !== "tokens" && count(table, "stays") === 0)).toEqual([]);
    expect((await gateway.send("GET", "/v1/tenants/gone")).status).toBe(404);
    expect((await gateway.send("GET", "/v1/tokens", { token })).status).toBe(401);
  });

  it("gives a deleted tenant's id to no one: its streams may still hold messages", async () => {
    await gateway.send("POST", "/v1/tenants", { json: { id: "former" } });
    await sendAndWait("DELETE", "/v1/tenants/former");
    expect((await gateway.send("POST", "/v1/tenants", { json: { id: "former" } })).status).toBe(409);
  });
});

describe("sources", () => {
  const source = { kind: "sns", topicArns: [ARN], topic: "orders.completed" };

  it("creates one that says where to push and what SNS said about each topic", async () => {
    const made = await gateway.send("POST", "/v1/sources", { json: source });
    expect(made.status).toBe(201);
    const body = await bodyOf(made);
    expect(body).toMatchObject({ ...source, name: null, minVersion: 1, url: `/in/${body.id}` });
    expect(body.subscriptions).toEqual([{ topicArn: ARN, state: "pending", subscriptionArn: null, updatedAt: null }]);

    await recordSubscriptionState(gateway.db, body.id, ARN, "confirmed", `${ARN}:1`, 1_000);
    await recordSubscriptionState(gateway.db, body.id, ARN, "unsubscribed", null, 2_000);
    const shown = await bodyOf(await gateway.send("GET", `/v1/sources/${body.id}`));
    expect(shown.subscriptions).toEqual([
      { topicArn: ARN, state: "unsubscribed", subscriptionArn: null, updatedAt: "1970-01-01T00:00:02.000Z" },
    ]);
  });

  it("records nothing for a source that is gone", async () => {
    await recordSubscriptionState(gateway.db, "src_gone", ARN, "confirmed", null, 1_000);
    expect(gateway.sqlite.prepare("SELECT * FROM source_subscriptions").all()).toEqual([]);
  });

  it.each([
    ["no topic at all", { ...source, topicArns: [] }, "/topicArns"],
    ["an ARN of something else", { ...source, topicArns: ["arn:aws:sqs:eu-central-1:123456789012:orders"] }, "/topicArns/0"],
    ["an ARN of a made-up partition", { ...source, topicArns: ["arn:evil:sns:eu-central-1:123456789012:orders"] }, "/topicArns/0"],
    ["a pattern for an ARN", { ...source, topicArns: ["arn:aws:sns:*:123456789012:*"] }, "/topicArns/0"],
    ["a topic named twice", { ...source, topicArns: [ARN, ARN] }, "/topicArns"],
    ["too many topics", { ...source, topicArns: Array.from({ length: 101 }, (_, index) => `${ARN}${index}`) }, "/topicArns"],
    ["another kind", { ...source, kind: "kafka" }, "/kind"],
    ["an unknown version", { ...source, minVersion: 3 }, "/minVersion"],
  ])("refuses %s", async (_what, json, pointer) => {
    const response = await gateway.send("POST", "/v1/sources", { json });
    expect(response.status).toBe(422);
    const { errors } = await bodyOf(response);
    expect(errors[0]?.pointer).toBe(pointer);
  });

  it("takes the SNS topics' own names where it is not told a topic", async () => {
    const made = await gateway.send("POST", "/v1/sources", { json: { kind: "sns", topicArns: [ARN] } });
    expect(made.status).toBe(201);
    expect(await bodyOf(made)).toMatchObject({ topicArns: [ARN], topic: null });
  });

  it("refuses a topic that is no target: named, or the SNS topic's own where none is named", async () => {
    const named = await gateway.send("POST", "/v1/sources", { json: { ...source, topic: "orders..*" } });
    expect([named.status, (await bodyOf(named)).errors[0]?.pointer]).toEqual([400, "/topic"]);
    const long = `${ARN}${"x".repeat(128)}`;
    const own = await gateway.send("POST", "/v1/sources", { json: { ...source, topicArns: [ARN, long], topic: null } });
    expect([own.status, (await bodyOf(own)).errors[0]?.pointer]).toEqual([400, "/topicArns/1"]);
  });

  it("changes what is named and leaves the rest", async () => {
    const { id } = await bodyOf(await gateway.send("POST", "/v1/sources", { json: source }));
    const changed = await sendAndWait("PATCH", `/v1/sources/${id}`, { json: { topic: null, minVersion: 2 } });
    expect(changed.status).toBe(200);
    expect(await bodyOf(changed)).toMatchObject({ topicArns: [ARN], topic: null, minVersion: 2 });
    expect((await gateway.send("PATCH", `/v1/sources/${id}`, { json: { kind: "sns" } })).status).toBe(422);
  });

  it("is another tenant's 404", async () => {
    await gateway.send("POST", "/v1/tenants", { json: { id: "stranger" } });
    const { id } = await bodyOf(await gateway.send("POST", "/v1/sources", { json: source }));
    for (const [method, json] of [["GET"], ["PATCH", { topic: null }], ["DELETE"]] as const) {
      const response = await gateway.send(method, `/v1/sources/${id}`, { tenant: "stranger", json });
      expect(response.status).toBe(404);
    }
    expect((await bodyOf(await gateway.send("GET", "/v1/sources", { tenant: "stranger" }))).data).toEqual([]);
    expect((await sendAndWait("DELETE", `/v1/sources/${id}`)).status).toBe(204);
    expect((await gateway.send("GET", `/v1/sources/${id}`)).status).toBe(404);
  });
});

describe("the audit log", () => {
  it("has who changed what from what to what, newest first", async () => {
    const { id } = await bodyOf(await gateway.send("POST", "/v1/sources", { json: { kind: "sns", topicArns: [ARN], topic: "a" } }));
    const headers = { "x-request-id": "change-0001", "cf-connecting-ip": "203.0.113.7" };
    await sendAndWait("PATCH", `/v1/sources/${id}`, { json: { topic: "b" }, headers });
    const { data } = await bodyOf(await gateway.send("GET", "/v1/audit"));
    expect(data.map((entry) => entry.action)).toEqual(["source.update", "source.create"]);
    expect(data[0]).toMatchObject({
      actor: "operator", target: id, requestId: "change-0001", ip: "203.0.113.7",
      change: { before: { topic: "a" }, after: { topic: "b" } },
    });
  });

  it("keeps the tenants' entries apart, and what belongs to none for operators", async () => {
    await gateway.send("POST", "/v1/tenants", { json: { id: "one" } });
    const token = await makeToken(gateway, ["admin"], "one");
    const own = await bodyOf(await gateway.send("GET", "/v1/audit", { token }));
    expect(own.data.map((entry) => entry.action)).toEqual(["token.create"]);
    const plane = await bodyOf(await gateway.send("GET", "/v1/audit?operator=true"));
    expect(plane.data.map((entry) => entry.action)).toEqual(["tenant.create"]);
    expect((await bodyOf(await gateway.send("GET", "/v1/audit"))).data).toEqual([]);
  });

  it("has no secret in it", async () => {
    await gateway.send("POST", "/v1/endpoints", {
      json: { kind: "push", url: "https://example.com/", headers: { "x-key": "very-secret-value" } },
    });
    const text = await (await gateway.send("GET", "/v1/audit")).text();
    expect(text).toContain("endpoint.create");
    expect(text).not.toMatch(/very-secret-value|whsec_/);
  });
});
