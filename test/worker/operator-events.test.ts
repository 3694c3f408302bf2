import { applyD1Migrations, type D1Migration } from "cloudflare:test";
import { env, exports } from "cloudflare:workers";
import { afterEach, beforeAll, describe, expect, it, vi } from "vitest";
import { z } from "zod";
import { untilCachesExpired } from "../../src/delivery/freshness.ts";
import { isolateOf } from "../../src/isolate.ts";
import { maintain } from "../../src/maintenance.ts";
import { publishOperatorEvents } from "../../src/operator-events/publish-pending.ts";
import { insertOperatorEvents } from "../../src/storage/operator-events.ts";

const bindings = z
  .object({ POSTERN_ADMIN_TOKEN: z.string(), TEST_MIGRATIONS: z.array(z.custom<D1Migration>()) })
  .parse(env);
const WAIT = { timeout: 8_000, interval: 25 };
/** Each subscription is waited for until every cache knows it. */
const PATIENCE = { timeout: 30_000 };

type Answer = { readonly status: number; readonly json: any };

async function api(method: string, path: string, body?: unknown): Promise<Answer> {
  const response = await exports.default.fetch(
    new Request(`https://postern.test${path}`, {
      method,
      headers: { authorization: `Bearer ${bindings.POSTERN_ADMIN_TOKEN}`, "content-type": "application/json" },
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
    }),
  );
  const text = await response.text();
  return { status: response.status, json: text === "" ? undefined : JSON.parse(text) };
}

type Received = { readonly path: string; readonly topic: string; readonly id: string; readonly body: any };
const received: Received[] = [];
/** By path; 204 where nothing is said. */
let statuses: Record<string, number> = {};

function at(path: string): Received[] {
  return received.filter((request) => request.path === path);
}

async function subscribe(path: string, topics: readonly string[], fields: Record<string, unknown> = {}): Promise<string> {
  const { json } = await api("POST", "/v1/endpoints", { kind: "push", url: `https://hooks.example.com${path}`, name: path, topics, retrySchedule: [], ...fields });
  await untilCachesExpired(Date.now());
  return json.id;
}

beforeAll(async () => {
  await applyD1Migrations(env.DB, bindings.TEST_MIGRATIONS);
  vi.spyOn(globalThis, "fetch").mockImplementation(async (input, init) => {
    const { pathname: path } = new URL(String(input));
    const headers = new Headers(init?.headers);
    const text = new TextDecoder().decode(init?.body as ArrayBuffer);
    received.push({ path, topic: headers.get("postern-topic") ?? "", id: headers.get("webhook-id") ?? "", body: JSON.parse(text) });
    return new Response(null, { status: statuses[path] ?? 204 });
  });
});
afterEach(() => {
  received.length = 0;
  statuses = {};
});

describe("a topic of the gateway's own events", () => {
  it.each(["postern", "postern.delivery.dead", "postern.mine"])("takes no publisher's event: %s", async (topic) => {
    const { status, json } = await api("POST", `/v1/events/${topic}`, { forged: true });
    expect({ status, type: json.type }).toEqual({ status: 403, type: "https://postern.dev/problems/reserved-topic" });
    expect(json.detail).toMatch(/publish on another/);
  });

  it("refuses the whole batch that has one, and names it", async () => {
    const { status, json } = await api("POST", "/v1/batch", { messages: [{ topic: "mine", data: 1 }, { topic: "postern.mine", data: 2 }] });
    expect({ status, errors: json.errors }).toEqual({ status: 403, errors: [{ pointer: "/messages/1/topic", detail: "is reserved" }] });
  });

  it("is none that a source may lead to", async () => {
    const arn = "arn:aws:sns:us-east-1:123456789012:postern";
    for (const body of [
      { kind: "sns", topicArns: [arn], topic: null },
      { kind: "sns", topicArns: [arn], topic: "postern.sns" },
      { kind: "github", topic: "postern.github", secret: "0123456789abcdef" },
    ]) {
      expect((await api("POST", "/v1/sources", body)).status).toBe(403);
    }
  });

  it("leaves names that only look like it alone, and queues and nodes of that name", async () => {
    expect((await api("POST", "/v1/events/posterns.mine", {})).status).toBe(202);
    expect((await api("POST", "/v1/events/mine.postern", {})).status).toBe(202);
    expect((await api("POST", "/v1/direct/postern.node", {})).status).toBe(202);
  });
});

