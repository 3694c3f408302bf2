import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { type RendezvousApi, rendezvousName, type Waited } from "../../../src/queries/contract.ts";
import type { Append, AppendResult } from "../../../src/streams/contract.ts";
import { bodyOf, makeToken, openGateway, type SendOptions } from "../http/gateway.ts";

const ANSWER: Waited = { ok: true, answer: { contentType: "application/json", body: new TextEncoder().encode('{"n":1.0}') } };

/** What was asked of streams and rendezvous, in order: `append default/queues/q`, `open msg_1`. */
let calls: string[];
let appends: Append[];
/** What a stream answers; absent: it takes everything. */
let refuse: (stream: string) => AppendResult | null;
let rendezvous: Partial<RendezvousApi>;

const streams = {
  getByName: (name: string) => ({
    ping: async () => "pong",
    append: async (stream: string, taken: Append[]): Promise<AppendResult> => {
      expect(stream).toBe(name);
      calls.push(`append ${stream}`);
      const refused = refuse(stream);
      if (refused !== null) return refused;
      appends.push(...taken);
      return {
        ok: true,
        appended: taken.map(({ message, endpointIds }, offset) => ({ id: message.id, offset, timeMs: 0, matched: endpointIds.length, duplicate: false })),
      };
    },
  }),
};

const meetings = {
  getByName: (name: string) => ({
    open: async (messageId: string, deadlineMs: number) => {
      expect(name).toBe(rendezvousName("default", messageId));
      calls.push(`open ${messageId}`);
      await rendezvous.open?.(messageId, deadlineMs);
    },
    wait: async (messageId: string, waiter: string, untilMs: number) => {
      calls.push(`wait ${messageId}`);
      return rendezvous.wait === undefined ? ANSWER : rendezvous.wait(messageId, waiter, untilMs);
    },
    leave: async (messageId: string) => void calls.push(`leave ${messageId}`),
    answer: async () => ({ ok: false, code: "not-a-query" }),
  }),
};

const gateway = openGateway({ STREAMS: streams, RENDEZVOUS: meetings });
for (const queue of ["jobs", "a.b"]) {
  gateway.sqlite.exec(`INSERT INTO queues (tenant_id, name, created_at, updated_at) VALUES ('default', '${queue}', 0, 0)`);
}

beforeEach(() => {
  calls = [];
  appends = [];
  refuse = () => null;
  rendezvous = {};
  for (const level of ["info", "warn", "error"] as const) vi.spyOn(console, level).mockImplementation(() => undefined);
});
afterEach(() => void vi.restoreAllMocks());

const post = (path: string, options: SendOptions = {}) => gateway.send("POST", path, { body: "x", headers: { "content-type": "text/plain" }, ...options });
const FULL: AppendResult = { ok: false, code: "overloaded", retryAfterSeconds: 3 };

async function problemOf(response: Response): Promise<{ status: number; code: string | undefined; pointers: string[] }> {
  const body = await bodyOf(response);
  return { status: response.status, code: body.type.split("/").at(-1), pointers: (body.errors ?? []).map(({ pointer }) => pointer) };
}

