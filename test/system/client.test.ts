import { afterAll, beforeAll, expect } from "vitest";
import { createClient, type Message } from "../../src/client/index.ts";
import { busContract, type BusUnderTest, type PushHandler } from "../unit/client/bus-contract.ts";
import { call, createEndpoint } from "./api.ts";
import { type Gateway, startGateway } from "./gateway.ts";
import { type ReceivedRequest, type Receiver, startReceiver } from "./receiver.ts";

let gateway: Gateway;
let receiver: Receiver;
const handlers = new Map<string, PushHandler>();

beforeAll(async () => {
  receiver = await startReceiver();
  gateway = await startGateway({ env: { POSTERN_ALLOW_HOSTS: receiver.host } });
  receiver.answerWith(async (request, response) => {
    const handler = handlers.get(request.path);
    try {
      const answer = await handler?.(pushedOf(request));
      const isText = answer === undefined || typeof answer === "string" || answer instanceof Uint8Array;
      response.writeHead(200, { "content-type": isText ? "text/plain" : "application/json" }).end(isText ? answer : JSON.stringify(answer));
    } catch {
      response.writeHead(500).end();
    }
  });
});
afterAll(async () => {
  await gateway.dispose();
  await receiver.close();
});

function pushedOf({ headers, body }: ReceivedRequest) {
  const bytes = Uint8Array.from(body);
  return {
    id: headers["webhook-id"] ?? "",
    topic: headers["postern-topic"] ?? "",
    contentType: headers["content-type"] ?? "",
    bytes,
    text: () => body.toString(),
    json: (): unknown => JSON.parse(body.toString()),
  } satisfies Partial<Message>;
}

busContract("a gateway", async (): Promise<BusUnderTest> => ({
  bus: createClient({ url: gateway.url, token: gateway.token }),
  createQueue: async (name, options = {}) => {
    const answer = await call(gateway, "PUT", `/v1/queues/${name}`, { body: options });
    expect(answer.status, answer.bytes.toString()).toBeLessThan(300);
  },
  createEndpoint: async ({ handler, queue, topics, node }) => {
    const path = `/${handlers.size}`;
    if (handler !== undefined) handlers.set(path, handler);
    const kind = handler === undefined ? { kind: "pull" } : { kind: "push", url: receiver.url + path, retrySchedule: [1, 1, 1] };
    const fields = { ...kind, ...(queue && { queue }), ...(topics && { topics }), ...(node && { node }) };
    return (await createEndpoint(gateway, fields)).id;
  },
}));