describe("operators", PATIENCE, () => {
  it("are told that an endpoint was disabled, why, and that it was enabled again; who subscribes to all is not", async () => {
    await subscribe("/alerts", ["postern.endpoint.*"]);
    await subscribe("/everything", ["**"]);
    statuses["/gone"] = 410;
    const id = await subscribe("/gone", ["gone.away"]);
    await api("POST", "/v1/events/gone.away", {});
    await vi.waitFor(() => expect(at("/alerts")).toHaveLength(1), WAIT);
    expect(at("/alerts")[0]).toMatchObject({
      topic: "postern.endpoint.disabled",
      body: { type: "postern.endpoint.disabled", data: { endpointId: id, name: "/gone", reason: "The endpoint answered 410 Gone." } },
    });
    statuses["/gone"] = 204;
    await api("POST", `/v1/endpoints/${id}/enable`);
    await vi.waitFor(() => expect(at("/alerts")).toHaveLength(2), WAIT);
    expect(at("/alerts")[1]?.body).toMatchObject({ type: "postern.endpoint.enabled", data: { endpointId: id } });
    await vi.waitFor(() => expect(at("/gone")).toHaveLength(2), WAIT);
    expect(at("/everything").map(({ topic }) => topic)).toEqual(["gone.away"]);
  });

  it("are told of a dead delivery, by filter if they like, and of its second death once it was replayed", async () => {
    await subscribe("/dead", ["postern.delivery.dead"], { filter: { topic: ["orders.lost"] } });
    statuses["/failing"] = 500;
    const endpointId = await subscribe("/failing", ["orders.*"]);
    const { json: other } = await api("POST", "/v1/events/orders.other", {});
    const { json: lost } = await api("POST", "/v1/events/orders.lost", {});
    await vi.waitFor(() => expect(at("/dead")).toHaveLength(1), WAIT);
    const { json: deliveries } = await api("GET", `/v1/messages/${lost.id}/deliveries`);
    expect(at("/dead")[0]?.body).toMatchObject({
      type: "postern.delivery.dead",
      data: { deliveryId: deliveries.data[0].id, messageId: lost.id, topic: "orders.lost", endpointId, queue: null, reason: expect.stringMatching(/All 1 attempts failed/) },
    });
    await vi.waitFor(async () => expect((await api("GET", `/v1/messages/${other.id}/deliveries`)).json.data[0].status).toBe("dead"), WAIT);
    await api("POST", `/v1/messages/${lost.id}/resend`, { endpointId });
    await vi.waitFor(() => expect(at("/dead")).toHaveLength(2), WAIT);
    expect(new Set(at("/dead").map(({ id }) => id)).size).toBe(2);
    await api("DELETE", `/v1/endpoints/${endpointId}`);
  });

  it("get no event of an event that is dead itself, by whatever way it went", async () => {
    const told = async () => Number(await env.DB.prepare("SELECT sum(count) AS n FROM message_packs WHERE topic = 'postern.delivery.dead'").first("n"));
    const before = await told();
    statuses["/deaf"] = statuses["/deaf-member"] = statuses["/silent"] = 500;
    await subscribe("/deaf", ["postern.**"]);
    await subscribe("/deaf-member", ["postern.delivery.dead"], { queue: "alarms" });
    const endpointId = await subscribe("/silent", ["storm"]);
    await api("POST", "/v1/events/storm", {});
    await vi.waitFor(() => expect(at("/deaf")).toHaveLength(1), WAIT);
    await vi.waitFor(() => expect(at("/deaf-member")).toHaveLength(1), WAIT);
    const dead = () => env.DB.prepare("SELECT count(*) AS n FROM deliveries WHERE status = 'dead' AND (topic LIKE 'postern.%' OR topic = 'alarms')").first("n");
    await vi.waitFor(async () => expect(await dead()).toBe(2), WAIT);
    await new Promise((resolve) => setTimeout(resolve, 500));
    expect((await told()) - before).toBe(1);
    await api("DELETE", `/v1/endpoints/${endpointId}`);
  });

  it("are told of a backlog once an hour", async () => {
    await subscribe("/backlogs", ["postern.queue.backlog"]);
    await api("PUT", "/v1/queues/crowded", {});
    const messages = Array.from({ length: 500 }, (_, index) => ({ command: "crowded/run", data: index }));
    for (let batch = 0; batch < 3; batch++) await api("POST", "/v1/batch", { messages });
    const hourMs = Math.ceil(Date.now() / 3_600_000) * 3_600_000;
    for (const minute of [0, 5, 10, 60]) await maintain(env, isolateOf(env), hourMs + minute * 60_000);
    await vi.waitFor(() => expect(at("/backlogs").filter(({ body }) => body.data.queue === "crowded")).toHaveLength(2), WAIT);
    expect(at("/backlogs")[0]?.body.data).toMatchObject({ queue: "crowded", depth: 1_500 });
  });
});

describe("what is to be told", () => {
  it("is published once, though it was stored and published again, and is forgotten then", async () => {
    await subscribe("/once", ["postern.queue.backlog"]);
    const event = { id: "msg_told_once", tenantId: "default", topic: "postern.queue.backlog", timeMs: 5, attributes: {}, body: "{}" };
    for (let round = 0; round < 3; round++) {
      await env.DB.batch([insertOperatorEvents(env.DB, [event])]);
      expect(await publishOperatorEvents(env)).toBe(1);
    }
    await vi.waitFor(() => expect(at("/once")).toHaveLength(1), WAIT);
    expect(await env.DB.prepare("SELECT count(*) AS n FROM operator_events").first("n")).toBe(0);
  });

  it("waits for the cron where it could not be published at once", async () => {
    await subscribe("/late", ["postern.queue.backlog"]);
    const event = { id: "msg_told_late", tenantId: "default", topic: "postern.queue.backlog", timeMs: 6, attributes: {}, body: "{}" };
    await env.DB.batch([insertOperatorEvents(env.DB, [event])]);
    await maintain(env, isolateOf(env), 61_000);
    await vi.waitFor(() => expect(at("/late")).toHaveLength(1), WAIT);
  });
});
