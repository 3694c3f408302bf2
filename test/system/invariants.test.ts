import { createHash } from "node:crypto";
import { setTimeout as delay } from "node:timers/promises";
import { afterAll, afterEach, beforeAll, expect, it } from "vitest";
import { call, createEndpoint, deliveriesOf, eventually, publish } from "./api.ts";
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

it("I1: a 2xx to a publisher means the message is on disk", async () => {
  receiver.answerWith(status(500));
  await createEndpoint(gateway, { url: `${receiver.url}/i1`, topics: ["i1.*"], retrySchedule: [1, 1, 1, 1, 1, 1, 1, 1] });
  // Killed in the very moment of the answer: nothing but the disk can have the message.
  const { id, offset } = await publish(gateway, "i1.kill", "kept");
  gateway = await gateway.restart();
  const content = await eventually(() => call(gateway, "GET", `/v1/messages/${id}/content`), ({ status: code }) => code === 200);
  expect(content.bytes.toString()).toBe("kept");
  expect((await publish(gateway, "i1.kill", "next")).offset).toBe(offset + 1);
  receiver.answerWith(status(204));
  await receiver.until(() => arrivals("/i1").some(({ headers }) => headers["webhook-id"] === id));
});

it("I2: every message × target ends as delivered, dead, cancelled, or is open with a time", async () => {
  const answers: Record<string, number> = { "/i2-ok": 204, "/i2-dead": 500, "/i2-open": 503 };
  receiver.answerWith((request, response) => status(answers[request.path] ?? 500)(request, response));
  const paths = ["/i2-ok", "/i2-dead", "/i2-open", "/i2-deleted"];
  const made = await Promise.all(
    paths.map((path) => createEndpoint(gateway, { url: receiver.url + path, topics: ["i2"], retrySchedule: path === "/i2-dead" ? [] : [3600] })),
  );
  const { id, matched } = await publish(gateway, "i2", "x");
  expect(matched).toBe(4);
  await receiver.until(() => paths.every((path) => arrivals(path).length === 1));
  await call(gateway, "DELETE", `/v1/endpoints/${made[3]!.id}`);
  const deliveries = await eventually(() => deliveriesOf(gateway, id), (all) => all.some((one) => one.status === "cancelled"));
  const statusOf = Object.fromEntries(deliveries.map((delivery) => [delivery.endpointId, delivery.status]));
  expect(made.map((endpoint) => statusOf[endpoint.id])).toEqual(["delivered", "dead", "open", "cancelled"]);
  const open = deliveries.find((delivery) => delivery.status === "open");
  expect(Date.parse(open.nextAttemptAt)).toBeGreaterThan(Date.now() + 3_000_000);
});

it("I3: without a fault nothing arrives twice, with one it comes under the same webhook-id", async () => {
  await createEndpoint(gateway, { url: `${receiver.url}/i3`, topics: ["i3"] });
  const ids = await Promise.all(Array.from({ length: 200 }, async (_, index) => (await publish(gateway, "i3", String(index))).id));
  await receiver.until(() => arrivals("/i3").length >= 200);
  await delay(2_500); // past the checkpoint and a sweep of the outbox
  expect(arrivals("/i3").map(({ headers }) => headers["webhook-id"]).sort()).toEqual([...ids].sort());

  // The subscriber took it, but its answer is lost: the fault that makes a duplicate.
  receiver.answerWith((_request, response) => void response.destroy());
  await createEndpoint(gateway, { url: `${receiver.url}/i3-fault`, topics: ["i3-fault"], retrySchedule: [1] });
  const { id } = await publish(gateway, "i3-fault", "x");
  await receiver.until(() => arrivals("/i3-fault").length >= 2);
  expect(arrivals("/i3-fault").map(({ headers }) => headers["webhook-id"])).toEqual([id, id]);
});

it("I4: the bytes delivered are the bytes published, on retries and from the log as well", async () => {
  let failures = 1;
  receiver.answerWith((request, response) => status(failures-- > 0 ? 500 : 204)(request, response));
  await createEndpoint(gateway, { url: `${receiver.url}/i4`, topics: ["i4"], retrySchedule: [1] });
  const body = Uint8Array.from({ length: 70_000 }, (_, index) => (index * index) % 251);
  const digest = (bytes: Uint8Array) => createHash("sha256").update(bytes).digest("hex");
  const { id } = await publish(gateway, "i4", body, { "content-type": "image/x-odd; a=\"b\"" });
  await receiver.until(() => arrivals("/i4").length === 2);
  const content = await call(gateway, "GET", `/v1/messages/${id}/content`);
  expect([...arrivals("/i4").map((request) => digest(request.body)), digest(content.bytes)]).toEqual(Array(3).fill(digest(body)));
  expect(arrivals("/i4").map(({ headers }) => headers["content-type"])).toEqual(Array(2).fill("image/x-odd; a=\"b\""));
});

