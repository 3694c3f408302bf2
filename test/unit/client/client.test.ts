import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { createClient, type ClientOptions, type Fetch, PosternConnectionError, PosternProblem } from "../../../src/client/index.ts";

type Seen = { readonly url: string; readonly method: string; readonly headers: Headers; readonly body: unknown; readonly redirect: string | undefined };

const PUBLISHED = { id: "msg_1", topic: "a", offset: 0, time: "2026-11-17T00:00:00.000Z", matched: 1 };

/** Answers calls one after the other with what the script says; the last answer stays. */
function scripted(...answers: (Response | Error | ((init: RequestInit) => Promise<Response>))[]) {
  const seen: Seen[] = [];
  const fetch: Fetch = async (url, init) => {
    const headers = new Headers(init.headers);
    seen.push({ url, method: init.method ?? "GET", headers, body: init.body, redirect: init.redirect });
    const answer = answers[Math.min(seen.length, answers.length) - 1];
    if (answer instanceof Error) throw answer;
    if (typeof answer === "function") return answer(init);
    return answer?.clone() ?? new Response(null, { status: 500 });
  };
  return { seen, fetch };
}

function client(fetch: Fetch, options: Partial<ClientOptions> = {}) {
  return createClient({ url: "https://gateway.example", token: "pst_secret", fetch, ...options });
}

function accepted(): Response {
  return Response.json(PUBLISHED, { status: 202 });
}

function refused(status: number, code: string, headers: Record<string, string> = {}, more: object = {}): Response {
  const body = { type: `https://postern.dev/problems/${code}`, title: "t", status, detail: "mend it", instance: "req_1", ...more };
  return new Response(JSON.stringify(body), { status, headers: { "content-type": "application/problem+json", ...headers } });
}

beforeEach(() => {
  vi.useFakeTimers();
});
afterEach(() => {
  vi.useRealTimers();
  vi.restoreAllMocks();
});

/** Lets all waits pass, and returns how long they were together. */
async function settled<Value>(call: Promise<Value>): Promise<{ readonly result: PromiseSettledResult<Value> | undefined; readonly waitedMs: number }> {
  const startedMs = Date.now();
  const all = Promise.allSettled([call]);
  await vi.runAllTimersAsync();
  const [result] = await all;
  return { result, waitedMs: Date.now() - startedMs };
}

