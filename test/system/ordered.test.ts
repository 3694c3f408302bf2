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

function bodies(path: string): string[] {
  return receiver.requests.filter((request) => request.path === path).map(({ body }) => body.toString());
}

/** Each once, in the order of their first arrival. */
function distinct(path: string): string[] {
  return [...new Set(bodies(path))];
}

const texts = (count: number) => Array.from({ length: count }, (_, index) => String(index));

async function publishAll(topic: string, all: readonly string[]): Promise<void> {
  const answer = await call(gateway, "POST", "/v1/batch", { body: { messages: all.map((data) => ({ topic, data })) } });
  expect(answer.status).toBe(202);
}

describe("an ordered endpoint", () => {
  it("gets the messages of a topic in the order of the stream, one at a time, retries included", async () => {
    let running = 0;
    let most = 0;
    let attempts = 0;
    receiver.answerWith(async (request, response) => {
      if (request.path !== "/lane") return status(204)(request, response);
      most = Math.max(most, ++running);
      await new Promise((resolve) => setTimeout(resolve, 5));
      running--;
      // Every seventh attempt fails: the lane waits for its retry.
      return status(++attempts % 7 === 0 ? 500 : 204)(request, response);
    });
    await createEndpoint(gateway, { url: `${receiver.url}/lane`, topics: ["lane"], ordered: true, retrySchedule: Array(10).fill(1) });
    await createEndpoint(gateway, { url: `${receiver.url}/free`, topics: ["lane"] });
    await publishAll("lane", texts(30));
    await receiver.until(() => distinct("/lane").length === 30 && distinct("/free").length === 30, 30_000);
    expect(distinct("/lane")).toEqual(texts(30));
    expect(most).toBe(1);
    expect(bodies("/free")).toHaveLength(30);
  });

  it("goes on behind a dead message, which is visible", async () => {
    receiver.answerWith((request, response) => status(request.path === "/poison" && request.body.toString() === "1" ? 500 : 204)(request, response));
    const { id } = await createEndpoint(gateway, { url: `${receiver.url}/poison`, topics: ["poison"], ordered: true, retrySchedule: [1] });
    await publishAll("poison", texts(4));
    await receiver.until(() => bodies("/poison").includes("3"));
    expect(bodies("/poison")).toEqual(["0", "1", "1", "2", "3"]);
    await eventually(() => call(gateway, "GET", `/v1/dead?endpointId=${id}`), ({ json }) => json.data.length === 1);
  });

  it("keeps its order while paused, and across kill -9", async () => {
    const { id } = await createEndpoint(gateway, { url: `${receiver.url}/kept`, topics: ["kept"], ordered: true, retrySchedule: Array(20).fill(1) });
    await call(gateway, "POST", `/v1/endpoints/${id}/pause`);
    for (const text of texts(5)) await publish(gateway, "kept", text);
    gateway = await gateway.restart();
    for (const text of texts(10).slice(5)) await publish(gateway, "kept", text);
    await call(gateway, "POST", `/v1/endpoints/${id}/resume`);
    await receiver.until(() => distinct("/kept").length >= 2, 30_000);
    gateway = await gateway.restart();
    await receiver.until(() => distinct("/kept").length === 10, 60_000);
    expect(distinct("/kept")).toEqual(texts(10));
  }, 120_000);
});

const KEYS = ["anna", "bert", "cleo"] as const;

/** `count` messages, the keys in turns; each says its key and its place in that key's order. */
const keyedMessages = (topic: string, count: number) =>
  Array.from({ length: count }, (_, index) => {
    const key = KEYS[index % KEYS.length] ?? "";
    return { topic, data: `${key} ${Math.floor(index / KEYS.length)}`, attributes: { customer: key } };
  });

async function publishKeyed(topic: string, count: number): Promise<void> {
  expect((await call(gateway, "POST", "/v1/batch", { body: { messages: keyedMessages(topic, count) } })).status).toBe(202);
}

/** Of one key, what arrived there in the order of its first arrival. */
const ofKey = (all: readonly string[], key: string) => [...new Set(all.filter((text) => text.startsWith(`${key} `)))];
const expectedOf = (key: string, count: number) => Array.from({ length: count }, (_, index) => `${key} ${index}`);

