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