describe("what is sent", () => {
  it("is the data with its content type, the token, the tenant, the attributes and an id", async () => {
    const { seen, fetch } = scripted(accepted());
    const bus = client(fetch, { url: "https://gateway.example/postern/", tenant: "acme" });
    expect(await bus.publish("orders.created", { a: 1 }, { attributes: { Region: "eu west" } })).toEqual(PUBLISHED);
    const [{ url, method, headers, body, redirect }] = seen as [Seen];
    expect({ url, method, body, redirect }).toEqual({
      url: "https://gateway.example/postern/v1/events/orders.created",
      method: "POST",
      body: '{"a":1}',
      redirect: "manual",
    });
    expect(Object.fromEntries(headers)).toEqual({
      authorization: "Bearer pst_secret",
      "postern-tenant": "acme",
      "content-type": "application/json",
      "postern-attribute-region": "eu west",
      "ce-id": expect.stringMatching(/^msg_[0-9a-z]{26}$/),
    });
  });

  it("has the id that was chosen, percent-encoded, or the idempotency key instead", async () => {
    const { seen, fetch } = scripted(accepted());
    const bus = client(fetch);
    await bus.publish("a", "x", { id: "order 17/ü" });
    await bus.publish("a", "x", { idempotencyKey: "key-1" });
    await bus.publish("a", "x", { idempotencyKey: "key-1", id: "17" });
    expect(seen.map(({ headers }) => [headers.get("ce-id"), headers.get("idempotency-key")])).toEqual([
      ["order%2017%2F%C3%BC", null],
      [null, "key-1"],
      ["17", "key-1"],
    ]);
  });

  it("goes as a batch of one when a header could not carry an attribute", async () => {
    const { seen, fetch } = scripted(Response.json({ results: [PUBLISHED] }, { status: 202 }));
    const bus = client(fetch);
    await bus.command("billing/print", Uint8Array.of(255), { attributes: { city: "Zürich" }, id: "17", contentType: "image/x" });
    expect(seen[0]).toMatchObject({ url: "https://gateway.example/v1/batch" });
    expect(JSON.parse(String(seen[0]?.body))).toEqual({
      messages: [{ command: "billing/print", dataBase64: "/w==", contentType: "image/x", attributes: { city: "Zürich" }, id: "17" }],
    });
    await expect(bus.query("billing/print", "x", { attributes: { city: "Zürich" } })).rejects.toMatchObject({ code: "invalid-request" });
  });

  it("is the same text in a batch as alone: a date stays JSON", async () => {
    const { seen, fetch } = scripted(Response.json({ results: [PUBLISHED, PUBLISHED] }, { status: 202 }));
    const date = new Date(0);
    await client(fetch).batch([{ topic: "a", data: date }, { topic: "a", data: { date } }]);
    const { messages } = JSON.parse(String(seen[0]?.body));
    expect(messages).toMatchObject([
      { data: '"1970-01-01T00:00:00.000Z"', contentType: "application/json", id: expect.stringMatching(/^msg_/) },
      { data: '{"date":"1970-01-01T00:00:00.000Z"}', contentType: "application/json", id: expect.stringMatching(/^msg_/) },
    ]);
    expect(messages[0].id).not.toBe(messages[1].id);
  });

  it("is a copy: what the caller does to the bytes later does not reach a retry", async () => {
    const data = Uint8Array.of(1, 2, 3);
    const { seen, fetch } = scripted(refused(503, "overloaded"), accepted());
    const publishing = client(fetch).publish("a", data);
    data.fill(9);
    await settled(publishing);
    expect(seen.map(({ body }) => [...(body as Uint8Array)])).toEqual([[1, 2, 3], [1, 2, 3]]);
  });

  it.each<[string, unknown]>([
    ["undefined", undefined],
    ["a function", () => 1],
    ["a symbol", Symbol("x")],
    ["a bigint", 1n],
    ["a Map", new Map()],
    ["a Promise", Promise.resolve()],
    ["a Blob", new Blob()],
  ])("is never %s, which JSON can not say", async (_what, data) => {
    const { seen, fetch } = scripted(accepted());
    await expect(client(fetch).publish("a", data as object)).rejects.toThrow(TypeError);
    expect(seen).toEqual([]);
  });

  it("asks a token that is a function before every attempt", async () => {
    const { seen, fetch } = scripted(refused(503, "overloaded"), accepted());
    let asked = 0;
    await settled(client(fetch, { token: async () => `token-${++asked}` }).publish("a", "x"));
    expect(seen.map(({ headers }) => headers.get("authorization"))).toEqual(["Bearer token-1", "Bearer token-2"]);
  });

  it("fails as an unreachable gateway does when the token can not be had", async () => {
    const { seen, fetch } = scripted(accepted());
    const down = new Error("the token service is down");
    let asked = 0;
    const token = async (): Promise<string> => {
      if (++asked < 3) throw down;
      return "t";
    };
    expect((await settled(client(fetch, { token }).publish("a", "x"))).result).toMatchObject({ status: "fulfilled" });
    asked = 0;
    const { result } = await settled(client(fetch, { token, maxRetries: 1 }).publish("a", "x"));
    expect(result).toMatchObject({ status: "rejected", reason: { name: "PosternConnectionError", reason: "no-token", cause: down } });
    expect(seen).toHaveLength(1);
  });

  it.each(["", "pst secret", "pst_\n", "pst_ü"])("never is a token that no header can carry (%j), nor does its error show it", async (token) => {
    const { seen, fetch } = scripted(accepted());
    const error: Error = await client(fetch, { token }).publish("a", "x").catch((thrown: unknown) => thrown) as Error;
    expect(error).toBeInstanceOf(TypeError);
    if (token !== "") expect(error.message).not.toContain(token);
    expect(seen).toEqual([]);
  });

  it.each(["ftp://gateway", "gateway", "https://user:pw@gateway", "https://gateway/?a=1", "https://gateway/#a"])("never goes to %s", (url) => {
    expect(() => createClient({ url, token: "t" })).toThrow(TypeError);
  });
});

