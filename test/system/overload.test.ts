import { connect, type Socket } from "node:net";
import { afterAll, beforeAll, expect, it } from "vitest";
import { call, createEndpoint, publish } from "./api.ts";
import { type Gateway, startGateway } from "./gateway.ts";
import { type Receiver, startReceiver } from "./receiver.ts";

/** As many as are let in at once, before anything is known of how fast they are worked off. */
const ROOM = 1_000;

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

/** A publish of which the last byte is still to come; and what is answered to it. */
function beginPublish(number: number): { socket: Socket; answer: Promise<string> } {
  const body = `begun ${number}`;
  const socket = connect(gateway.port, "127.0.0.1");
  const head = `POST /v1/events/crowded HTTP/1.1\r\nhost: gateway\r\nauthorization: Bearer ${gateway.token}\r\ncontent-type: text/plain\r\n`;
  socket.write(`${head}content-length: ${body.length + 1}\r\nconnection: close\r\n\r\n${body}`);
  const { promise, resolve, reject } = Promise.withResolvers<string>();
  const chunks: Buffer[] = [];
  socket.on("data", (chunk) => chunks.push(chunk)).on("end", () => resolve(Buffer.concat(chunks).toString())).on("error", reject);
  return { socket, answer: promise };
}

it("refuses publishes beyond its room with 503 and Retry-After, and loses none of those it has let in", { timeout: 90_000 }, async () => {
  await createEndpoint(gateway, { url: `${receiver.url}/crowded`, topics: ["crowded"] });
  const begun = Array.from({ length: ROOM }, (_, number) => beginPublish(number));
  const attempt = () => call(gateway, "POST", "/v1/events/crowded", { raw: "late", headers: { "content-type": "text/plain" } });
  let late = 0;
  let refusal = await attempt();
  for (const deadlineMs = Date.now() + 20_000; refusal.status === 202 && Date.now() < deadlineMs; refusal = await attempt()) late++;
  expect(refusal.status).toBe(503);
  expect(refusal.headers.get("retry-after")).toBe("1");
  expect(refusal.json).toMatchObject({ type: "https://postern.dev/problems/overloaded", status: 503 });

  for (const { socket } of begun) socket.end("!");
  const answers = await Promise.all(begun.map(({ answer }) => answer));
  expect(answers.filter((text) => !text.startsWith("HTTP/1.1 202"))).toEqual([]);
  await publish(gateway, "crowded", "after it"); // there is room again
  const bodies = () => receiver.requests.filter(({ path }) => path === "/crowded").map(({ body }) => body.toString());
  await receiver.until(() => bodies().length >= ROOM + late + 1, 60_000);
  expect(new Set(bodies()).size).toBe(ROOM + (late > 0 ? 2 : 1));
});
