import { setTimeout as delay } from "node:timers/promises";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { call, createEndpoint, eventually } from "./api.ts";
import { type Gateway, startGateway } from "./gateway.ts";
import { type Receiver, startReceiver } from "./receiver.ts";

let gateway: Gateway;
let receiver: Receiver;
const text = { "content-type": "text/plain" };
const json = { "content-type": "application/json" };

beforeAll(async () => {
  receiver = await startReceiver();
  gateway = await startGateway({ env: { POSTERN_ALLOW_HOSTS: receiver.host } });
  await createEndpoint(gateway, { url: `${receiver.url}/all`, topics: ["**"] });
});
afterAll(async () => {
  await gateway.dispose();
  await receiver.close();
});

function arrivals(topic: string) {
  return receiver.requests.filter(({ headers }) => headers["postern-topic"] === topic);
}

const publish = (topic: string, raw: string | Uint8Array, headers: Record<string, string>) => call(gateway, "POST", `/v1/events/${topic}`, { raw, headers });

describe("an id that the publisher chose", () => {
  it("de-duplicates on its topic: the first result again with 200, and no new delivery", async () => {
    const first = await publish("dedupe", "1", { ...text, "ce-id": "order-17" });
    const again = await publish("dedupe", "1", { ...text, "ce-id": "order-17" });
    const elsewhere = await publish("dedupe.other", "1", { ...text, "ce-id": "order-17" });
    expect([first.status, again.status, elsewhere.status]).toEqual([202, 200, 202]);
    expect(again.json).toEqual(first.json);
    expect(first.json.id).toBe("order-17");
    await receiver.until(() => arrivals("dedupe").length === 1 && arrivals("dedupe.other").length === 1);
    gateway = await gateway.restart();
    expect((await publish("dedupe", "1", { ...text, "ce-id": "order-17" })).status).toBe(200);
    await delay(500);
    expect(arrivals("dedupe")).toHaveLength(1);
  });

  it("is accepted once when many send it at the same time", async () => {
    const answers = await Promise.all(Array.from({ length: 30 }, () => publish("race", "x", { ...text, "ce-id": "once" })));
    expect(answers.filter(({ status }) => status === 202)).toHaveLength(1);
    expect(new Set(answers.map(({ json: { offset } }) => offset))).toEqual(new Set([0]));
  });
});

describe("Idempotency-Key", () => {
  it("gives the first response again, and refuses the key for another request", async () => {
    const headers = { ...text, "idempotency-key": "key-1" };
    const first = await publish("idem", "a", headers);
    const again = await publish("idem", "a", headers);
    const other = await publish("idem", "b", headers);
    const otherAttribute = await publish("idem", "a", { ...headers, "postern-attribute-colour": "red" });
    expect([first.status, again.status, other.status, otherAttribute.status]).toEqual([202, 202, 422, 422]);
    expect(again.json).toEqual(first.json);
    expect(other.json.type).toMatch(/idempotency-mismatch$/);
    await receiver.until(() => arrivals("idem").length === 1);
  });

  it("makes an endpoint once, its secret the same both times", async () => {
    const body = { kind: "push", url: `${receiver.url}/idem`, topics: ["idem.endpoint"] };
    const make = () => call(gateway, "POST", "/v1/endpoints", { body, headers: { "idempotency-key": "key-2" } });
    const [first, again] = [await make(), await make()];
    expect([first.status, again.status]).toEqual([201, 201]);
    expect(again.json).toEqual(first.json);
  });
});

describe("CloudEvents", () => {
  const event = { specversion: "1.0", id: "e.1", source: "/shop", type: "order.made", time: "2026-11-17T09:30:00Z", subject: "42", myext: "x" };

  it("in structured mode keep the bytes of data and the context", async () => {
    const raw = `${JSON.stringify(event).slice(0, -1)},"data":{"n":1.00,"n":2 }}`;
    const answer = await publish("ce.structured", raw, { "content-type": "application/cloudevents+json" });
    expect(answer.status).toBe(202);
    await receiver.until(() => arrivals("ce.structured").length === 1);
    expect(arrivals("ce.structured")[0]!.body.toString()).toBe('{"n":1.00,"n":2 }');
    const stored = await eventually(() => call(gateway, "GET", `/v1/messages/${answer.json.id}`), ({ status }) => status === 200);
    expect((await call(gateway, "GET", "/v1/messages/e.1")).json).toEqual(stored.json);
    expect(stored.json.event).toMatchObject({ id: "e.1", source: "/shop", type: "order.made", subject: "42", myext: "x" });
  });

  it("in batched mode are one request with a result each", async () => {
    const raw = JSON.stringify([{ ...event, id: "b1", data: 1 }, { ...event, id: "b2", datacontenttype: "text/plain", data: "two" }]);
    const answer = await publish("ce.batch", raw, { "content-type": "application/cloudevents-batch+json" });
    expect(answer.status).toBe(202);
    expect(answer.json.results.map(({ id, offset }: any) => [id, offset])).toEqual([["b1", 0], ["b2", 1]]);
    await receiver.until(() => arrivals("ce.batch").length === 2);
    expect(arrivals("ce.batch").map(({ body }) => body.toString()).sort()).toEqual(["1", "two"]);
  });
});

