import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { Hono } from "hono";
import { MAX_JSON_BYTES } from "../../../src/http/middleware/json-body.ts";
import { responseHeaders } from "../../../src/http/middleware/response-headers.ts";
import type { AppEnv } from "../../../src/http/router.ts";
import { openGateway } from "./gateway.ts";

const gateway = openGateway();

type Problem = { type: string; title: string; status: number; detail: string; instance: string; errors?: { pointer: string; detail: string }[] };

async function problemOf(response: Response): Promise<Problem> {
  expect(response.headers.get("content-type")).toBe("application/problem+json");
  const problem = await response.json<Problem>();
  expect(problem.status).toBe(response.status);
  expect(problem.instance).toBe(response.headers.get("x-request-id"));
  expect(problem.detail).not.toBe("");
  return problem;
}

function codeOf(problem: Problem): string | undefined {
  return problem.type.split("/").at(-1);
}

beforeEach(() => {
  for (const method of ["info", "warn", "error"] as const) vi.spyOn(console, method).mockImplementation(() => undefined);
});
afterEach(() => vi.restoreAllMocks());

describe("routes that are not there", () => {
  it.each(["/", "/nope", "/v1", "/v1/nope", "/v1/tokens/a/b", "/in", "/docs/other.css"])("answers 404 at %s, without a token too", async (path) => {
    const problem = await problemOf(await gateway.send("GET", path, { token: null }));
    expect(codeOf(problem)).toBe("not-found");
    expect(problem.status).toBe(404);
  });

  it.each([
    ["PUT", "/v1/tokens", "GET, HEAD, OPTIONS, POST"],
    ["POST", "/v1/tokens/tok_1", "DELETE, GET, HEAD, OPTIONS, PATCH"],
    ["PATCH", "/v1/events/orders", "OPTIONS, POST"],
    ["POST", "/healthz", "GET, HEAD, OPTIONS"],
    ["GET", "/in/src_1", "OPTIONS, POST"],
  ])("answers 405 to %s %s and names what is allowed", async (method, path, allow) => {
    const response = await gateway.send(method, path, { token: null });
    expect(response.headers.get("allow")).toBe(allow);
    expect(codeOf(await problemOf(response))).toBe("method-not-allowed");
    expect(response.status).toBe(405);
  });

  it("answers OPTIONS with what is allowed", async () => {
    const response = await gateway.send("OPTIONS", "/v1/sources", { token: null });
    expect(response.status).toBe(204);
    expect(response.headers.get("allow")).toBe("GET, HEAD, OPTIONS, POST");
  });

  it("answers HEAD as GET, without a body", async () => {
    const response = await gateway.send("HEAD", "/v1/tokens");
    expect(response.status).toBe(200);
    expect(await response.text()).toBe("");
  });
});

describe("bodies that can not be read", () => {
  const json = { "content-type": "application/json" };

  it.each([
    ["a broken literal", '{"name":\n  tru}', "Line 2, column 3"],
    ["a text that ends too early", '{"name":', "Line 1, column 9"],
    ["something after the value", "{} {}", "Line 1, column 4"],
    ["a trailing comma", '{"name":"a",}', "Line 1, column 13"],
    ["nesting without end", "[".repeat(100_000), "nested deeper"],
  ])("answers 400 to %s and says where", async (_what, body, where) => {
    const problem = await problemOf(await gateway.send("POST", "/v1/tokens", { body, headers: json }));
    expect([problem.status, codeOf(problem)]).toEqual([400, "malformed-json"]);
    expect(problem.detail).toContain(where);
  });

  it("answers 400 to what is not UTF-8", async () => {
    const body = new Uint8Array([0x7b, 0x22, 0xff, 0x22, 0x7d]);
    const problem = await problemOf(await gateway.send("POST", "/v1/tokens", { body, headers: json }));
    expect([problem.status, codeOf(problem)]).toEqual([400, "malformed-json"]);
  });

  it.each(["text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", ""])(
    "answers 415 to the content type %j",
    async (type) => {
      const body = new TextEncoder().encode('{"name":"a","scopes":["read"]}');
      const headers = type === "" ? {} : { "content-type": type };
      const problem = await problemOf(await gateway.send("POST", "/v1/tokens", { body, headers }));
      expect([problem.status, codeOf(problem)]).toEqual([415, "unsupported-media-type"]);
    },
  );

  it("takes a content type with parameters, in any case", async () => {
    const body = '{"name":"a","scopes":["read"]}';
    const response = await gateway.send("POST", "/v1/tokens", { body, headers: { "content-type": "Application/JSON; charset=utf-8" } });
    expect(response.status).toBe(201);
  });

  it("answers 413 to more than the limit that says so beforehand", async () => {
    const body = JSON.stringify({ name: "a".repeat(MAX_JSON_BYTES) });
    const headers = { ...json, "content-length": String(body.length) };
    const problem = await problemOf(await gateway.send("POST", "/v1/tokens", { body, headers }));
    expect([problem.status, codeOf(problem)]).toEqual([413, "payload-too-large"]);
  });

  it("answers 413 to more than the limit without reading it all", async () => {
    let sent = 0;
    const body = new ReadableStream({
      pull(controller) {
        sent += 64 * 1024;
        controller.enqueue(new Uint8Array(64 * 1024).fill(0x20));
      },
    });
    const problem = await problemOf(await gateway.send("POST", "/v1/tokens", { body, headers: json }));
    expect([problem.status, codeOf(problem)]).toEqual([413, "payload-too-large"]);
    expect(sent).toBeLessThan(2 * MAX_JSON_BYTES);
  });
});

