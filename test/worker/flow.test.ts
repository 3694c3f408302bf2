import { applyD1Migrations, type D1Migration, runDurableObjectAlarm, runInDurableObject } from "cloudflare:test";
import { env, exports } from "cloudflare:workers";
import { afterEach, beforeAll, describe, expect, it, vi } from "vitest";
import { z } from "zod";
import { untilCachesExpired } from "../../src/delivery/freshness.ts";
import { isolateOf } from "../../src/isolate.ts";
import { maintain } from "../../src/maintenance.ts";
import { streamStub } from "../../src/streams/stub.ts";

const bindings = z
  .object({ POSTERN_ADMIN_TOKEN: z.string(), TEST_MIGRATIONS: z.array(z.custom<D1Migration>()) })
  .parse(env);
const WAIT = { timeout: 20_000, interval: 25 };
const PATIENCE = { timeout: 60_000 };

async function api(method: string, path: string, body?: unknown): Promise<any> {
  const response = await exports.default.fetch(
    new Request(`https://postern.test${path}`, {
      method,
      headers: { authorization: `Bearer ${bindings.POSTERN_ADMIN_TOKEN}`, "content-type": "application/json" },
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
    }),
  );
  const text = await response.text();
  return /json/.test(response.headers.get("content-type") ?? "") ? JSON.parse(text) : text;
}

type Received = { readonly path: string; readonly id: string; readonly attempt: number; readonly body: any };
const received: Received[] = [];
let answer: (request: Received) => Promise<number> = async () => 204;
let underWay = 0;
let most = 0;

const at = (path: string): Received[] => received.filter((request) => request.path === path);
const bodiesAt = (path: string): unknown[] => at(path).map(({ body }) => body);

async function subscribe(path: string, topics: readonly string[], fields: Record<string, unknown> = {}): Promise<string> {
  const { id } = await api("POST", "/v1/endpoints", { kind: "push", url: `https://hooks.example.com${path}`, topics, ...fields });
  await untilCachesExpired(Date.now());
  return id;
}

const publishAll = (topic: string, count: number, from = 0) =>
  api("POST", "/v1/batch", { messages: Array.from({ length: count }, (_, index) => ({ topic, data: from + index })) });

const streamOf = (topic: string) => env.STREAMS.getByName(`default/topics/${topic}`);

const rowsOf = (topic: string): Promise<{ status: string; attempts: number }[]> =>
  runInDurableObject(streamOf(topic), (_object, { storage }) =>
    storage.sql.exec<{ status: string; attempts: number }>("SELECT status, attempts FROM open_deliveries ORDER BY offset").toArray(),
  );

/** Sets the clock of the whole isolate forward. */
function jump(ms: number): void {
  vi.setSystemTime(Date.now() + ms);
}

beforeAll(async () => {
  vi.useFakeTimers({ toFake: ["Date"], shouldAdvanceTime: true });
  await applyD1Migrations(env.DB, bindings.TEST_MIGRATIONS);
  vi.spyOn(globalThis, "fetch").mockImplementation(async (input, init) => {
    const headers = new Headers(init?.headers);
    const body = JSON.parse(new TextDecoder().decode(init?.body as ArrayBuffer));
    const request = { path: new URL(String(input)).pathname, id: headers.get("webhook-id") ?? "", attempt: Number(headers.get("postern-attempt")), body };
    received.push(request);
    most = Math.max(most, ++underWay);
    const status = await answer(request).finally(() => underWay--);
    return new Response(null, { status });
  });
});
afterEach(() => {
  received.length = 0;
  answer = async () => 204;
  most = 0;
});

/** Fails everything of one endpoint until its circuit opens. */
async function openCircuit(topic: string, path: string): Promise<void> {
  answer = async (request) => (request.path === path ? 503 : 204);
  await publishAll(topic, 25);
  await vi.waitFor(() => expect(at(path)).toHaveLength(25), WAIT);
  jump(31_000);
  await publishAll(topic, 1, 25);
  await vi.waitFor(async () => expect((await circuitsOf(topic)).length).toBe(1), WAIT);
}

const circuitsOf = (topic: string): Promise<unknown[]> =>
  runInDurableObject(streamOf(topic), (_object, { storage }) => storage.sql.exec("SELECT * FROM circuits WHERE closed = 0").toArray());

