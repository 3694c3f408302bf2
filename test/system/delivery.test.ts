import { isUtf8 } from "node:buffer";
import { createHmac } from "node:crypto";
import { gzipSync } from "node:zlib";
import { createServer } from "node:net";
import { setTimeout as delay } from "node:timers/promises";
import { Webhook } from "standardwebhooks";
import { afterAll, afterEach, beforeAll, describe, expect, it } from "vitest";
import { call, createEndpoint, deliveriesOf, eventually, publish } from "./api.ts";
import { type Gateway, startGateway } from "./gateway.ts";
import { type ReceivedRequest, type Receiver, status, startReceiver } from "./receiver.ts";

let gateway: Gateway;
let receiver: Receiver;
const endpoints: string[] = [];

beforeAll(async () => {
  receiver = await startReceiver();
  gateway = await startGateway({ env: { POSTERN_ALLOW_HOSTS: `${receiver.host},127.0.0.1:1` } });
});
afterAll(async () => {
  await gateway.dispose();
  await receiver.close();
});
afterEach(async () => {
  receiver.answerWith(status(204));
  await Promise.all(endpoints.splice(0).map((id) => call(gateway, "DELETE", `/v1/endpoints/${id}`)));
});

async function subscribe(topic: string, fields: Record<string, unknown> = {}): Promise<{ id: string; secret: string }> {
  const endpoint = await createEndpoint(gateway, { url: `${receiver.url}/${topic}`, topics: [topic], ...fields });
  endpoints.push(endpoint.id);
  return endpoint;
}

function arrivals(topic: string) {
  return receiver.requests.filter(({ path }) => path === `/${topic}`);
}

/** The library also parses JSON, which not every body is. */
function verifyWithLibrary(secret: string, { body, headers }: ReceivedRequest): void {
  new Webhook(secret).verify(body, headers, { jsonParse: false });
}

/** Standard Webhooks 1.0, "Signature scheme": HMAC-SHA256 over `id.timestamp.` and the bytes. */
function signatureBySpecification(secret: string, { body, headers }: ReceivedRequest): string {
  const key = Buffer.from(secret.slice("whsec_".length), "base64");
  const prefix = `${headers["webhook-id"]}.${headers["webhook-timestamp"]}.`;
  return `v1,${createHmac("sha256", key).update(prefix).update(body).digest("base64")}`;
}

async function untilArrived(topic: string, count: number, timeoutMs?: number): Promise<void> {
  await receiver.until(() => arrivals(topic).length >= count, timeoutMs);
}

