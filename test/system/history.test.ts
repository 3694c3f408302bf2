import { setTimeout as delay } from "node:timers/promises";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { call, createEndpoint, deliveriesOf, eventually, publish } from "./api.ts";
import { type Gateway, startGateway } from "./gateway.ts";
import { type Receiver, startReceiver } from "./receiver.ts";

/** Longer than an isolate takes an old answer for a current one. */
const CACHES_EXPIRE_MS = 1_200;

let gateway: Gateway;
let receiver: Receiver;

beforeAll(async () => {
  receiver = await startReceiver();
  receiver.answerWith(async ({ path }, response) => {
    if (path.startsWith("/slow")) await delay(2_500);
    response.writeHead(path.startsWith("/bad") ? 500 : 204).end();
  });
  gateway = await startGateway({ env: { POSTERN_ALLOW_HOSTS: receiver.host } });
});
afterAll(async () => {
  await gateway.dispose();
  await receiver.close();
});

async function subscribe(path: string, topic: string, fields: Record<string, unknown> = {}): Promise<string> {
  const { id } = await createEndpoint(gateway, { url: `${receiver.url}/${path}`, topics: [topic], retrySchedule: [], ...fields });
  return id;
}

const get = async (path: string) => (await call(gateway, "GET", path)).json;

/** Everything of a list, page by page. */
async function pages(path: string, limit: number): Promise<any[]> {
  const rows: any[] = [];
  for (let cursor = ""; ; ) {
    const page = await get(`${path}${path.includes("?") ? "&" : "?"}limit=${limit}${cursor}`);
    rows.push(...page.data);
    if (page.next === null) return rows;
    cursor = `&cursor=${page.next}`;
  }
}

describe("history", () => {
  it("of hundreds of messages on two topics lists each once, newest first, with the attempts and their statistics", async () => {
    const endpointId = await subscribe("all", "many.*");
    const ids: string[] = [];
    for (let batch = 0; batch < 4; batch++) {
      const messages = Array.from({ length: 100 }, (_, index) => ({ topic: `many.${index % 2 === 0 ? "even" : "odd"}`, data: { batch, index } }));
      const answer = await call(gateway, "POST", "/v1/batch", { body: { messages } });
      ids.push(...answer.json.results.map((result: { id: string }) => result.id));
    }
    const attemptsPath = `/v1/endpoints/${endpointId}/attempts`;
    await eventually(() => get(`/v1/endpoints/${endpointId}/stats`), (stats) => stats.attempts === 400);
    const listed = [...await pages("/v1/messages?topic=many.even", 33), ...await pages("/v1/messages?topic=many.odd", 250)];
    expect(listed.map(({ id }) => id).sort()).toEqual([...ids].sort());
    const times = (await pages("/v1/messages", 61)).map(({ time }) => time);
    expect(times).toEqual([...times].sort().reverse());
    const attempts = await pages(attemptsPath, 77);
    expect(attempts.map(({ messageId }) => messageId).sort()).toEqual([...ids].sort());
    expect(new Set(attempts.map(({ id }) => id)).size).toBe(400);
    expect(await pages(`${attemptsPath}?status=failed`, 50)).toEqual([]);
    const [delivery] = await deliveriesOf(gateway, ids[123] ?? "");
    expect(delivery).toMatchObject({ target: endpointId, status: "delivered", attempts: [{ statusCode: 204, error: null }] });
    expect(attempts.find(({ messageId }) => messageId === ids[123])).toMatchObject({ id: delivery.attempts[0].id, deliveryId: delivery.id });
  });

  it("shows a message while a subscriber takes its time, and those after it", async () => {
    await subscribe("slow", "slow.one");
    const quick = await subscribe("quick", "slow.one");
    const { id } = await publish(gateway, "slow.one", "1");
    const { id: next } = await publish(gateway, "slow.one", "2");
    for (const one of [id, next]) {
      const deliveries = await deliveriesOf(gateway, one);
      expect(deliveries.map(({ endpointId, status }) => [endpointId === quick, status]).sort()).toEqual([[false, "open"], [true, "delivered"]]);
    }
    await eventually(() => deliveriesOf(gateway, next), (deliveries) => deliveries.every(({ status, attempts }) => status === "delivered" && attempts.length === 1));
  });
});

describe("with POSTERN_HISTORY=failures", () => {
  it("has what failed with all of its deliveries, and nothing of what was delivered at once", async () => {
    gateway = await gateway.restart({ POSTERN_HISTORY: "failures" });
    const good = await subscribe("good", "thin.*");
    const bad = await subscribe("bad", "thin.bad");
    await delay(CACHES_EXPIRE_MS);
    const { id: delivered } = await publish(gateway, "thin.good", "1");
    const { id: failed } = await publish(gateway, "thin.bad", "2");
    const deliveries = await eventually(() => deliveriesOf(gateway, failed), (rows) => rows.length === 2);
    expect(deliveries.find(({ target }) => target === good)).toMatchObject({ status: "delivered" });
    expect(deliveries.find(({ target }) => target === bad)).toMatchObject({ status: "dead", attempts: [{ statusCode: 500 }] });
    expect((await get("/v1/messages?topic=thin.bad")).data).toMatchObject([{ id: failed }]);
    expect((await get("/v1/messages?topic=thin.good")).data).toEqual([]);
    expect((await call(gateway, "GET", `/v1/messages/${delivered}`)).status).toBe(404);
    // the log has it all the same
    expect((await get("/v1/stream/topics/thin.good?offset=-1"))).toMatchObject([{ id: delivered }]);
  });

  it("names what is wrong with another value", async () => {
    gateway = await gateway.restart({ POSTERN_HISTORY: "some" });
    expect((await call(gateway, "GET", "/v1/messages")).status).toBe(500);
    await eventually(async () => gateway.logs(), (logs) => logs.includes("POSTERN_HISTORY: must be `full` or `failures`"));
  });
});
