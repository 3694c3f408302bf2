import type { ServerResponse } from "node:http";
import { expect } from "vitest";
import { createClient } from "../../src/client/index.ts";
import { busContract, type BusUnderTest, type Pushed, type PushHandler } from "../unit/client/bus-contract.ts";
import { call, createEndpoint } from "./api.ts";
import { startGateway } from "./gateway.ts";
import { type ReceivedRequest, startReceiver } from "./receiver.ts";

busContract("a gateway with mailboxes in Amazon SQS", () => gatewayUnderTest({}));
busContract("a gateway with mailboxes in Durable Objects", () => gatewayUnderTest({ POSTERN_MAILBOX: "durable-object" }));

async function gatewayUnderTest(env: Readonly<Record<string, string>>): Promise<BusUnderTest> {
  const receiver = await startReceiver();
  const gateway = await startGateway({ env: { POSTERN_ALLOW_HOSTS: receiver.host, ...env } });
  const handlers = new Map<string, PushHandler>();
  receiver.answerWith((request, response) => answer(handlers.get(request.path), request, response));
  return {
    bus: createClient({ url: gateway.url, token: gateway.token }),
    createQueue: async (name, options = {}) => {
      const answered = await call(gateway, "PUT", `/v1/queues/${name}`, { body: options });
      expect(answered.status, answered.bytes.toString()).toBeLessThan(300);
    },
    createEndpoint: async ({ handler, queue, topics, node }) => {
      const path = `/${handlers.size}`;
      if (handler !== undefined) handlers.set(path, handler);
      const kind = handler === undefined ? { kind: "pull" } : { kind: "push", url: receiver.url + path, retrySchedule: [1, 1, 1] };
      const { id } = await createEndpoint(gateway, { ...kind, ...(queue && { queue }), ...(topics && { topics }), ...(node && { node }) });
      return id;
    },
    dispose: async () => {
      await gateway.dispose();
      await receiver.close();
    },
  };
}

/** What a handler is in memory, a subscriber is over HTTP: its return value is the response, a throw a failure. */
async function answer(handler: PushHandler | undefined, request: ReceivedRequest, response: ServerResponse): Promise<void> {
  try {
    const answered = await handler?.(pushedOf(request));
    const isJson = answered !== undefined && typeof answered !== "string" && !(answered instanceof Uint8Array);
    response.writeHead(200, { "content-type": isJson ? "application/json" : "text/plain" });
    response.end(isJson ? JSON.stringify(answered) : answered);
  } catch {
    response.writeHead(500).end();
  }
}

function pushedOf({ headers, body }: ReceivedRequest): Pushed {
  return {
    id: headers["webhook-id"] ?? "",
    topic: headers["postern-topic"] ?? "",
    contentType: headers["content-type"] ?? "",
    bytes: Uint8Array.from(body),
    text: () => body.toString(),
    json: (): unknown => JSON.parse(body.toString()),
  };
}