describe("an endpoint that is ordered by a key", () => {
  it("gets the messages of each key in their order, one at a time; a retry holds back its key only", async () => {
    const running = new Map<string, number>();
    const most = new Map<string, number>();
    let together = 0;
    let attempts = 0;
    receiver.answerWith(async (request, response) => {
      const key = request.body.toString().split(" ")[0] ?? "";
      running.set(key, (running.get(key) ?? 0) + 1);
      most.set(key, Math.max(most.get(key) ?? 0, running.get(key) ?? 0));
      together = Math.max(together, [...running.values()].reduce((sum, count) => sum + count, 0));
      await new Promise((resolve) => setTimeout(resolve, 10));
      running.set(key, (running.get(key) ?? 0) - 1);
      // Bert's first one fails for a while, and some of his later ones.
      return status(key === "bert" && (attempts++ < 3 || attempts % 5 === 0) ? 500 : 204)(request, response);
    });
    await createEndpoint(gateway, { url: `${receiver.url}/keyed`, topics: ["keyed"], ordered: true, orderingKey: "Customer", retrySchedule: Array(20).fill(1) });
    await publishKeyed("keyed", 60);
    await receiver.until(() => ["anna", "cleo"].every((key) => ofKey(bodies("/keyed"), key).length === 20), 10_000);
    expect(ofKey(bodies("/keyed"), "bert").length).toBeLessThan(20);
    await receiver.until(() => ofKey(bodies("/keyed"), "bert").length === 20, 40_000);
    for (const key of KEYS) expect(ofKey(bodies("/keyed"), key)).toEqual(expectedOf(key, 20));
    expect([...most.values()]).toEqual([1, 1, 1]);
    expect(together).toBeGreaterThan(1);
  });

  it("keeps the order of each key across kill -9, and puts what has no key in one order", async () => {
    await createEndpoint(gateway, { url: `${receiver.url}/kept-keys`, topics: ["kept-keys"], ordered: true, orderingKey: "customer", retrySchedule: Array(20).fill(1) });
    receiver.answerWith((request, response) => status(bodies("/kept-keys").length < 8 ? 503 : 204)(request, response));
    await publishKeyed("kept-keys", 30);
    await publishAll("kept-keys", texts(5));
    await receiver.until(() => bodies("/kept-keys").length >= 4);
    gateway = await gateway.restart();
    await receiver.until(() => distinct("/kept-keys").length === 35, 60_000);
    for (const key of KEYS) expect(ofKey(bodies("/kept-keys"), key)).toEqual(expectedOf(key, 10));
    expect(distinct("/kept-keys").filter((text) => !text.includes(" "))).toEqual(texts(5));
  }, 120_000);

  it("gets a replay in the order of each key, too, and what is brought back of its dead", async () => {
    await publishKeyed("replayed", 30);
    let failing = true;
    const taken: string[] = [];
    let running = 0;
    let most = 0;
    receiver.answerWith(async (request, response) => {
      most = Math.max(most, ++running);
      await new Promise((resolve) => setTimeout(resolve, 5));
      running--;
      if (!failing) taken.push(request.body.toString());
      return status(failing ? 500 : 204)(request, response);
    });
    const { id } = await createEndpoint(gateway, { url: `${receiver.url}/replayed`, ordered: true, orderingKey: "customer", retrySchedule: [] });
    await call(gateway, "POST", `/v1/endpoints/${id}/replay`, { body: { topic: "replayed" } });
    await eventually(() => call(gateway, "GET", `/v1/dead?endpointId=${id}&limit=250`), ({ json }) => json.data.length === 30);
    for (const key of KEYS) expect(ofKey(bodies("/replayed"), key)).toEqual(expectedOf(key, 10));
    failing = false;
    expect((await call(gateway, "POST", "/v1/dead/replay", { body: { endpointId: id } })).json.count).toBe(30);
    await eventually(async () => taken.length, (count) => count === 30, 30_000);
    for (const key of KEYS) expect(ofKey(taken, key)).toEqual(expectedOf(key, 10));
    expect(most).toBeLessThanOrEqual(KEYS.length);
  });

  it("needs `ordered` for its key, and a key that is an attribute's name", async () => {
    const create = (fields: object) => call(gateway, "POST", "/v1/endpoints", { body: { kind: "push", url: receiver.url, ...fields } });
    for (const fields of [{ orderingKey: "customer" }, { ordered: true, orderingKey: "no name" }, { ordered: true, orderingKey: "" }]) {
      const answer = await create(fields);
      expect({ status: answer.status, pointer: answer.json.errors?.[0]?.pointer }).toEqual({ status: 422, pointer: "/orderingKey" });
    }
    const { json } = await create({ ordered: true, orderingKey: "customer" });
    expect(json.orderingKey).toBe("customer");
    const patch = (body: object) => call(gateway, "PATCH", `/v1/endpoints/${json.id}`, { body });
    expect((await patch({ ordered: false })).json.errors[0].pointer).toBe("/orderingKey");
    expect((await patch({ ordered: false, orderingKey: null })).status).toBe(200);
  });
});

