import { applyD1Migrations, type D1Migration } from "cloudflare:test";
import { env, exports } from "cloudflare:workers";
import { beforeAll, beforeEach, describe, expect, it, vi } from "vitest";
import { z } from "zod";
import { parseConfig } from "../../src/config.ts";
import { boxOfEndpoint, boxOfQueue } from "../../src/mailbox/box-of.ts";
import type { BoxMessage, BoxRef } from "../../src/mailbox/mailbox.ts";
import { openMailbox } from "../../src/mailbox/open-mailbox.ts";

/** What the tests' configuration binds beside what the Worker has. */
const bindings = z
  .object({ POSTERN_ADMIN_TOKEN: z.string(), TEST_MIGRATIONS: z.array(z.custom<D1Migration>()) })
  .parse(env);
const Messages = z.object({ messages: z.array(z.looseObject({ id: z.string(), receiveCount: z.number(), receipt: z.string() })) });
const mailbox = openMailbox(env, parseConfig(env));

let queue: string;
let box: BoxRef;
let queues = 0;

async function call(method: string, path: string, body?: unknown): Promise<Response> {
  return exports.default.fetch(
    new Request(`http://gateway.test${path}`, {
      method,
      headers: {
        authorization: `Bearer ${bindings.POSTERN_ADMIN_TOKEN}`,
        ...(body === undefined ? {} : { "content-type": "application/json" }),
      },
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
    }),
  );
}

async function pull(path: string) {
  const response = await call("GET", path);
  expect(response.status).toBe(200);
  return Messages.parse(await response.json()).messages;
}

async function put(into: BoxRef, fields: Partial<BoxMessage> = {}): Promise<void> {
  const message: BoxMessage = {
    id: "msg_1",
    topic: `${into.id}/run`,
    stream: `default/queues/${into.id}`,
    offset: 7,
    timeMs: Date.UTC(2026, 10, 21),
    contentType: "text/plain",
    attributes: {},
    body: new TextEncoder().encode("work"),
    ...fields,
  };
  expect(await mailbox.send(into, [message])).toEqual([{ ok: true }]);
}

beforeAll(async () => {
  await applyD1Migrations(env.DB, bindings.TEST_MIGRATIONS);
});

beforeEach(async () => {
  queue = `queue-${++queues}`;
  box = boxOfQueue({ tenantId: "default", name: queue, maxReceives: 5, retentionSeconds: 3600 });
  expect((await call("PUT", `/v1/queues/${queue}`, {})).status).toBe(201);
});

describe("a pulled message", () => {
  it("says until when a query is to be answered, and whether several queues were read", async () => {
    const answerByMs = Date.UTC(2099, 0, 1);
    await put(box, { answerByMs });
    const [message] = await pull(`/v1/queues/${queue}/messages?visibility=0`);
    expect(message).toEqual({
      id: "msg_1",
      topic: `${queue}/run`,
      offset: 7,
      time: "2026-11-21T00:00:00.000Z",
      receiveCount: 1,
      contentType: "text/plain",
      attributes: {},
      answerBy: "2099-01-01T00:00:00.000Z",
      data: "work",
      receipt: expect.any(String),
    });
    expect(await pull(`/v1/pull?queue=${queue}&queue=${queue}`)).toMatchObject([{ id: "msg_1", queue }]);
  });

  it("is gone with its endpoint: 404 for who pulls, and stale is its receipt", async () => {
    const created = await call("POST", "/v1/endpoints", { kind: "pull", url: null });
    const { id } = z.object({ id: z.string() }).parse(await created.json());
    await put(boxOfEndpoint({ id, tenantId: "default", ordered: false }));
    const [message] = await pull(`/v1/endpoints/${id}/messages`);
    expect((await call("DELETE", `/v1/endpoints/${id}`)).status).toBe(204);
    expect((await call("GET", `/v1/endpoints/${id}/messages`)).status).toBe(404);
    const receipts = [message?.receipt];
    expect((await call("POST", `/v1/endpoints/${id}/ack`, { receipts })).status).toBe(404);
    expect(await (await call("POST", "/v1/pull/ack", { receipts })).json()).toMatchObject({ results: [{ ok: false, error: "stale" }] });
  });
});

describe("a long poll", () => {
  it("begins its answer before it has one, so that a client that leaves is noticed", async () => {
    const response = await call("GET", `/v1/queues/${queue}/messages?wait=20`);
    expect([response.status, response.headers.get("content-type")]).toEqual([200, "application/json"]);
    await put(box);
    const text = await response.text();
    expect(text).toMatch(/^ +\{"messages":\[\{"id":"msg_1"/);
  });

  it.each(["/v1/queues/QUEUE/messages?", "/v1/pull?queue=QUEUE&queue=OTHER&"])("takes nothing for a client that left: %s", async (path) => {
    expect((await call("PUT", `/v1/queues/${queue}-other`, {})).status).toBe(201);
    const asked = path.replace("QUEUE", queue).replace("OTHER", `${queue}-other`);
    const response = await call("GET", `${asked}wait=20&visibility=3600`);
    await response.body?.cancel();
    await put(box);
    await vi.waitUntil(async () => (await pull(`/v1/queues/${queue}/messages?visibility=3600`)).length === 1, { timeout: 10_000, interval: 50 });
  });
});