describe("an endpoint that has failed nearly always for half a minute", PATIENCE, () => {
  it("is tried now and then only, at no cost to what waits, and gets all of it in the end, slowly at first", async () => {
    const id = await subscribe("/dead", ["dead"], { retrySchedule: [3_600, 3_600] });
    await subscribe("/alerts", ["postern.endpoint.*"]);
    await subscribe("/well", ["dead"]);
    await openCircuit("dead", "/dead");
    await vi.waitFor(() => expect(at("/alerts")[0]?.body).toMatchObject({ type: "postern.endpoint.circuit-opened", data: { endpointId: id, attempts: 26 } }), WAIT);
    received.length = 0;
    const sent = vi.spyOn(env.DELIVERIES, "sendBatch");
    await publishAll("dead", 50, 100);
    await vi.waitFor(() => expect(at("/well")).toHaveLength(50), WAIT);
    expect(at("/dead")).toHaveLength(0);
    expect(sent).not.toHaveBeenCalled();
    expect((await rowsOf("dead")).filter(({ status, attempts }) => status === "held" && attempts === 0)).toHaveLength(50);

    expect(await api("GET", `/v1/endpoints/${id}`)).toMatchObject({ status: "active", circuit: "open", circuitOpenedAt: expect.any(String) });
    jump(2_000);
    expect(await api("GET", "/metrics")).toMatch(/postern_endpoints_circuit_open\{tenant="default"\} 1/);

    // one probe, which fails; it was an attempt, the others were not
    jump(10_000);
    await runDurableObjectAlarm(streamOf("dead"));
    await vi.waitFor(() => expect(at("/dead")).toHaveLength(1), WAIT);
    await new Promise((resolve) => setTimeout(resolve, 300));
    expect(at("/dead").map(({ attempt }) => attempt)).toEqual([1]);

    answer = async () => new Promise((resolve) => setTimeout(() => resolve(204), 10));
    most = 0;
    jump(60_000);
    await runDurableObjectAlarm(streamOf("dead"));
    await vi.waitFor(() => expect(at("/dead")).toHaveLength(50), WAIT);
    expect(most).toBeLessThanOrEqual(16);
    expect(at("/dead").slice(1).map(({ attempt }) => attempt)).toEqual(Array(49).fill(1));
    await vi.waitFor(async () => expect(await api("GET", `/v1/endpoints/${id}`)).toMatchObject({ circuit: "closed", circuitOpenedAt: null }), WAIT);
    await vi.waitFor(() => expect(at("/alerts").at(-1)?.body).toMatchObject({ type: "postern.endpoint.circuit-closed" }), WAIT);
    await vi.waitFor(async () => expect((await rowsOf("dead")).filter(({ status }) => status === "held")).toEqual([]), WAIT);
    await publishAll("dead", 1, 999);
    await vi.waitFor(() => expect(bodiesAt("/dead")).toContain(999), WAIT);
  });

  it("keeps its order, if it is an ordered one", async () => {
    const endpointId = await subscribe("/lane", ["lane"], { ordered: true, retrySchedule: Array(30).fill(1) });
    answer = async (request) => (request.path === "/lane" ? 500 : 204);
    await publishAll("lane", 40);
    await vi.waitFor(() => expect(at("/lane").length).toBeGreaterThan(0), WAIT);
    for (let round = at("/lane").length; round < 25; round++) {
      jump(1_500); // its time has come, and the queue need not be waited for
      await env.DELIVERIES.send({ v: 1, stream: "default/topics/lane", refs: [{ offset: 0, endpointId }] });
      await vi.waitFor(() => expect(at("/lane").length).toBeGreaterThan(round), WAIT);
      if ((await circuitsOf("lane")).length > 0) break;
    }
    await vi.waitFor(async () => expect((await circuitsOf("lane")).length).toBe(1), WAIT);
    expect(new Set(bodiesAt("/lane"))).toEqual(new Set([0]));
    answer = async () => 204;
    received.length = 0;
    jump(60_000);
    await runDurableObjectAlarm(streamOf("lane"));
    await vi.waitFor(() => expect(at("/lane")).toHaveLength(40), WAIT);
    expect(bodiesAt("/lane")).toEqual(Array.from({ length: 40 }, (_, index) => index));
  });

  it("is tried at once when its administrator says so", async () => {
    const id = await subscribe("/told", ["told"], { retrySchedule: [3_600] });
    await openCircuit("told", "/told");
    answer = async () => 204;
    received.length = 0;
    await api("POST", `/v1/endpoints/${id}/pause`);
    await api("POST", `/v1/endpoints/${id}/resume`);
    await vi.waitFor(() => expect(at("/told")).toHaveLength(26), WAIT);
    await vi.waitFor(async () => expect((await api("GET", `/v1/endpoints/${id}`)).circuit).toBe("closed"), WAIT);
  });
});