describe("targets", () => {
  it.each([
    "/v1/commands/foobar", "/v1/commands/a%23b", "/v1/commands/jobs/run/fast", "/v1/commands/jobs/run-fast", "/v1/commands/jobs%2Frun",
    "/v1/commands/a..b/run", "/v1/commands/.jobs/run", "/v1/commands/jo%23bs/run", "/v1/commands/jobs/r%C3%BCn",
    `/v1/commands/${"q".repeat(129)}/run`, `/v1/commands/jobs/${"m".repeat(129)}`,
    "/v1/queries/foobar", "/v1/queries/a%23b", "/v1/queries/jobs/run.fast", "/v1/queries/jobs/run/fast",
    "/v1/direct/a%23b", "/v1/direct/a..b", "/v1/direct/a/b", "/v1/direct/a%2Fb",
    "/v1/events/a/b", "/v1/events/a%2Fb", "/v1/events/a%23b",
  ])("refuses POST %s as malformed", async (path) => {
    expect(await problemOf(await post(path))).toMatchObject({ status: 400, code: "malformed-target" });
    expect(calls).toEqual([]);
  });

  it.each(["/v1/commands/nowhere/run", "/v1/queries/nowhere/run", "/v1/commands/JOBS/run"])("finds no queue for %s", async (path) => {
    expect(await problemOf(await post(path))).toMatchObject({ status: 404, code: "unknown-queue" });
    expect(calls).toEqual([]);
  });

  it("shows another tenant's queue as one that does not exist", async () => {
    await gateway.send("POST", "/v1/tenants", { json: { id: "acme", name: "Acme" } });
    expect(await problemOf(await post("/v1/commands/jobs/run", { tenant: "acme" }))).toMatchObject({ status: 404, code: "unknown-queue" });
  });

  it("asks for the scope to publish", async () => {
    const token = await makeToken(gateway, ["consume", "read"]);
    for (const path of ["/v1/commands/jobs/run", "/v1/queries/jobs/run", "/v1/direct/till"]) {
      expect(await problemOf(await post(path, { token }))).toMatchObject({ status: 403, code: "missing-scope" });
    }
  });
});

describe("POST /v1/commands/{queue}/{method}", () => {
  it("appends to the queue's stream, for one member", async () => {
    const response = await post("/v1/commands/a.b/c", { headers: { "content-type": "text/csv", "postern-attribute-region": "eu" } });
    expect(response.status).toBe(202);
    const [append] = appends;
    expect(await response.json()).toEqual({ id: append?.message.id, topic: "a.b/c", offset: 0, time: "1970-01-01T00:00:00.000Z", matched: 1 });
    expect(calls).toEqual(["append default/queues/a.b"]);
    expect(append).toMatchObject({ endpointIds: ["member"], message: { method: "c", contentType: "text/csv", attributes: { region: "eu" }, deduplicate: false } });
    expect(append?.message).not.toHaveProperty("answerByMs");
    expect(append).not.toHaveProperty("deduplicationKey");
  });

  it("keeps a chosen id, and apart from the same one of another method", async () => {
    const headers = { "ce-specversion": "1.0", "ce-id": "order-1", "ce-source": "/shop", "ce-type": "t", "content-type": "application/json" };
    await post("/v1/commands/jobs/run", { headers });
    await post("/v1/commands/jobs/stop", { headers });
    expect(appends.map(({ message, deduplicationKey }) => [message.id, message.deduplicate, deduplicationKey])).toEqual([
      ["order-1", true, "run/order-1"],
      ["order-1", true, "stop/order-1"],
    ]);
  });

  it("takes a batch of CloudEvents", async () => {
    const events = ["1", "2"].map((id) => ({ specversion: "1.0", id, source: "/s", type: "t", data: {} }));
    const response = await post("/v1/commands/jobs/run", { body: JSON.stringify(events), headers: { "content-type": "application/cloudevents-batch+json" } });
    expect(response.status).toBe(202);
    expect(await response.json()).toMatchObject({ results: [{ id: "1", topic: "jobs/run" }, { id: "2", topic: "jobs/run" }] });
  });

  it("answers 503 with Retry-After when the stream is full, and when it can not be reached", async () => {
    refuse = () => FULL;
    const full = await post("/v1/commands/jobs/run");
    expect([full.headers.get("retry-after"), await problemOf(full)]).toMatchObject(["3", { status: 503, code: "overloaded" }]);
    refuse = () => {
      throw new Error("gone");
    };
    expect(await problemOf(await post("/v1/commands/jobs/run"))).toMatchObject({ status: 503, code: "unavailable" });
  });
});

describe("POST /v1/direct/{node}", () => {
  it("appends to the node's stream, whoever has the name", async () => {
    const response = await post("/v1/direct/till.7");
    expect(response.status).toBe(202);
    expect(await response.json()).toMatchObject({ topic: "till.7", offset: 0, matched: 1 });
    expect(calls).toEqual(["append default/nodes/till.7"]);
    expect(appends).toMatchObject([{ endpointIds: ["node"] }]);
    expect(appends[0]?.message).not.toHaveProperty("method");
  });
});

