import { setTimeout as delay } from "node:timers/promises";
import { afterAll, afterEach, beforeAll, describe, expect, it } from "vitest";
import { call, createEndpoint, eventually, publish } from "./api.ts";
import { type Gateway, startGateway } from "./gateway.ts";
import { type Receiver, status, startReceiver } from "./receiver.ts";

let gateway: Gateway;
let receiver: Receiver;

beforeAll(async () => {
  receiver = await startReceiver();
  gateway = await startGateway({ env: { POSTERN_ALLOW_HOSTS: receiver.host } });
});
afterEach(() => receiver.answerWith(status(204)));
afterAll(async () => {
  await gateway.dispose();
  await receiver.close();
});

function arrivals(path: string) {
  return receiver.requests.filter((request) => request.path === path);
}

function bodies(path: string): string[] {
  return arrivals(path).map(({ body }) => body.toString());
}

async function command(target: string, raw: string): Promise<{ id: string }> {
  const answer = await call(gateway, "POST", `/v1/commands/${target}`, { raw, headers: { "content-type": "text/plain" } });
  expect(answer.status).toBe(202);
  return answer.json;
}

describe("what QiMB does", () => {
  it("Q1: two endpoints on one topic both receive an event", async () => {
    for (const path of ["/q1-a", "/q1-b"]) await createEndpoint(gateway, { url: receiver.url + path, topics: ["q1"] });
    await publish(gateway, "q1", "x");
    await receiver.until(() => arrivals("/q1-a").length === 1 && arrivals("/q1-b").length === 1);
  });

  it("Q2: an event without a subscriber is kept, and not delivered to one that comes later by itself", async () => {
    const { id, matched } = await publish(gateway, "q2", "before");
    expect(matched).toBe(0);
    await createEndpoint(gateway, { url: `${receiver.url}/q2`, topics: ["q2"] });
    await publish(gateway, "q2", "after");
    await receiver.until(() => arrivals("/q2").length === 1);
    expect(bodies("/q2")).toEqual(["after"]);
    const content = await eventually(() => call(gateway, "GET", `/v1/messages/${id}/content`), ({ status: code }) => code === 200);
    expect(content.bytes.toString()).toBe("before");
  });

  it("Q3: of a queue bound to a topic exactly one member gets each message; with none they wait", async () => {
    expect((await call(gateway, "PUT", "/v1/queues/q3", { body: { topics: ["q3.*"] } })).status).toBe(201);
    const { matched } = await publish(gateway, "q3.made", "waits");
    expect(matched).toBe(1);
    await eventually(() => call(gateway, "GET", "/v1/queues/q3"), ({ json }) => json.depth === 1);
    for (const path of ["/q3-a", "/q3-b"]) await createEndpoint(gateway, { url: receiver.url + path, queue: "q3" });
    await receiver.until(() => arrivals("/q3-a").length + arrivals("/q3-b").length === 1);
    for (let count = 0; count < 20; count++) await publish(gateway, "q3.made", String(count));
    await receiver.until(() => arrivals("/q3-a").length + arrivals("/q3-b").length === 21);
    await delay(500);
    expect([...bodies("/q3-a"), ...bodies("/q3-b")].sort()).toEqual(["waits", ...Array.from({ length: 20 }, (_, count) => String(count))].sort());
    expect(Math.min(arrivals("/q3-a").length, arrivals("/q3-b").length)).toBeGreaterThan(5);
  });

  it("Q3: a failed attempt goes to another member", async () => {
    receiver.answerWith((request, response) => status(request.path === "/q3-bad" ? 500 : 204)(request, response));
    await createEndpoint(gateway, { url: `${receiver.url}/q3-bad`, queue: "q3-failover" });
    await createEndpoint(gateway, { url: `${receiver.url}/q3-good`, queue: "q3-failover" });
    for (let count = 0; count < 6; count++) await command("q3-failover/work", String(count));
    await receiver.until(() => new Set(bodies("/q3-good")).size === 6);
    expect(arrivals("/q3-bad").length).toBeGreaterThan(0);
  });

  it("Q4: a direct message to a node that does not exist yet is delivered when it registers, and at once afterwards", async () => {
    const first = await call(gateway, "POST", "/v1/direct/node-4.eu", { raw: "early", headers: { "content-type": "text/plain" } });
    expect(first.status).toBe(202);
    await delay(700);
    await createEndpoint(gateway, { url: `${receiver.url}/q4`, node: "node-4.eu" });
    await receiver.until(() => arrivals("/q4").length === 1, 5_000);
    await call(gateway, "POST", "/v1/direct/node-4.eu", { raw: "late", headers: { "content-type": "text/plain" } });
    await receiver.until(() => arrivals("/q4").length === 2);
    expect(bodies("/q4")).toEqual(["early", "late"]);
    expect(arrivals("/q4")[0]!.headers["webhook-id"]).toBe(first.json.id);
    const taken = await call(gateway, "POST", "/v1/endpoints", { body: { kind: "push", url: receiver.url, node: "node-4.eu" } });
    expect(taken.status).toBe(409);
  });

  it("Q9: after unsubscribing nothing comes any more", async () => {
    const { id } = await createEndpoint(gateway, { url: `${receiver.url}/q9`, topics: ["q9"] });
    await publish(gateway, "q9", "1");
    await receiver.until(() => arrivals("/q9").length === 1);
    const { json } = await call(gateway, "GET", `/v1/subscriptions?endpointId=${id}`);
    expect((await call(gateway, "DELETE", `/v1/subscriptions/${json.data[0].id}`)).status).toBe(204);
    expect((await publish(gateway, "q9", "2")).matched).toBe(0);
  });
});