it("I5: no request to an endpoint follows the acknowledgement of its deletion", async () => {
  receiver.answerWith(status(500));
  const { id } = await createEndpoint(gateway, { url: `${receiver.url}/i5`, topics: ["i5"], retrySchedule: Array(20).fill(1) });
  let publishing = true;
  const publisher = (async () => {
    while (publishing) await publish(gateway, "i5", "x");
  })();
  await receiver.until(() => arrivals("/i5").length > 20);
  expect((await call(gateway, "DELETE", `/v1/endpoints/${id}`)).status).toBe(204);
  const acknowledgedAt = Date.now();
  await delay(3_000);
  publishing = false;
  await publisher;
  expect(arrivals("/i5").filter(({ arrivedAt }) => arrivedAt > acknowledgedAt + 20)).toEqual([]);
});

it("I6: one endpoint that hangs delays no other's deliveries", async () => {
  receiver.answerWith((request, response) => {
    if (request.path === "/i6-hangs") return;
    void status(204)(request, response);
  });
  await createEndpoint(gateway, { url: `${receiver.url}/i6-hangs`, topics: ["i6"], timeoutSeconds: 5, retrySchedule: [1, 1, 1] });
  await createEndpoint(gateway, { url: `${receiver.url}/i6-answers`, topics: ["i6"] });
  const latencies: number[] = [];
  for (let count = 0; count < 200; count++) {
    const startedAt = Date.now();
    await publish(gateway, "i6", String(count));
    await receiver.until(() => arrivals("/i6-answers").length > count, 5_000);
    latencies.push(Date.now() - startedAt);
  }
  latencies.sort((left, right) => left - right);
  // The endpoint that hangs takes 5,000 ms a request: not one message waited for it.
  expect(latencies.at(-1)).toBeLessThan(2_500);
  expect(arrivals("/i6-hangs").length).toBeGreaterThan(10);
});

it("I7: another tenant's things answer as if they did not exist", async () => {
  expect((await call(gateway, "POST", "/v1/tenants", { body: { id: "neighbour", name: "Neighbour" } })).status).toBe(201);
  const scopes = ["publish", "consume", "manage", "read", "admin"];
  const made = await call(gateway, "POST", "/v1/tokens", { body: { name: "theirs", scopes }, headers: { "postern-tenant": "neighbour" } });
  const theirs = made.json.token as string;
  const { json: ours } = await call(gateway, "POST", "/v1/tokens", { body: { name: "ours", scopes } });
  const { id: endpointId } = await createEndpoint(gateway, { url: `${receiver.url}/i7`, topics: ["i7"] });
  const { id: messageId } = await publish(gateway, "i7", "secret");
  await eventually(() => call(gateway, "GET", `/v1/messages/${messageId}`), ({ status: code }) => code === 200);

  const paths = [
    ["GET", "/v1/endpoints/ID", endpointId], ["DELETE", "/v1/endpoints/ID", endpointId], ["POST", "/v1/endpoints/ID/pause", endpointId],
    ["GET", "/v1/endpoints/ID/secret", endpointId], ["GET", "/v1/endpoints/ID/attempts", endpointId],
    ["GET", "/v1/messages/ID", messageId], ["GET", "/v1/messages/ID/content", messageId], ["GET", "/v1/messages/ID/deliveries", messageId],
    ["DELETE", "/v1/messages/ID/content", messageId], ["GET", "/v1/tokens/ID", ours.id],
  ] as const;
  for (const [method, path, id] of paths) {
    const foreign = await call(gateway, method, path.replace("ID", id), { token: theirs });
    const missing = await call(gateway, method, path.replace("ID", `${id.slice(0, -4)}zzzz`), { token: theirs });
    const { instance: _one, ...foreignProblem } = foreign.json;
    const { instance: _other, ...missingProblem } = missing.json;
    expect([method, path, foreign.status, foreignProblem]).toEqual([method, path, 404, missingProblem]);
  }
  const named = await call(gateway, "GET", "/v1/endpoints", { token: theirs, headers: { "postern-tenant": "default" } });
  const unknown = await call(gateway, "GET", "/v1/endpoints", { token: theirs, headers: { "postern-tenant": "nobody" } });
  expect([named.status, unknown.status]).toEqual([404, 404]);
  const published = await call(gateway, "POST", "/v1/events/i7", { token: theirs, raw: "x", headers: { "content-type": "text/plain" } });
  expect(published.json).toMatchObject({ offset: 0, matched: 0 });
  expect((await call(gateway, "GET", "/v1/endpoints", { token: theirs })).json.data).toEqual([]);
});
