import { afterAll, beforeAll, expect, it } from "vitest";
import { call, createEndpoint } from "./api.ts";
import { type Gateway, startGateway } from "./gateway.ts";
import { type Receiver, startReceiver } from "./receiver.ts";

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

it("never sends an endpoint more in a second than its rate limit, and loses nothing of a burst", async () => {
  const perSecond = 40;
  const burst = 400;
  await createEndpoint(gateway, { url: `${receiver.url}/limited`, topics: ["rate.**"], rateLimit: perSecond });
  const messages = Array.from({ length: burst }, (_, index) => ({ topic: `rate.t${index % 3}`, data: String(index), id: `rate-${index}` }));
  expect((await call(gateway, "POST", "/v1/batch", { body: { messages } })).status).toBe(202);
  await receiver.until(() => receiver.requests.length >= burst, 60_000);
  const times = receiver.requests.map(({ arrivedAt }) => arrivedAt).sort((left, right) => left - right);
  const busiest = Math.max(...times.map((start) => times.filter((at) => at >= start && at < start + 1000).length));
  expect(busiest).toBeLessThanOrEqual(perSecond);
  expect(new Set(receiver.requests.map(({ headers }) => headers["webhook-id"])).size).toBe(burst);
  expect(receiver.requests).toHaveLength(burst);
}, 90_000);
