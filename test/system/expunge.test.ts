import { readdirSync, readFileSync, statSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { afterEach, describe, expect, it } from "vitest";
import { call, createEndpoint, deliveriesOf, eventually, publish } from "./api.ts";
import { type Gateway, startGateway } from "./gateway.ts";
import { type Receiver, startReceiver } from "./receiver.ts";

/** Longer than an isolate takes an old answer for a current one. */
const CACHES_EXPIRE_MS = 1_200;
const CANARY = "CANARY-content-that-is-to-go";
let gateway: Gateway;
let receiver: Receiver;

afterEach(async () => {
  await gateway?.dispose();
  await receiver?.close();
});

describe("expunging a message's content", () => {
  it.each([["durable-object", "full"], ["sqs", "full"], ["durable-object", "failures"]])(
    "takes it out of its stream, of queues it went to, of mailboxes (%s), and of what receivers answered (history: %s)",
    async (mailbox, history) => {
    receiver = await startReceiver();
    // a receiver that answers with what it was sent
    receiver.answerWith((request, response) => void response.writeHead(request.path === "/taken" ? 200 : 500).end(request.body));
    gateway = await startGateway({ env: { POSTERN_ALLOW_HOSTS: receiver.host, POSTERN_MAILBOX: mailbox, POSTERN_HISTORY: history } });
    const push = await createEndpoint(gateway, { url: `${receiver.url}/`, topics: ["secret"], retrySchedule: [3600] });
    const taker = await createEndpoint(gateway, { url: `${receiver.url}/taken`, topics: ["secret"] });
    const pull = await call(gateway, "POST", "/v1/endpoints", { body: { kind: "pull", topics: ["secret"] } });
    await call(gateway, "PUT", "/v1/queues/copies", { body: { topics: ["secret"] } });
    await call(gateway, "PUT", "/v1/queues/pushed", { body: { topics: ["secret"] } });
    const member = await createEndpoint(gateway, { url: `${receiver.url}/taken`, topics: [] });
    expect((await call(gateway, "POST", "/v1/subscriptions", { body: { endpointId: member.id, topic: "**", queue: "pushed" } })).status).toBe(201);
    await delay(CACHES_EXPIRE_MS);
    const { id } = await publish(gateway, "secret", CANARY);
    await eventually(() => deliveriesOf(gateway, id), (all) => all.length >= 5 && all.filter(({ status }) => status === "delivered").length >= 4 && all.some(({ status, attempts }) => status === "open" && attempts.length > 0));
    await receiver.until((requests) => requests.length === 3);
    const depth = async () => (await call(gateway, "GET", "/v1/queues/copies")).json.depth;
    await eventually(depth, (count) => count === 1);
    const answered = async (endpointId: string) => (await call(gateway, "GET", `/v1/endpoints/${endpointId}/attempts`)).bytes.toString();
    for (const endpoint of history === "full" ? [push, taker, member] : [push]) await eventually(() => answered(endpoint.id), (text) => text.includes(CANARY));

    expect((await call(gateway, "DELETE", `/v1/messages/${id}/content`)).status).toBe(204);
    const answers = await Promise.all([
      `/v1/messages/${id}/content`, `/v1/messages/${id}/deliveries`, `/v1/messages/${id}`, "/v1/messages", "/v1/dead",
      ...[push, taker, member].map((endpoint) => `/v1/endpoints/${endpoint.id}/attempts`),
      "/v1/stream/topics/secret?offset=-1", "/v1/stream/queues/copies?offset=-1", "/v1/stream/queues/pushed?offset=-1",
      `/v1/endpoints/${pull.json.id}/messages`, "/v1/queues/copies/messages", "/v1/audit",
    ].map(async (path) => [path, (await call(gateway, "GET", path)).bytes.toString()] as const));
    for (const [path, text] of answers.slice(-3, -1)) expect([path, JSON.parse(text).messages]).toEqual([path, []]);
    expect(answers.filter(([, text]) => text.includes(CANARY) || text.includes(Buffer.from(CANARY).toString("base64"))).map(([path]) => path)).toEqual([]);
    await gateway.stop();
    const state = join(gateway.dataDir, "state");
    const files = readdirSync(state, { recursive: true, encoding: "utf8" }).filter((path) => statSync(join(state, path)).isFile() && readFileSync(join(state, path)).includes(CANARY));
    expect(files).toEqual([]);
    },
  );
});