describe("a backlog", PATIENCE, () => {
  it("of an endpoint that is resumed comes as it can take it, a few at a time, and all of it", async () => {
    const id = await subscribe("/resumed", ["resumed"]);
    await api("POST", `/v1/endpoints/${id}/pause`);
    await untilCachesExpired(Date.now());
    await publishAll("resumed", 400);
    await vi.waitFor(async () => expect((await rowsOf("resumed")).filter(({ status }) => status === "held")).toHaveLength(400), WAIT);
    answer = async () => new Promise((resolve) => setTimeout(() => resolve(204), 5));
    await api("POST", `/v1/endpoints/${id}/resume`);
    await vi.waitFor(() => expect(at("/resumed")).toHaveLength(400), WAIT);
    expect(most).toBeLessThanOrEqual(16);
    expect(new Set(at("/resumed").map(({ id: message }) => message)).size).toBe(400);
    await vi.waitFor(async () => expect(await rowsOf("resumed")).toEqual([]), WAIT);
  });

  it("of an endpoint that hung has with it, once it is resumed, what was under way then and failed", async () => {
    const id = await subscribe("/hung", ["hung"], { timeoutSeconds: 30, retrySchedule: [3_600, 3_600] });
    const { promise: timeout, resolve: timeOut } = Promise.withResolvers<void>();
    answer = async () => timeout.then(() => 503);
    await publishAll("hung", 10);
    await vi.waitFor(() => expect(at("/hung")).toHaveLength(10), WAIT);
    await api("POST", `/v1/endpoints/${id}/pause`);
    answer = async () => 204;
    await api("POST", `/v1/endpoints/${id}/resume`);
    await untilCachesExpired(Date.now() + 500); // what waits is let flow once more after a second
    timeOut();
    await vi.waitFor(() => expect(at("/hung")).toHaveLength(20), WAIT);
    expect(at("/hung").slice(10).map(({ attempt }) => attempt)).toEqual(Array(10).fill(2));
    await vi.waitFor(async () => expect(await rowsOf("hung")).toEqual([]), WAIT);
  });
});

describe("an endpoint that was deleted", PATIENCE, () => {
  it("has what is open cancelled within a minute, also when nobody told the streams", async () => {
    const id = await subscribe("/orphan", ["orphan"], { retrySchedule: [86_400] });
    answer = async () => 503;
    await publishAll("orphan", 3);
    await vi.waitFor(async () => expect((await rowsOf("orphan")).filter(({ attempts }) => attempts === 1)).toHaveLength(3), WAIT);
    await streamStub(env.STREAMS, "default/topics/orphan").flushHistory("default/topics/orphan");
    const { data: [message] } = await api("GET", "/v1/messages?topic=orphan");
    expect((await api("GET", `/v1/messages/${message.id}/deliveries`)).data[0]).toMatchObject({ status: "open", attempts: [{ statusCode: 503 }] });
    // as by a process that is killed right after it
    await env.DB.prepare("DELETE FROM endpoints WHERE id = ?").bind(id).run();
    await maintain(env, isolateOf(env), Date.now());
    await vi.waitFor(async () => expect(await rowsOf("orphan")).toEqual([]), WAIT);
    await vi.waitFor(async () => {
      const { data } = await api("GET", `/v1/messages/${message.id}/deliveries`);
      expect(data[0]).toMatchObject({ status: "cancelled", reason: "The endpoint was deleted." });
    }, WAIT);
    expect(at("/orphan")).toHaveLength(3);
  });
});

describe("an endpoint that wants only so many at once", PATIENCE, () => {
  it("never has more under way, gets everything once, and holds up nobody", async () => {
    await subscribe("/narrow", ["narrow"], { maxConcurrency: 3 });
    await subscribe("/wide", ["narrow"]);
    let narrow = 0;
    let mostNarrow = 0;
    answer = async ({ path }) => {
      if (path !== "/narrow") return 204;
      mostNarrow = Math.max(mostNarrow, ++narrow);
      await new Promise((resolve) => setTimeout(resolve, 10));
      narrow--;
      return 204;
    };
    await publishAll("narrow", 120);
    await vi.waitFor(() => expect(at("/wide")).toHaveLength(120), { timeout: 2_000, interval: 10 });
    await vi.waitFor(() => expect(at("/narrow")).toHaveLength(120), WAIT);
    expect(mostNarrow).toBe(3);
    expect(new Set(at("/narrow").map(({ id }) => id)).size).toBe(120);
  });
});
