import { beforeEach, describe, expect, it, vi } from "vitest";
import { pruneIdempotencyKeys } from "../../../src/storage/idempotency.ts";
import { bodyOf, makeToken, openGateway, type SendOptions, type TestGateway } from "./gateway.ts";

let gateway: TestGateway;
beforeEach(() => {
  gateway = openGateway();
  for (const method of ["info", "error"] as const) vi.spyOn(console, method).mockImplementation(() => undefined);
});

const json = { name: "ci", scopes: ["read"] };

function post(key: string, options: SendOptions = {}, path = "/v1/tokens"): Promise<Response> {
  return gateway.send("POST", path, { json, ...options, headers: { "idempotency-key": key, ...options.headers } });
}

function tokensMade(): unknown {
  return gateway.sqlite.prepare("SELECT count(*) AS n FROM tokens").get()?.["n"];
}

function rows(): Record<string, unknown>[] {
  return gateway.sqlite.prepare("SELECT * FROM idempotency_keys").all();
}

describe("a POST with an Idempotency-Key", () => {
  it("gets the first response again, byte by byte, and runs once", async () => {
    const first = await post("key-1");
    const again = await post("key-1");
    expect([first.status, again.status]).toEqual([201, 201]);
    expect(await again.text()).toBe(await first.text());
    expect(again.headers.get("content-type")).toBe("application/json");
    expect(again.headers.get("location")).toBe(first.headers.get("location"));
    expect([first.headers.get("idempotency-replayed"), again.headers.get("idempotency-replayed")]).toEqual([null, "true"]);
    expect(again.headers.get("x-request-id")).not.toBe(first.headers.get("x-request-id"));
    expect(tokensMade()).toBe(1);
  });

  it("keeps no secret of the response in clear, and not the key", async () => {
    const { token } = await bodyOf(await post("key-in-clear"));
    const stored = JSON.stringify(rows());
    expect(stored).not.toContain(token.slice(4));
    expect(stored).not.toContain(btoa(token).slice(4, 20));
    expect(stored).not.toContain("key-in-clear");
  });

  it("gets its own refusal again", async () => {
    const bad = { json: { name: "" } };
    const [first, again] = [await post("key-2", bad), await post("key-2", bad)];
    expect([first.status, again.status]).toEqual([422, 422]);
    expect(again.headers.get("idempotency-replayed")).toBe("true");
    expect(again.headers.get("content-type")).toBe("application/problem+json");
  });

  it.each([
    ["another body", { json: { ...json, name: "other" } }, "/v1/tokens"],
    ["another path", {}, "/v1/tenants"],
    ["another query", {}, "/v1/tokens?x=1"],
  ])("is refused with %s", async (_what, options, path) => {
    await post("key-3");
    const response = await post("key-3", options, path);
    expect(response.status).toBe(422);
    expect((await bodyOf(response)).type).toMatch(/idempotency-mismatch$/);
  });

  it("gives no token an answer it could not have asked for", async () => {
    await post("key-4");
    const reader = await makeToken(gateway, ["read"]);
    const response = await post("key-4", { token: reader });
    expect(await response.text()).not.toContain("pst_");
    expect(response.status).toBe(422);
  });

  it("is a key of its own in each tenant", async () => {
    await gateway.send("POST", "/v1/tenants", { json: { id: "keyed" } });
    const [one, other] = [await post("key-5"), await post("key-5", { tenant: "keyed" })];
    expect([one.status, other.status]).toEqual([201, 201]);
    expect(other.headers.has("idempotency-replayed")).toBe(false);
    expect(tokensMade()).toBe(2);
  });

  it("runs once when it comes twice at the same time: the other is told to wait", async () => {
    const responses = await Promise.all([post("key-6"), post("key-6")]);
    expect(responses.map(({ status }) => status).sort()).toEqual([201, 409]);
    const waiting = responses.find(({ status }) => status === 409);
    expect((await bodyOf(waiting)).type).toMatch(/request-in-progress$/);
    expect(Number(waiting?.headers.get("retry-after"))).toBeGreaterThan(0);
    expect(tokensMade()).toBe(1);
    expect((await post("key-6")).status).toBe(201);
  });

  it("runs again when the first run has crashed, but not before that is sure", async () => {
    await post("key-7");
    const crash = (agoMs: number) =>
      gateway.sqlite.prepare("UPDATE idempotency_keys SET state = 'running', response = NULL, started_at = ?").run(Date.now() - agoMs);
    crash(55_000);
    expect((await post("key-7")).status).toBe(409);
    crash(61_000);
    expect((await post("key-7", { json: { ...json, name: "other" } })).status).toBe(422);
    expect((await post("key-7")).status).toBe(201);
    expect(tokensMade()).toBe(2);
  });

  it("runs again after a failure of ours", async () => {
    const { prepare } = gateway.db;
    const broken = vi.spyOn(gateway.db, "prepare").mockImplementation((sql) => {
      if (sql.includes("INSERT INTO tokens")) throw new Error("D1_ERROR: Network connection lost.");
      return prepare(sql);
    });
    expect((await post("key-8")).status).toBe(503);
    expect(rows()).toEqual([]);
    broken.mockRestore();
    expect((await post("key-8")).status).toBe(201);
  });

  it("runs again once the scope it lacked is there", async () => {
    const token = await makeToken(gateway, ["manage"]);
    expect((await post("key-scope", { token })).status).toBe(403);
    expect((await post("key-scope")).status).toBe(201);
  });

  it("answers although the response could not be kept", async () => {
    const { prepare } = gateway.db;
    vi.spyOn(gateway.db, "prepare").mockImplementation((sql) => {
      if (sql.includes("state = 'done'")) throw new Error("D1_ERROR: Network connection lost.");
      return prepare(sql);
    });
    expect((await post("key-9")).status).toBe(201);
  });

  it.each(["", " ", "a b", "ü", "a".repeat(256)])("is refused with a key that is none: %j", async (key) => {
    const response = await post(key);
    expect(response.status).toBe(422);
    expect((await bodyOf(response)).errors[0]?.pointer).toBe("header:idempotency-key");
  });

  it("takes a key of 255 visible characters", async () => {
    expect((await post("~".repeat(255))).status).toBe(201);
  });

  it("is refused when too large to be compared", async () => {
    const body = new Uint8Array(1024 * 1024 + 1);
    const response = await gateway.send("POST", "/v1/events/orders", { body, headers: { "idempotency-key": "k" } });
    expect(response.status).toBe(413);
  });

  it.each([
    ["CloudEvents", "/v1/events/orders", "application/cloudevents-batch+json", 5 * 1024 * 1024],
    ["a stream", "/v1/stream/notes", "text/plain", 16 * 1024 * 1024],
  ])("of %s may be as large as one without a key", async (_what, path, contentType, maxBytes) => {
    const headers = { "idempotency-key": "large", "content-type": contentType };
    const send = (bytes: number) => gateway.send("POST", path, { body: new Uint8Array(bytes), headers });
    expect((await send(maxBytes + 1)).status).toBe(413);
    expect((await send(maxBytes)).status).not.toBe(413); // it is no JSON, and there is no such stream
  });
});

it("is not asked about other methods or without a key", async () => {
  await gateway.send("GET", "/v1/tokens", { headers: { "idempotency-key": "get" } });
  await gateway.send("POST", "/v1/tokens", { json });
  expect(rows()).toEqual([]);
});

it("is forgotten after its time, as many at once as are asked for", async () => {
  for (const key of ["a", "b", "c"]) await post(key);
  gateway.sqlite.exec("UPDATE idempotency_keys SET started_at = 1000");
  await post("d");
  expect(await pruneIdempotencyKeys(gateway.db, 2_000, 2)).toBe(2);
  expect(await pruneIdempotencyKeys(gateway.db, 2_000, 2)).toBe(1);
  expect(rows()).toHaveLength(1);
});
