import { beforeEach, describe, expect, it, vi } from "vitest";
import { exposition } from "../../../src/http/prometheus.ts";
import { bodyOf, makeToken, openGateway } from "./gateway.ts";

beforeEach(() => {
  for (const method of ["info", "error"] as const) vi.spyOn(console, method).mockImplementation(() => undefined);
  later();
  return () => vi.useRealTimers();
});

let nowMs = Date.now();

/** Past what an isolate remembers of its last answer. */
function later(): void {
  nowMs += 10_000;
  vi.useFakeTimers({ toFake: ["Date"], now: nowMs });
}

describe("/healthz", () => {
  it("is alive whatever else is not", async () => {
    const gateway = openGateway({ DB: undefined, STREAMS: undefined, DELIVERIES: undefined });
    const response = await gateway.send("GET", "/healthz", { token: null });
    expect(response.status).toBe(200);
    expect(await bodyOf(response)).toEqual({ status: "ok", version: expect.stringMatching(/^\d+\.\d+\.\d+$/) });
  });
});

describe("/readyz", () => {
  it("names every part when all is well", async () => {
    const response = await openGateway().send("GET", "/readyz", { token: null });
    const { status, checks } = await bodyOf(response);
    expect([response.status, status]).toEqual([200, "ok"]);
    expect(checks.map((check) => `${check.name} ${check.status}`)).toEqual([
      "configuration ok", "d1 ok", "durable-objects ok", "queue ok", "aws not-configured",
    ]);
  });

  it.each([
    ["d1", { DB: { prepare: () => { throw new Error("D1_ERROR: secret inside"); } } }],
    ["durable-objects", { STREAMS: { getByName: () => ({ ping: async () => { throw new Error("secret inside"); } }) } }],
    ["queue", { DELIVERIES: undefined }],
  ])("answers 503 and names %s when that does not answer, the reason being in the log", async (name, env) => {
    const response = await openGateway(env).send("GET", "/readyz", { token: null });
    const text = await response.clone().text();
    const { checks } = await bodyOf(response);
    expect(response.status).toBe(503);
    const failed = checks.filter((check) => check.status === "failed");
    expect(failed.map((check) => check.name)).toEqual([name]);
    expect(text).not.toContain("inside");
    expect(vi.mocked(console.error).mock.calls.flat().join("")).toContain(name);
  });

  it("is not ready before the migrations", async () => {
    const gateway = openGateway();
    gateway.sqlite.exec("DROP TABLE attempt_packs");
    expect((await gateway.send("GET", "/readyz", { token: null })).status).toBe(503);
  });

  it("gives up on a part that never answers", async () => {
    vi.useFakeTimers({ toFake: ["Date", "setTimeout", "clearTimeout"], now: nowMs });
    const gateway = openGateway({ STREAMS: { getByName: () => ({ ping: () => new Promise(() => undefined) }) } });
    const asked = gateway.send("GET", "/readyz", { token: null });
    await vi.waitFor(() => expect(vi.getTimerCount()).toBe(1));
    await vi.advanceTimersByTimeAsync(3_000);
    const { checks } = await bodyOf(await asked);
    expect(checks.find((check) => check.name === "durable-objects")).toMatchObject({ status: "failed", durationMs: 3_000 });
  });
});

describe("/metrics", () => {
  it("shows an operator every tenant and the requests, a tenant itself only", async () => {
    const gateway = openGateway();
    await gateway.send("POST", "/v1/tenants", { json: { id: "acme" } });
    await gateway.send("POST", "/v1/endpoints", { tenant: "acme", json: { kind: "push", url: "https://example.com/" } });
    gateway.sqlite.exec("INSERT INTO deliveries VALUES ('acme', 1, 'acme/topics/a', 0, 'ep_1', 'msg_1', 'a', 'dead', NULL, NULL, 1, '[]')");
    const token = await makeToken(gateway, ["read"]);
    const own = await (await gateway.send("GET", "/metrics", { token })).text();
    expect(own).toContain('postern_deliveries{tenant="default",status="dead"} 0');
    expect(own).not.toMatch(/acme|postern_http_requests_total/);

    const response = await gateway.send("GET", "/metrics");
    expect(response.headers.get("content-type")).toBe("text/plain; version=0.0.4; charset=utf-8");
    const all = await response.text();
    expect(all).toContain('postern_endpoints{tenant="acme",status="active"} 1\n');
    expect(all).toContain('postern_deliveries{tenant="acme",status="dead"} 1\n');
    expect(all).toMatch(/postern_http_requests_total\{method="POST",route="\/v1\/tenants",status="201"\} [1-9]/);
    expect((await gateway.send("GET", "/metrics", { token: null })).status).toBe(401);
  });

  it("writes each metric with its help and type, and escapes what must be", () => {
    const text = exposition([
      { name: "a_total", type: "counter", help: "One\nline \\ here.", samples: [{ labels: { x: 'q"\\\n' }, value: 2 }, { labels: {}, value: 0.5 }] },
    ]);
    expect(text).toBe('# HELP a_total One\\nline \\\\ here.\n# TYPE a_total counter\na_total{x="q\\"\\\\\\n"} 2\na_total 0.5\n');
  });
});