describe("bodies that break the schema", () => {
  it.each([
    ["a missing field", { scopes: ["read"] }, "/name"],
    ["a field of the wrong type", { name: 7, scopes: ["read"] }, "/name"],
    ["a broken element", { name: "a", scopes: ["read", "rule"] }, "/scopes/1"],
    ["an unknown field", { name: "a", scopes: ["read"], "a/b~c": 1 }, "/a~1b~0c"],
    ["a time that is none", { name: "a", scopes: ["read"], expiresAt: "tomorrow" }, "/expiresAt"],
    ["a time that has passed", { name: "a", scopes: ["read"], expiresAt: "2020-01-01T00:00:00Z" }, "/expiresAt"],
    ["no object at all", ["read"], ""],
    ["null", null, ""],
  ])("answers 422 to %s and points at it", async (_what, json, pointer) => {
    const problem = await problemOf(await gateway.send("POST", "/v1/tokens", { json }));
    expect([problem.status, codeOf(problem)]).toEqual([422, "invalid-request"]);
    expect(problem.errors?.map((error) => error.pointer)).toContain(pointer);
  });

  it.each([{}, { headers: { "content-type": "application/json" } }, { body: "", headers: { "content-type": "application/x-www-form-urlencoded" } }])(
    "names the missing fields of an absent body (%j)",
    async (options) => {
      const problem = await problemOf(await gateway.send("POST", "/v1/tokens", options));
      expect(problem.status).toBe(422);
      expect(problem.errors?.map((error) => error.pointer)).toEqual(["/name", "/scopes"]);
    },
  );

  it.each(["limit=0", "limit=251", "limit=ten", "limit=", "limit=1.5", "limit=-1", "limit=1&limit=2"])(
    "answers 422 to ?%s",
    async (query) => {
      const problem = await problemOf(await gateway.send("GET", `/v1/tokens?${query}`));
      expect(problem.status).toBe(422);
      expect(problem.errors?.[0]?.pointer).toBe("?limit");
    },
  );
});

describe("failures of ours", () => {
  it("answers 500 without a word of what broke, which the log has", async () => {
    const broken = openGateway({ DB: { prepare: () => { throw new TypeError("the inside of it"); } } });
    const response = await broken.send("GET", "/v1/tokens");
    const problem = await problemOf(response);
    expect([problem.status, codeOf(problem)]).toEqual([500, "internal"]);
    expect(JSON.stringify(problem)).not.toContain("inside");
    const lines = vi.mocked(console.error).mock.calls.flat().join("\n");
    expect(lines).toContain("the inside of it");
    expect(lines).toContain(problem.instance);
  });

  it.each(["D1_ERROR: Network connection lost.", "D1_ERROR: D1 DB is overloaded. Requests queued for too long."])(
    "answers 503 and when to come back while D1 says %j",
    async (message) => {
      const broken = openGateway({ DB: { prepare: () => { throw new Error(message); } } });
      const response = await broken.send("GET", "/v1/tokens");
      expect(codeOf(await problemOf(response))).toBe("unavailable");
      expect(response.status).toBe(503);
      expect(Number(response.headers.get("retry-after"))).toBeGreaterThan(0);
    },
  );

  it("takes a broken constraint for a bug, not for an outage", async () => {
    const message = "D1_ERROR: UNIQUE constraint failed: tokens.hash: SQLITE_CONSTRAINT";
    const broken = openGateway({ DB: { prepare: () => { throw new Error(message); } } });
    expect((await broken.send("GET", "/v1/tokens")).status).toBe(500);
  });
});

describe("every response", () => {
  it("has the headers that keep a browser from doing anything with it", async () => {
    const { headers } = await gateway.send("GET", "/v1/tokens");
    expect(headers.get("x-content-type-options")).toBe("nosniff");
    expect(headers.get("content-security-policy")).toContain("default-src 'none'");
    expect(headers.get("cache-control")).toBe("no-store");
    expect(headers.has("strict-transport-security")).toBe(false);
  });

  it("asks for HTTPS for good once it was used", async () => {
    const { headers } = await gateway.send("GET", "https://gateway.example/healthz");
    expect(headers.get("strict-transport-security")).toMatch(/^max-age=\d+/);
  });

  it("carries the caller's request id, or a new one where that is not sane", async () => {
    const given = await gateway.send("GET", "/healthz", { headers: { "x-request-id": "trace-1234:5" } });
    expect(given.headers.get("x-request-id")).toBe("trace-1234:5");
    for (const bad of ["short", "a".repeat(200), "with a space in it", 'quo"te-12345']) {
      const response = await gateway.send("GET", "/healthz", { headers: { "x-request-id": bad } });
      expect(response.headers.get("x-request-id")).toMatch(/^req_[0-9a-z]{26}$/);
    }
  });
});

describe("the access log", () => {
  it("has one line a request with the route's pattern, and no query, body or header", async () => {
    await gateway.send("GET", "/v1/tokens/tok_secretid?limit=7", { headers: { "x-request-id": "log-line-1" } });
    const lines = vi.mocked(console.info).mock.calls.map(([line]) => String(line));
    expect(lines).toHaveLength(1);
    expect(JSON.parse(lines[0] ?? "")).toMatchObject({
      level: "info", message: "request", method: "GET", route: "/v1/tokens/:id", status: 404, tenant: "default",
      tokenId: "operator", requestId: "log-line-1",
    });
    expect(lines[0]).not.toMatch(/limit=7|tok_secretid|pst_/);
  });
});

it("adds its headers to a response that was fetched, whose own can not be changed", async () => {
  const app = new Hono<AppEnv>().use(responseHeaders).get("/", () => {
    const fetched = Response.error(); // its headers are immutable, as those of any fetched response
    Object.defineProperty(fetched, "status", { value: 200 });
    return fetched;
  });
  const response = await app.request("/");
  expect(response.headers.get("x-request-id")).toMatch(/^req_/);
});