describe("what publish-subscribe on SQS with a subscriber database does", () => {
  it("B1: subscribers in the database are matched at publish, by pattern and filter, each with its own deliveries", async () => {
    await createEndpoint(gateway, { url: `${receiver.url}/b1-all`, topics: ["b1.**"] });
    await createEndpoint(gateway, { url: `${receiver.url}/b1-one`, topics: ["b1.*"] });
    await createEndpoint(gateway, { url: `${receiver.url}/b1-red`, topics: ["b1.**"], filter: { colour: ["red"] } });
    const header = { "content-type": "text/plain", "postern-attribute-colour": "red" };
    expect((await publish(gateway, "b1.a", "1")).matched).toBe(2);
    expect((await publish(gateway, "b1.a.b", "2", header)).matched).toBe(2);
    await receiver.until(() => arrivals("/b1-all").length === 2 && arrivals("/b1-one").length === 1 && arrivals("/b1-red").length === 1);
  });

  it("B2: one subscriber that fails does not affect the others and gets everything afterwards", async () => {
    let failing = true;
    receiver.answerWith((request, response) => status(failing && request.path === "/b2-3" ? 500 : 204)(request, response));
    const paths = ["/b2-0", "/b2-1", "/b2-2", "/b2-3"];
    for (const path of paths) await createEndpoint(gateway, { url: receiver.url + path, topics: ["b2"], retrySchedule: Array(30).fill(1) });
    const startedAt = Date.now();
    const ids = await Promise.all(Array.from({ length: 50 }, async (_, index) => (await publish(gateway, "b2", String(index))).id));
    await receiver.until(() => paths.slice(0, 3).every((path) => arrivals(path).length === 50));
    expect(Date.now() - startedAt).toBeLessThan(10_000);
    failing = false;
    await receiver.until(() => ids.every((id) => arrivals("/b2-3").some(({ headers }) => headers["webhook-id"] === id)));
    await delay(500);
    expect(paths.slice(0, 3).map((path) => arrivals(path).length)).toEqual([50, 50, 50]);
  });

  it.each([40, 300, 2_500])("B3: a fan-out to %i subscribers that dies half way reaches every one of them", async (count) => {
    const topic = `b3.${count}`;
    const queue: number[] = Array.from({ length: count }, (_, index) => index);
    await Promise.all(
      Array.from({ length: 16 }, async () => {
        for (let index = queue.pop(); index !== undefined; index = queue.pop()) {
          await createEndpoint(gateway, { url: `${receiver.url}/${topic}/${index}`, topics: [topic], retrySchedule: [1, 1, 1, 1, 1] });
        }
      }),
    );
    const reached = () => new Set(receiver.requests.filter(({ path }) => path.startsWith(`/${topic}/`)).map(({ path }) => path)).size;
    expect((await publish(gateway, topic, "x")).matched).toBe(count);
    await receiver.until(() => reached() > count / 10);
    await gateway.kill9();
    const before = reached();
    gateway = await gateway.restart();
    await receiver.until(() => reached() === count, 60_000);
    expect(before).toBeLessThanOrEqual(count);
  }, 120_000);
});