describe("what arrives is what was published, and verifies with the standardwebhooks library", () => {
  const bodies: [string, string, Uint8Array][] = [
    ["text", "text/plain; charset=utf-8", Buffer.from("grüße\r\n\u0000 end")],
    ["JSON with odd numbers and duplicate keys", "application/json", Buffer.from('{"a":1.0,"a":1e400,"b":9007199254740993 , "c":"\\u0041"}')],
    ["an empty body", "text/plain", new Uint8Array()],
    ["1 MiB", "application/x-odd", new Uint8Array(1024 * 1024).map((_, index) => (index * 31) % 128)],
    ["invalid UTF-8", "application/octet-stream", Uint8Array.from([0xff, 0xfe, 0x00, 0xc3, 0x28, 0x80])],
    ["1 MiB of any bytes", "application/octet-stream", new Uint8Array(1024 * 1024).map((_, index) => (index * 31) % 256)],
  ];

  it.each(bodies)("%s", async (name, contentType, body) => {
    const topic = `bytes.${name.replaceAll(/[^a-z0-9]/gi, "-")}`;
    const { secret } = await subscribe(topic);
    const { id } = await publish(gateway, topic, body, { "content-type": contentType });
    await untilArrived(topic, 1);
    const [request] = arrivals(topic);
    expect(Buffer.compare(request!.body, Buffer.from(body))).toBe(0);
    expect(request!.headers).toMatchObject({ "content-type": contentType, "webhook-id": id, "postern-attempt": "1", "postern-topic": topic });
    expect(request!.headers["user-agent"]).toMatch(/^Postern\//);
    expect(request!.headers["webhook-signature"]).toBe(signatureBySpecification(secret, request!));
    // The library decodes every body as UTF-8 before it verifies, so other bytes are beyond it, whoever signed them.
    if (isUtf8(body)) verifyWithLibrary(secret, request!);
  });

  it("refuses a signature over other bytes", async () => {
    const { secret } = await subscribe("bytes.forged");
    await publish(gateway, "bytes.forged", '{"a":1}', { "content-type": "application/json" });
    await untilArrived("bytes.forged", 1);
    const { headers } = arrivals("bytes.forged")[0]!;
    expect(() => new Webhook(secret).verify('{"a":2}', headers)).toThrow();
  });
});

describe("formats", () => {
  it("adds ce-* headers in binary mode and keeps what the publisher said", async () => {
    await subscribe("formats.binary", { format: "cloudevents" });
    await publish(gateway, "formats.binary", '{"n":1.00}', {
      "content-type": "application/json", "ce-specversion": "1.0", "ce-id": "a.b/1", "ce-source": "/shop", "ce-type": "order.made", "ce-subject": "42", "ce-myext": "x",
    });
    await untilArrived("formats.binary", 1);
    const { headers, body } = arrivals("formats.binary")[0]!;
    expect(headers).toMatchObject({ "ce-id": "a.b/1", "ce-source": "/shop", "ce-type": "order.made", "ce-subject": "42", "ce-myext": "x", "ce-specversion": "1.0" });
    expect(headers["webhook-id"]).toMatch(/^msg_[0-9a-f]+$/);
    expect(body.toString()).toBe('{"n":1.00}');
  });

  it("wraps the bytes, unchanged, in structured mode and signs the wrapping", async () => {
    const { secret } = await subscribe("formats.structured", { format: "cloudevents-json" });
    await publish(gateway, "formats.structured", '{"n":1.00,"n":2}', { "content-type": "application/json" });
    await untilArrived("formats.structured", 1);
    const { headers, body } = arrivals("formats.structured")[0]!;
    expect(headers["content-type"]).toMatch(/^application\/cloudevents\+json/);
    expect(body.toString()).toContain('"data":{"n":1.00,"n":2}');
    expect(JSON.parse(body.toString())).toMatchObject({ specversion: "1.0", id: headers["webhook-id"], type: "formats.structured" });
    expect(() => new Webhook(secret).verify(body, headers)).not.toThrow();
  });
});

describe("retries", () => {
  it("tries again by the schedule until the endpoint answers, with the same id", async () => {
    let failures = 2;
    receiver.answerWith((request, response) => status(failures-- > 0 ? 500 : 204)(request, response));
    await subscribe("retries.heal", { retrySchedule: [1, 1, 1] });
    const { id } = await publish(gateway, "retries.heal", "x");
    await untilArrived("retries.heal", 3);
    expect(arrivals("retries.heal").map(({ headers }) => [headers["webhook-id"], headers["postern-attempt"]])).toEqual([[id, "1"], [id, "2"], [id, "3"]]);
    const [delivery] = await eventually(() => deliveriesOf(gateway, id), ([one]) => one?.status === "delivered");
    expect(delivery.attempts.map((attempt: any) => attempt.statusCode)).toEqual([500, 500, 204]);
  });

  it("ends as dead after the last step, visible, and is replayed from there", async () => {
    receiver.answerWith(status(500));
    const { id: endpointId } = await subscribe("retries.dead", { retrySchedule: [1] });
    const { id } = await publish(gateway, "retries.dead", "x");
    await eventually(() => deliveriesOf(gateway, id), ([one]) => one?.status === "dead");
    const dead = await call(gateway, "GET", `/v1/dead?endpointId=${endpointId}`);
    expect(dead.json.data).toMatchObject([{ messageId: id, endpointId, status: "dead" }]);
    const dry = await call(gateway, "POST", "/v1/dead/replay", { body: { endpointId, dryRun: true } });
    expect([dry.status, dry.json.count]).toEqual([202, 1]);
    expect(arrivals("retries.dead")).toHaveLength(2);
    receiver.answerWith(status(200));
    expect((await call(gateway, "POST", "/v1/dead/replay", { body: { endpointId } })).json.count).toBe(1);
    await eventually(() => deliveriesOf(gateway, id), ([one]) => one?.status === "delivered");
    expect(arrivals("retries.dead")).toHaveLength(3);
  });

  it("never follows a redirect", async () => {
    receiver.answerWith(status(302, { location: `${receiver.url}/elsewhere` }));
    await subscribe("retries.redirect", { retrySchedule: [] });
    const { id } = await publish(gateway, "retries.redirect", "x");
    const [delivery] = await eventually(() => deliveriesOf(gateway, id), ([one]) => one?.status === "dead");
    expect(delivery.attempts).toMatchObject([{ statusCode: 302 }]);
    expect(arrivals("elsewhere")).toHaveLength(0);
  });

  it("waits as long as Retry-After of a 429 asks", async () => {
    let asked = false;
    receiver.answerWith((request, response) => {
      void status(asked ? 204 : 429, { "retry-after": "3" })(request, response);
      asked = true;
    });
    await subscribe("retries.later", { retrySchedule: [1] });
    await publish(gateway, "retries.later", "x");
    await untilArrived("retries.later", 2);
    const [first, second] = arrivals("retries.later");
    expect(second!.arrivedAt - first!.arrivedAt).toBeGreaterThan(2_400);
  });

  it("disables an endpoint that answers 410, keeps its messages, and delivers them once it is enabled", async () => {
    receiver.answerWith(status(410));
    const { id: endpointId } = await subscribe("retries.gone");
    const first = await publish(gateway, "retries.gone", "1");
    const endpoint = await eventually(() => call(gateway, "GET", `/v1/endpoints/${endpointId}`), ({ json }) => json.status === "disabled");
    expect(endpoint.json.disabledReason).toMatch(/410/);
    await delay(1_100); // caches of the control plane are a second old at most
    const second = await publish(gateway, "retries.gone", "2");
    receiver.answerWith(status(204));
    await delay(500);
    expect(arrivals("retries.gone")).toHaveLength(1);
    expect((await call(gateway, "POST", `/v1/endpoints/${endpointId}/enable`)).json.status).toBe("active");
    await receiver.until(() => new Set(arrivals("retries.gone").slice(1).map(({ headers }) => headers["webhook-id"])).size === 2);
    const after = arrivals("retries.gone").slice(1).map(({ headers }) => [headers["webhook-id"], headers["postern-attempt"]]);
    expect(new Map(after as [string, string][])).toEqual(new Map([[first.id, "2"], [second.id, "1"]]));
  });

  it("records a connection that is refused", async () => {
    await subscribe("retries.refused", { url: "http://127.0.0.1:1/", retrySchedule: [] });
    const { id } = await publish(gateway, "retries.refused", "x");
    const [delivery] = await eventually(() => deliveriesOf(gateway, id), ([one]) => one?.status === "dead");
    expect(delivery.attempts).toMatchObject([{ statusCode: null, error: expect.stringContaining("connection-failed") }]);
  });
});

describe("control of an endpoint", () => {
  it("holds messages while paused and lets them flow when resumed", async () => {
    const { id } = await subscribe("control.pause");
    await call(gateway, "POST", `/v1/endpoints/${id}/pause`);
    await delay(1_100);
    for (let count = 0; count < 5; count++) await publish(gateway, "control.pause", String(count));
    await delay(700);
    expect(arrivals("control.pause")).toHaveLength(0);
    await call(gateway, "POST", `/v1/endpoints/${id}/resume`);
    await untilArrived("control.pause", 5);
    await delay(500);
    expect(arrivals("control.pause")).toHaveLength(5);
  });

  it("signs with both secrets during the overlap of a rotation", async () => {
    const { id, secret: old } = await subscribe("control.rotate");
    const rotated = await call(gateway, "POST", `/v1/endpoints/${id}/secret/rotate`, { body: {} });
    const { secret: current } = rotated.json;
    expect(current).not.toBe(old);
    expect((await call(gateway, "GET", `/v1/endpoints/${id}/secret`)).json.secret).toBe(current);
    await delay(1_100);
    await publish(gateway, "control.rotate", "x");
    await untilArrived("control.rotate", 1);
    const { headers, body } = arrivals("control.rotate")[0]!;
    expect(headers["webhook-signature"]!.split(" ")).toHaveLength(2);
    for (const secret of [old, current]) expect(() => new Webhook(secret).verify(body, headers, { jsonParse: false })).not.toThrow();
  });

  it("sends a test message now and returns the attempt", async () => {
    const { id } = await subscribe("control.test");
    const answer = await call(gateway, "POST", `/v1/endpoints/${id}/test`, { body: { topic: "control.test", data: { hello: 1 } } });
    expect(answer.status).toBe(200);
    expect(answer.json).toMatchObject({ statusCode: 204 });
    expect(JSON.parse(arrivals("control.test")[0]!.body.toString())).toEqual({ hello: 1 });
  });

  it("sends a message again when asked to", async () => {
    await subscribe("control.resend");
    const { id } = await publish(gateway, "control.resend", "x");
    await untilArrived("control.resend", 1);
    const answer = await eventually(() => call(gateway, "POST", `/v1/messages/${id}/resend`, { body: {} }), ({ status: code }) => code === 202);
    expect(answer.json.count).toBe(1);
    await untilArrived("control.resend", 2);
    expect(arrivals("control.resend").map(({ headers }) => headers["webhook-id"])).toEqual([id, id]);
  });

  it("delivers only what an endpoint's filter lets through", async () => {
    await subscribe("control.filter", { filter: { colour: ["red"], price: [{ numeric: [">", 10] }] } });
    const send = (colour: string, price: string) =>
      publish(gateway, "control.filter", colour, { "content-type": "text/plain", "postern-attribute-colour": colour, "postern-attribute-price": price });
    const matched = [await send("red", "11"), await send("blue", "11"), await send("red", "9")].map((one) => one.matched);
    expect(matched).toEqual([1, 0, 0]);
    await untilArrived("control.filter", 1);
    await delay(300);
    expect(arrivals("control.filter")).toHaveLength(1);
  });
});

describe("a subscriber that misbehaves costs a bounded time and memory", () => {
  it("is given up when no response head comes in time", async () => {
    receiver.answerWith(() => new Promise(() => undefined));
    await subscribe("hostile.silent", { retrySchedule: [], timeoutSeconds: 1 });
    const { id } = await publish(gateway, "hostile.silent", "x");
    const [delivery] = await eventually(() => deliveriesOf(gateway, id), ([one]) => one?.status === "dead");
    expect(delivery.attempts).toMatchObject([{ statusCode: null, error: expect.stringContaining("timed-out") }]);
    expect(delivery.attempts[0].durationMs).toBeLessThan(5_000);
  });

  it("is cut off when its body never ends, and 4 KiB of it are kept", async () => {
    receiver.answerWith((_request, response) => {
      response.writeHead(500, { "content-type": "text/plain" });
      const timer = setInterval(() => response.write("x".repeat(16_384)), 1);
      response.on("close", () => clearInterval(timer));
    });
    await subscribe("hostile.endless", { retrySchedule: [] });
    const { id } = await publish(gateway, "hostile.endless", "x");
    const [delivery] = await eventually(() => deliveriesOf(gateway, id), ([one]) => one?.status === "dead");
    expect(delivery.attempts[0].responseBody).toHaveLength(4096);
  });

  it("is cut off when its body drips", async () => {
    receiver.answerWith((_request, response) => {
      response.writeHead(500);
      const timer = setInterval(() => response.write("."), 200);
      response.on("close", () => clearInterval(timer));
    });
    await subscribe("hostile.drip", { retrySchedule: [] });
    const { id } = await publish(gateway, "hostile.drip", "x");
    const [delivery] = await eventually(() => deliveriesOf(gateway, id), ([one]) => one?.status === "dead");
    expect(delivery.attempts[0].durationMs).toBeLessThan(9_000);
  });

  it("does not unpack a compressed body beyond the bound", async () => {
    const bomb = gzipSync(Buffer.alloc(64 * 1024 * 1024));
    receiver.answerWith((_request, response) => void response.writeHead(500, { "content-encoding": "gzip" }).end(bomb));
    await subscribe("hostile.bomb", { retrySchedule: [] });
    const { id } = await publish(gateway, "hostile.bomb", "x");
    const [delivery] = await eventually(() => deliveriesOf(gateway, id), ([one]) => one?.status === "dead");
    expect(delivery.attempts[0].responseBody.length).toBeLessThanOrEqual(4096);
    expect((await call(gateway, "GET", "/healthz")).status).toBe(200);
  });

  it("fails when what it answers is not HTTP", async () => {
    const liar = createServer((socket) => socket.end("220 mail ready\r\n\r\n"));
    await new Promise<void>((resolve) => liar.listen(0, "127.0.0.1", resolve));
    const address = liar.address();
    const port = typeof address === "object" && address !== null ? address.port : 0;
    const other = await startGateway({ env: { POSTERN_ALLOW_HOSTS: `127.0.0.1:${port}` } });
    try {
      await createEndpoint(other, { url: `http://127.0.0.1:${port}/`, topics: ["hostile.liar"], retrySchedule: [] });
      const { id } = await publish(other, "hostile.liar", "x");
      const [delivery] = await eventually(() => deliveriesOf(other, id), ([one]) => one?.status === "dead");
      expect(delivery.attempts).toMatchObject([{ statusCode: null }]);
    } finally {
      await other.dispose();
      liar.close();
    }
  });
});