describe("POST /v1/batch", () => {
  const send = (messages: unknown[], headers: Record<string, string> = {}) => gateway.send("POST", "/v1/batch", { json: { messages }, headers });

  it("sends events, commands and direct messages, one append a stream, results in order", async () => {
    const response = await send([
      { command: "jobs/run", data: 1 }, { topic: "t", data: 2 }, { node: "n", data: 3 }, { command: "jobs/stop", data: 4 }, { topic: "t", data: 5 },
    ]);
    expect(response.status).toBe(202);
    const { results } = await response.json<{ results: { id: string; topic: string; offset: number; matched: number }[] }>();
    expect(results.map(({ topic, offset, matched }) => [topic, offset, matched])).toEqual([["jobs/run", 0, 1], ["t", 0, 0], ["n", 0, 1], ["jobs/stop", 1, 1], ["t", 1, 0]]);
    expect(calls.sort()).toEqual(["append default/nodes/n", "append default/queues/jobs", "append default/topics/t"]);
    const sent = new Map(appends.map(({ message }) => [message.id, [new TextDecoder().decode(message.body), message.method]]));
    expect(results.map(({ id }) => sent.get(id))).toEqual([["1", "run"], ["2", undefined], ["3", undefined], ["4", "stop"], ["5", undefined]]);
  });

  it.each([
    ["none of the three", { data: 1 }, 422, "invalid-request", "/messages/1"],
    ["two of them", { topic: "t", node: "n", data: 1 }, 422, "invalid-request", "/messages/1"],
    ["an empty topic beside a node", { topic: "", node: "n", data: 1 }, 422, "invalid-request", "/messages/1"],
    ["a command without a method", { command: "jobs", data: 1 }, 400, "malformed-target", "/messages/1/command"],
    ["a command with a method too many", { command: "jobs/a/b", data: 1 }, 400, "malformed-target", "/messages/1/command"],
    ["a malformed node", { node: "a#b", data: 1 }, 400, "malformed-target", "/messages/1/node"],
    ["an empty topic", { topic: "", data: 1 }, 400, "malformed-target", "/messages/1/topic"],
    ["a topic that is no text", { topic: 7, data: 1 }, 400, "malformed-target", "/messages/1/topic"],
    ["an unknown queue", { command: "nowhere/run", data: 1 }, 404, "unknown-queue", "/messages/1/command"],
  ])("accepts nothing when a message has %s", async (_what, message, status, code, pointer) => {
    expect(await problemOf(await send([{ topic: "t", data: 0 }, message]))).toEqual({ status, code, pointers: [pointer] });
    expect(calls).toEqual([]);
  });

  it("asks a full stream again while others took theirs, and those no more", async () => {
    let refusals = 2;
    refuse = (stream) => (stream === "default/nodes/full" && refusals-- > 0 ? FULL : null);
    const response = await send([{ node: "full", data: 1 }, { topic: "t", data: 2 }]);
    expect(response.status).toBe(202);
    expect(await response.json()).toMatchObject({ results: [{ topic: "full" }, { topic: "t" }] });
    expect(calls).toEqual(["append default/nodes/full", "append default/topics/t", "append default/nodes/full", "append default/nodes/full"]);
  });

  it("gives up after two seconds on a stream that stays full, and says how to send it again", async () => {
    refuse = (stream) => (stream === "default/nodes/full" ? FULL : null);
    const response = await send([{ node: "full", data: 1 }, { topic: "t", data: 2 }]);
    expect(response.headers.get("retry-after")).toBe("3");
    expect(await response.json()).toMatchObject({ status: 503, detail: expect.stringContaining("same Idempotency-Key") });
    expect(calls.filter((call) => call === "append default/topics/t")).toHaveLength(1);
    expect(calls.filter((call) => call === "append default/nodes/full")).toHaveLength(9);
  });

  it("answers 503 at once when there is no room for any of it", async () => {
    refuse = () => FULL;
    const response = await send([{ node: "a", data: 1 }, { node: "b", data: 2 }]);
    expect([response.headers.get("retry-after"), await problemOf(response)]).toMatchObject(["3", { status: 503, code: "overloaded" }]);
    expect(calls).toEqual(["append default/nodes/a", "append default/nodes/b"]);
  });

  it("gives a batch that was taken in part the same ids again under the same key", async () => {
    const messages = [{ node: "a", data: 1 }, { command: "jobs/run", data: 2 }];
    refuse = (stream) => {
      if (stream === "default/queues/jobs") throw new Error("unreachable");
      return null;
    };
    expect(await problemOf(await send(messages, { "idempotency-key": "k1" }))).toMatchObject({ status: 503, code: "unavailable" });
    const [taken] = appends.splice(0);
    expect(taken?.message.deduplicate).toBe(true);
    refuse = () => null;
    expect((await send(messages, { "idempotency-key": "k1" })).status).toBe(202);
    expect(appends.map(({ message }) => [message.id === taken?.message.id, message.deduplicate])).toEqual([[true, true], [false, true]]);
  });
});

