import { setTimeout as delay } from "node:timers/promises";
import { afterAll, beforeAll, expect, it } from "vitest";
import { createEndpoint, deliveriesOf, eventually, publish } from "./api.ts";
import { type Gateway, startGateway } from "./gateway.ts";
import { type Receiver, startReceiver } from "./receiver.ts";

const ANSWER_AFTER_MS = 1_500;

let gateway: Gateway;
let receiver: Receiver;

beforeAll(async () => {
  receiver = await startReceiver();
  gateway = await startGateway({ env: { POSTERN_ALLOW_HOSTS: receiver.host } });
});
afterAll(async () => {
  await gateway.dispose();
  await receiver.close();
});

it("lets attempts under way end when it is stopped, so that nothing is sent a second time", async () => {
  let cut = 0;
  receiver.answerWith(async (_request, response) => {
    response.on("close", () => {
      if (!response.writableFinished) cut++;
    });
    await delay(ANSWER_AFTER_MS);
    response.writeHead(204).end();
  });
  await createEndpoint(gateway, { url: `${receiver.url}/slow`, topics: ["stop.*"], timeoutSeconds: 10 });
  const ids = await Promise.all(Array.from({ length: 5 }, async (_, index) => (await publish(gateway, `stop.t${index % 2}`, String(index))).id));
  await receiver.until((requests) => requests.length === 5);
  const stoppedAtMs = Date.now();
  expect(await gateway.stop()).toBe(0);
  expect(Date.now() - stoppedAtMs).toBeGreaterThan(ANSWER_AFTER_MS / 2);
  expect(cut).toBe(0);
  gateway = await gateway.restart();
  for (const id of ids) await eventually(() => deliveriesOf(gateway, id), (deliveries) => deliveries[0]?.status === "delivered");
  await delay(5_000); // what was cut off would come again after a moment
  expect(receiver.requests).toHaveLength(5);
});

it("does not wait where nothing is under way, and cuts off in the end what takes for ever", async () => {
  const idleAtMs = Date.now();
  await gateway.stop();
  expect(Date.now() - idleAtMs).toBeLessThan(3_000);
  gateway = await gateway.restart();
  receiver.answerWith(() => undefined);
  const { id } = await publish(gateway, "stop.t0", "never answered");
  await receiver.until((requests) => requests.length === 6);
  expect(await gateway.stop()).toBe(0);
  receiver.answerWith((_request, response) => void response.writeHead(204).end());
  gateway = await gateway.restart();
  await eventually(() => deliveriesOf(gateway, id), (deliveries) => deliveries[0]?.status === "delivered", 20_000);
});