describe("problems", () => {
  it("have the code, the status, the detail, the fields and the request id", async () => {
    const errors = [{ pointer: "/messages/0/data", detail: "missing" }];
    const { fetch } = scripted(refused(422, "invalid-request", {}, { errors }));
    const error = await client(fetch).publish("a", "x").catch((thrown: unknown) => thrown);
    expect(error).toBeInstanceOf(PosternProblem);
    expect(error).toMatchObject({ code: "invalid-request", status: 422, detail: "mend it", errors, instance: "req_1", retryAfterSeconds: null });
  });

  it.each<[string, Response]>([
    ["a page of a proxy", new Response("<h1>Bad gateway</h1>", { status: 502, headers: { "content-type": "text/html" } })],
    ["a code of a newer gateway", refused(418, "teapot")],
    ["another vendor's problem", new Response('{"type":"https://example.com/invalid-request"}', { status: 400 })],
    ["a redirect", new Response(null, { status: 307, headers: { location: "https://elsewhere.example" } })],
    ["a success that is no answer of ours", new Response("<h1>Welcome</h1>", { status: 200 })],
    ["a success that lacks a field", Response.json({ ...PUBLISHED, offset: "0" })],
  ])("are `other` for %s", async (_what, answer) => {
    const { seen, fetch } = scripted(answer);
    await expect(client(fetch).publish("a", "x")).rejects.toMatchObject({ code: "other", status: answer.status });
    expect(seen).toHaveLength(1);
  });

  it("are `other` for a batch with too few results", async () => {
    const { fetch } = scripted(Response.json({ results: [] }));
    await expect(client(fetch).batch([{ topic: "a", data: 1 }])).rejects.toMatchObject({ code: "other" });
  });
});