describe("a batch", () => {
  it("takes several topics, any bytes, and answers in order", async () => {
    const messages = [
      { topic: "batch.a", data: { x: 1 } },
      { topic: "batch.b", dataBase64: Buffer.from([0xff, 0]).toString("base64"), contentType: "image/x" },
      { topic: "batch.a", data: "text", attributes: { colour: "red" }, id: "batch-3" },
    ];
    const answer = await call(gateway, "POST", "/v1/batch", { body: { messages } });
    expect(answer.status).toBe(202);
    expect(answer.json.results.map(({ topic, offset }: any) => [topic, offset])).toEqual([["batch.a", 0], ["batch.b", 0], ["batch.a", 1]]);
    await receiver.until(() => arrivals("batch.a").length === 2 && arrivals("batch.b").length === 1);
    expect([...arrivals("batch.b")[0]!.body]).toEqual([0xff, 0]);
  });

  it("is refused as a whole when one message is malformed, naming the field", async () => {
    const answer = await call(gateway, "POST", "/v1/batch", { body: { messages: [{ topic: "batch.c", data: 1 }, { topic: "batch.c" }, { topic: "bad topic", data: 1 }] } });
    expect(answer.status).toBe(422);
    expect(answer.json.errors.map(({ pointer }: any) => pointer)).toEqual(["/messages/1", "/messages/2/topic"]);
    await delay(300);
    expect(arrivals("batch.c")).toHaveLength(0);
  });
});

describe("what is malformed gets a problem that says how to mend it, and nothing is accepted", () => {
  const big = new Uint8Array(1024 * 1024 + 1);
  const cases: [string, () => ReturnType<typeof call>, number, RegExp][] = [
    ["a malformed topic", () => publish("a..b", "x", text), 400, /malformed-target/],
    ["more than 1 MiB", () => publish("big", big, text), 413, /payload-too-large/],
    ["CloudEvents in another format", () => publish("t", "x", { "content-type": "application/cloudevents+avro" }), 415, /unsupported-media-type/],
    ["a CloudEvent without a source", () => publish("t", "x", { ...text, "ce-specversion": "1.0", "ce-id": "1", "ce-type": "t" }), 422, /invalid-request/],
    ["a batch that is not JSON", () => call(gateway, "POST", "/v1/batch", { raw: "{", headers: json }), 400, /malformed-json/],
    ["a batch that is JSON of another shape", () => call(gateway, "POST", "/v1/batch", { raw: "[]", headers: json }), 422, /invalid-request/],
    ["an attribute with a bad name", () => publish("t", "x", { ...text, "postern-attribute-a!b": "1" }), 422, /invalid-request/],
    ["an attribute that is not UTF-8", () => publish("t", "x", { ...text, "postern-attribute-a": "\u00e9" }), 422, /invalid-request/],
    ["a CloudEvents attribute that is not UTF-8", () => publish("t", "x", { ...text, "ce-specversion": "1.0", "ce-id": "1", "ce-source": "/s", "ce-type": "t", "ce-subject": "\u00e9" }), 422, /invalid-request/],
    ["no token", () => call(gateway, "POST", "/v1/events/t", { token: null, raw: "x", headers: text }), 401, /unauthenticated/],
    ["another method", () => call(gateway, "GET", "/v1/events/t"), 405, /method-not-allowed/],
  ];

  it.each(cases)("%s", async (_name, send, status, type) => {
    const answer = await send();
    expect(answer.status).toBe(status);
    expect(answer.headers.get("content-type")).toBe("application/problem+json");
    expect(answer.json).toMatchObject({ type: expect.stringMatching(type), status, title: expect.any(String), detail: expect.stringMatching(/.{10,}/), instance: expect.any(String) });
    expect(JSON.stringify(answer.json)).not.toMatch(/at \w+ \(|\.ts:|D1_ERROR|SQLITE/);
  });

  it("takes exactly 1 MiB", async () => {
    expect((await publish("edge", big.subarray(1), text)).status).toBe(202);
  });
});