describe.each(["sqs", "durable-object"])("an ordered pull endpoint, in the mailbox %s", (mailbox) => {
  it("gives out the messages of each key in their order, and none before the one ahead of it is acknowledged", async () => {
    receiver.answerWith(status(204));
    gateway = await gateway.restart({ POSTERN_MAILBOX: mailbox });
    const topic = `pulled-${mailbox}`;
    const { json: endpoint } = await call(gateway, "POST", "/v1/endpoints", { body: { kind: "pull", topics: [topic], ordered: true, orderingKey: "customer" } });
    await publishKeyed(topic, 24);
    const pulled: string[] = [];
    const receive = async (wait: number) => (await call(gateway, "GET", `/v1/endpoints/${endpoint.id}/messages?max=10&wait=${wait}&visibility=60`)).json.messages as { data: string; receipt: string }[];
    const settle = (receipts: string[]) => call(gateway, "POST", `/v1/endpoints/${endpoint.id}/ack`, { body: { receipts } });
    for (let round = 0; round < 60 && pulled.length < 24; round++) {
      const messages = await receive(2);
      pulled.push(...messages.map(({ data }) => data));
      // What is not acknowledged yet holds its key back, and no other.
      const [held, ...rest] = messages;
      await settle(rest.map(({ receipt }) => receipt));
      if (held === undefined) continue;
      const others = await receive(0);
      const heldKey = held.data.split(" ")[0] ?? "";
      expect(others.filter(({ data }) => data.startsWith(`${heldKey} `))).toEqual([]);
      pulled.push(...others.map(({ data }) => data));
      await settle([held, ...others].map(({ receipt }) => receipt));
    }
    for (const key of KEYS) expect(pulled.filter((text) => text.startsWith(key))).toEqual(expectedOf(key, 8));
  }, 90_000);

  it("gives them out again when they are replayed", async () => {
    const topic = `again-${mailbox}`;
    const { json: endpoint } = await call(gateway, "POST", "/v1/endpoints", { body: { kind: "pull", topics: [topic], ordered: true, orderingKey: "customer" } });
    const drain = async (): Promise<string[]> => {
      const all: string[] = [];
      for (let round = 0; round < 30 && all.length < 6; round++) {
        const { messages } = (await call(gateway, "GET", `/v1/endpoints/${endpoint.id}/messages?max=10&wait=2`)).json;
        all.push(...messages.map(({ data }: { data: string }) => data));
        await call(gateway, "POST", `/v1/endpoints/${endpoint.id}/ack`, { body: { receipts: messages.map(({ receipt }: { receipt: string }) => receipt) } });
      }
      return all;
    };
    await publishKeyed(topic, 6);
    const first = await drain();
    expect(first).toHaveLength(6);
    await call(gateway, "POST", `/v1/endpoints/${endpoint.id}/replay`, { body: { topic } });
    const again = await drain();
    for (const key of KEYS) expect(ofKey(again, key)).toEqual(expectedOf(key, 2));
  });
});