describe("POST /v1/queries/{queue}/{method}", () => {
  it.each(["0", "0.999", "61", "60.5", "-1", "1e1", "abc", "", "15s", "1.2345", "NaN", "060", "%2B5"])("refuses the timeout %j", async (timeout) => {
    expect(await problemOf(await post(`/v1/queries/jobs/run?timeout=${timeout}`))).toEqual({ status: 422, code: "invalid-request", pointers: ["?timeout"] });
    expect(calls).toEqual([]);
  });

  it.each([["?timeout=1", 1000], ["?timeout=2.5", 2500], ["?timeout=60", 60_000], ["", 15_000]])("waits as long as %j says", async (query, waitMs) => {
    const before = Date.now();
    expect((await post(`/v1/queries/jobs/run${query}`)).status).toBe(200);
    const answerByMs = appends[0]?.message.answerByMs ?? 0;
    expect(answerByMs).toBeGreaterThanOrEqual(before + waitMs);
    expect(answerByMs).toBeLessThanOrEqual(Date.now() + waitMs);
  });

  it("opens the rendezvous before it sends, and answers with the answer's own bytes and type", async () => {
    const response = await post("/v1/queries/jobs/run");
    const id = response.headers.get("postern-message-id") ?? "";
    expect(appends).toMatchObject([{ endpointIds: ["member"], message: { id, method: "run" } }]);
    expect(calls).toEqual([`open ${id}`, "append default/queues/jobs", `wait ${id}`]);
    expect([response.status, response.headers.get("content-type"), await response.text()]).toEqual([200, "application/json", '{"n":1.0}']);
    expect(response.headers.get("content-security-policy")).toContain("sandbox");
  });

  it("answers 504 when nobody did in time", async () => {
    rendezvous.wait = async () => ({ ok: false, code: "timed-out" });
    const response = await post("/v1/queries/jobs/run");
    expect(response.headers.get("postern-message-id")).toBe(appends[0]?.message.id);
    expect(await problemOf(response)).toMatchObject({ status: 504, code: "query-timeout" });
  });

  it("waits again when its wait breaks off", async () => {
    let failures = 2;
    rendezvous.wait = async () => {
      if (failures-- > 0) throw new Error("restarted");
      return ANSWER;
    };
    expect((await post("/v1/queries/jobs/run")).status).toBe(200);
    expect(calls.filter((call) => call.startsWith("wait"))).toHaveLength(3);
    expect(calls.filter((call) => call.startsWith("append"))).toHaveLength(1);
  });

  it.each([
    ["is full", () => FULL, "overloaded"],
    ["can not be reached", () => { throw new Error("unreachable"); }, "unavailable"],
  ])("waits for nothing when the queue's stream %s", async (_what, refusal, code) => {
    refuse = refusal;
    expect(await problemOf(await post("/v1/queries/jobs/run"))).toMatchObject({ status: 503, code });
    expect(calls.map((call) => call.split(" ")[0])).toEqual(["open", "append", "leave"]);
  });

  it("sends nothing when the rendezvous can not be opened", async () => {
    rendezvous.open = async () => {
      throw new Error("unreachable");
    };
    expect(await problemOf(await post("/v1/queries/jobs/run"))).toMatchObject({ status: 503, code: "unavailable" });
    expect(appends).toEqual([]);
  });

  const headers = { "ce-specversion": "1.0", "ce-id": "q-1", "ce-source": "/shop", "ce-type": "t", "content-type": "application/json" };
  const idsOf = () => appends.map(({ message }) => message.id);

  it("is the same query under the same chosen id of one asker and target, and another of any other", async () => {
    const token = await makeToken(gateway, ["publish"]);
    await post("/v1/queries/jobs/run", { headers });
    await post("/v1/queries/jobs/run", { headers });
    await post("/v1/queries/jobs/run", { headers, token });
    await post("/v1/queries/jobs/stop", { headers });
    await post("/v1/queries/a.b/run", { headers });
    const [first, again, ...others] = idsOf();
    expect(again).toBe(first);
    expect(new Set([first, ...others]).size).toBe(4);
    expect(first).toMatch(/^msg_/);
    expect(appends[0]).toMatchObject({ message: { deduplicate: true, event: { id: "q-1" } } });
  });

  it("takes one event, not a batch", async () => {
    const batch = JSON.stringify([{ specversion: "1.0", id: "1", source: "/s", type: "t" }]);
    const response = await post("/v1/queries/jobs/run", { body: batch, headers: { "content-type": "application/cloudevents-batch+json" } });
    expect(await problemOf(response)).toMatchObject({ status: 415, code: "unsupported-media-type" });
    expect(calls).toEqual([]);
  });

  it("stops waiting when the caller leaves", async () => {
    const left = new AbortController();
    const waiting = Promise.withResolvers<Waited>();
    rendezvous.wait = async () => {
      left.abort();
      return waiting.promise;
    };
    const { ask } = await import("../../../src/queries/ask.ts");
    const world = { append: streams.getByName("default/queues/jobs").append, rendezvous: meetings.getByName, now: Date.now, pause: async () => undefined, waitUntil: () => undefined };
    const message = { id: "msg_1", deduplicate: false, contentType: "text/plain", attributes: {}, traceparent: "", body: new Uint8Array(), method: "run", answerByMs: Date.now() + 1000 };
    // the fakes are what the tests above use too; their shapes are looser than the contract's
    const asking = ask(world as never, "default", "jobs", message, left.signal);
    await vi.waitFor(() => expect(calls).toContain("leave msg_1"));
    waiting.resolve({ ok: false, code: "timed-out" });
    expect(await asking).toEqual({ ok: false, code: "timed-out" });
  });
});

describe("the rendezvous of a query", () => {
  it("is of its tenant, and spreads over all objects there are", () => {
    const names = Array.from({ length: 1000 }, (_, index) => rendezvousName("acme", `msg_${index}`));
    expect(names.every((name) => /^acme\/[0-9]+$/.test(name))).toBe(true);
    const counts = [...Map.groupBy(names, (name) => name).values()].map(({ length }) => length);
    expect(counts).toHaveLength(16);
    expect(Math.min(...counts)).toBeGreaterThan(20);
  });
});

describe("POST /v1/messages/{id}/reply", () => {
  it("asks for the scope to consume, a body of 1 MiB at most, and a message that exists", async () => {
    const token = await makeToken(gateway, ["publish", "read", "manage"]);
    expect(await problemOf(await post("/v1/messages/msg_1/reply", { token }))).toMatchObject({ status: 403, code: "missing-scope" });
    const large = await post("/v1/messages/msg_1/reply", { body: new Uint8Array(1024 * 1024 + 1) });
    expect(await problemOf(large)).toMatchObject({ status: 413, code: "payload-too-large" });
    expect(await problemOf(await post("/v1/messages/msg_1/reply"))).toMatchObject({ status: 404, code: "not-found" });
  });
});