describe("trying again", () => {
  const lost = new TypeError("fetch failed");

  it.each<[string, Response | Error]>([
    ["a lost connection", lost],
    ["a full gateway", refused(503, "overloaded", { "retry-after": "1" })],
    ["too many requests", refused(429, "rate-limited", { "retry-after": "1" })],
    ["a first request that still runs", refused(409, "request-in-progress", { "retry-after": "1" })],
  ])("happens after %s, with the same id", async (_what, failure) => {
    const { seen, fetch } = scripted(failure, failure, accepted());
    const { result } = await settled(client(fetch).publish("a", "x"));
    expect(result).toMatchObject({ status: "fulfilled", value: PUBLISHED });
    expect(seen).toHaveLength(3);
    expect(new Set(seen.map(({ headers }) => headers.get("ce-id"))).size).toBe(1);
  });

  it.each<[string, Response]>([
    ["a conflict", refused(409, "conflict")],
    ["a fault of the gateway", refused(500, "internal")],
    ["a refusal", refused(403, "missing-scope")],
    ["silence", refused(504, "query-timeout")],
    ["a wait of an hour", refused(503, "unavailable", { "retry-after": "3600" })],
  ])("does not happen after %s", async (_what, failure) => {
    const { seen, fetch } = scripted(failure, accepted());
    const { result } = await settled(client(fetch).publish("a", "x"));
    expect(result).toMatchObject({ status: "rejected", reason: { status: failure.status } });
    expect(seen).toHaveLength(1);
  });

  it("waits as long as it is told, in seconds or until a date", async () => {
    for (const retryAfter of [() => "7", () => new Date(Date.now() + 7000).toUTCString()]) {
      const { fetch } = scripted(refused(503, "overloaded", { "retry-after": retryAfter() }), accepted());
      const { waitedMs } = await settled(client(fetch).publish("a", "x"));
      expect(waitedMs).toBeGreaterThanOrEqual(6000);
      expect(waitedMs).toBeLessThanOrEqual(7200);
    }
  });

  it("waits with full jitter, up to twice as long each time", async () => {
    for (const [random, waited] of [[0, 0], [0.5, 1500], [1, 3000]] as const) {
      vi.spyOn(Math, "random").mockReturnValue(random);
      const { fetch } = scripted(lost);
      const { waitedMs } = await settled(client(fetch).publish("a", "x"));
      expect(waitedMs).toBe(waited);
    }
  });

  it("ends after as many times as it is told, with the last failure", async () => {
    const { seen, fetch } = scripted(lost);
    const { result } = await settled(client(fetch, { maxRetries: 2 }).publish("a", "x"));
    expect(seen).toHaveLength(3);
    const { reason } = result as PromiseRejectedResult;
    expect(reason).toBeInstanceOf(PosternConnectionError);
    expect(reason).toMatchObject({ reason: "unreachable", cause: lost });
  });

  it("ends with the caller's signal, while it waits", async () => {
    const { seen, fetch } = scripted(lost);
    const leave = new AbortController();
    const publishing = client(fetch).publish("a", "x", { signal: leave.signal });
    const expected = expect(publishing).rejects.toThrow("left");
    leave.abort(new Error("left"));
    await vi.runAllTimersAsync();
    await expected;
    expect(seen.length).toBeLessThanOrEqual(1);
  });

  it("asks a query again under the same id, which waits for the one answer", async () => {
    const { seen, fetch } = scripted(lost, new Response("42", { headers: { "content-type": "text/x" } }));
    const { result } = await settled(client(fetch).query("prices/quote", "x", { timeoutSeconds: 2 }));
    expect(result).toMatchObject({ status: "fulfilled", value: { contentType: "text/x" } });
    expect(seen.map(({ url }) => url)).toEqual(new Array(2).fill("https://gateway.example/v1/queries/prices/quote?timeout=2"));
    expect(seen[0]?.headers.get("ce-id")).toBe(seen[1]?.headers.get("ce-id"));
  });
});

describe("a gateway that does not answer", () => {
  const hangs = (init: RequestInit): Promise<Response> =>
    new Promise((_resolve, reject) => {
      init.signal?.addEventListener("abort", () => reject(init.signal?.reason));
    });

  it("is given up after the timeout", async () => {
    const { fetch } = scripted(hangs);
    const { result, waitedMs } = await settled(client(fetch, { timeoutSeconds: 3, maxRetries: 0 }).publish("a", "x"));
    expect(result).toMatchObject({ status: "rejected", reason: { name: "PosternConnectionError", reason: "timed-out" } });
    expect(waitedMs).toBe(3000);
  });

  it("is given a query's own time on top", async () => {
    const { fetch } = scripted(hangs);
    const { waitedMs } = await settled(client(fetch, { timeoutSeconds: 3, maxRetries: 0 }).query("q/m", "x", { timeoutSeconds: 20 }));
    expect(waitedMs).toBe(23_000);
  });

  it("is given up at once with the caller's signal, whose reason is thrown", async () => {
    const { fetch } = scripted(hangs);
    const leave = new AbortController();
    const publishing = client(fetch).publish("a", "x", { signal: leave.signal });
    const expected = expect(publishing).rejects.toThrow("had enough");
    await vi.advanceTimersByTimeAsync(10);
    leave.abort(new Error("had enough"));
    await expected;
    expect(vi.getTimerCount()).toBe(0);
  });

  it("is not asked at all when the signal was aborted before", async () => {
    const { seen, fetch } = scripted(accepted());
    const signal = AbortSignal.abort(new Error("too late"));
    await expect(client(fetch).publish("a", "x", { signal })).rejects.toThrow("too late");
    expect(seen).toEqual([]);
  });
});

it("leaves no timer behind", async () => {
  const { fetch } = scripted(accepted());
  await client(fetch).publish("a", "x");
  expect(vi.getTimerCount()).toBe(0);
});
