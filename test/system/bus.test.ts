import { setTimeout as delay } from "node:timers/promises";
import { afterAll, afterEach, beforeAll, describe, expect, it } from "vitest";
import { call, createEndpoint, deliveriesOf, eventually, publish } from "./api.ts";
import { type Gateway, startGateway } from "./gateway.ts";
import { type Answer, type Receiver, status, startReceiver } from "./receiver.ts";

const QUERIES = 200;
/** An hour: what is tried again then, is not tried again in a test. */
const NEVER = [3_600];
const text = { "content-type": "text/plain" };

type Pulled = { readonly id: string; readonly topic: string; readonly data: string; readonly receipt: string; readonly receiveCount: number };

describe.each([
  { mailbox: "Amazon SQS", env: {} },
  { mailbox: "Durable Objects", env: { POSTERN_MAILBOX: "durable-object" } },
])("with mailboxes in $mailbox", ({ env }) => {
  let gateway: Gateway;
  let receiver: Receiver;
  /** How each path of the receiver is answered; 204 where nothing is said. */
  const answers = new Map<string, Answer>();

  beforeAll(async () => {
    receiver = await startReceiver();
    receiver.answerWith((request, response) => (answers.get(request.path) ?? status(204))(request, response));
    gateway = await startGateway({ env: { ...env, POSTERN_ALLOW_HOSTS: receiver.host } });
  });
  afterEach(() => answers.clear());
  afterAll(async () => {
    await gateway?.dispose();
    await receiver.close();
  });

  const bodies = (path: string): string[] => receiver.requests.filter((request) => request.path === path).map(({ body }) => body.toString());

  async function makeQueue(name: string): Promise<void> {
    expect((await call(gateway, "PUT", `/v1/queues/${name}`, { body: {} })).status).toBe(201);
  }

  async function command(queue: string, raw: string): Promise<string> {
    const { status: code, json } = await call(gateway, "POST", `/v1/commands/${queue}/run`, { raw, headers: text });
    expect(code).toBe(202);
    return json.id;
  }

  /** Until so many have come, and then as many as are there; each is acknowledged, and must not have been pulled before. */
  async function pullAll(path: string, count: number): Promise<Pulled[]> {
    const pulled: Pulled[] = [];
    for (const deadline = Date.now() + 20_000; pulled.length < count && Date.now() < deadline; ) {
      const { json } = await call(gateway, "GET", `${path}/messages?max=10&wait=5&visibility=600`);
      const messages: Pulled[] = json.messages;
      if (messages.length === 0) continue;
      const { json: settled } = await call(gateway, "POST", `${path}/ack`, { body: { receipts: messages.map(({ receipt }) => receipt) } });
      expect(settled.results.map(({ ok }: any) => ok)).toEqual(messages.map(() => true));
      pulled.push(...messages);
    }
    expect(pulled.map(({ receiveCount }) => receiveCount)).toEqual(pulled.map(() => 1));
    return pulled;
  }

  const dataOf = (pulled: readonly Pulled[]): string[] => pulled.map(({ data }) => data).sort();
  const statusOf = async (id: string): Promise<string> => (await call(gateway, "GET", `/v1/endpoints/${id}`)).json.status;

  describe("M5: 200 queries at once, each caller its own answer", () => {
    const questions = Array.from({ length: QUERIES }, (_, index) => `question ${index}`);
    const expected = questions.map((question) => [200, `answer to ${question}`]);

    async function askAll(queue: string): Promise<unknown[]> {
      const asked = await Promise.all(
        questions.map((raw) => call(gateway, "POST", `/v1/queries/${queue}/ask?timeout=30`, { raw, headers: text })),
      );
      return asked.map((answer) => [answer.status, answer.bytes.toString()]);
    }

    const answering: Answer = async (request, response) => {
      await delay(Math.random() * 50);
      response.writeHead(200, text).end(`answer to ${request.body.toString()}`);
    };

    /** Replies to what it pulls, in any order, until told to stop. */
    function pullAndReply(queue: string): { replied: () => number; stop: () => Promise<void> } {
      let stopped = false;
      let replied = 0;
      const run = async (): Promise<void> => {
        while (!stopped) {
          const { json } = await call(gateway, "GET", `/v1/queues/${queue}/messages?max=10&wait=1&visibility=60`);
          const messages: Pulled[] = json.messages;
          await Promise.all(
            messages.map(async ({ id, data }) => {
              await delay(Math.random() * 50);
              const reply = await call(gateway, "POST", `/v1/messages/${id}/reply`, { raw: `answer to ${data}`, headers: text });
              expect(reply.status).toBe(202);
              replied += 1;
            }),
          );
          if (messages.length > 0) await call(gateway, "POST", `/v1/queues/${queue}/ack`, { body: { receipts: messages.map(({ receipt }) => receipt) } });
        }
      };
      const running = Promise.all(Array.from({ length: 4 }, run));
      return {
        replied: () => replied,
        stop: async () => {
          stopped = true;
          await running;
        },
      };
    }

    it("from push members", async () => {
      const paths = ["/ask-a", "/ask-b", "/ask-c"];
      for (const path of paths) {
        answers.set(path, answering);
        await createEndpoint(gateway, { url: receiver.url + path, queue: "ask-push" });
      }
      expect(await askAll("ask-push")).toEqual(expected);
      expect(paths.flatMap(bodies).sort()).toEqual([...questions].sort());
    });

    it("from pulling members", async () => {
      await makeQueue("ask-pull");
      const workers = pullAndReply("ask-pull");
      expect(await askAll("ask-pull")).toEqual(expected);
      await workers.stop();
      expect(workers.replied()).toBe(QUERIES);
    });
  });

  describe("a push endpoint that falls back to pull", () => {
    const fallingBack = (path: string, fields: object) =>
      createEndpoint(gateway, { url: receiver.url + path, fallback: "pull", ...fields });

    it("has what no attempt could deliver in its mailbox", async () => {
      answers.set("/exhausted", status(500));
      const { id } = await fallingBack("/exhausted", { topics: ["exhausted"], retrySchedule: [1] });
      const published = await Promise.all(["a", "b", "c"].map((raw) => publish(gateway, "exhausted", raw)));
      const pulled = await pullAll(`/v1/endpoints/${id}`, 3);
      expect(dataOf(pulled)).toEqual(["a", "b", "c"]);
      expect(new Set(pulled.map((message) => message.id))).toEqual(new Set(published.map((message) => message.id)));
      expect(bodies("/exhausted")).toHaveLength(6);
      const [delivery] = await eventually(() => deliveriesOf(gateway, published[0]!.id), ([one]) => one?.status !== "open");
      expect(delivery).toMatchObject({ status: "delivered", attempts: [{ statusCode: 500 }, { statusCode: 500 }] });
      const { json } = await call(gateway, "GET", `/v1/dead?endpointId=${id}`);
      expect(json.data).toEqual([]);
    });

    it("has what comes while it is disabled in its mailbox, what waited for another attempt as well, and is pushed to once enabled", async () => {
      answers.set("/gone", status(500));
      const { id } = await fallingBack("/gone", { topics: ["gone"], retrySchedule: NEVER });
      const waiting = await publish(gateway, "gone", "waits for its retry");
      // Its stream is told of what history knows to be open.
      await eventually(() => deliveriesOf(gateway, waiting.id), ([one]) => one?.attempts.length === 1);
      answers.set("/gone", status(410));
      await publish(gateway, "gone", "finds it gone");
      await eventually(() => statusOf(id), (current) => current === "disabled");
      // No isolate takes it for active any longer.
      await delay(1_200);
      const pushed = bodies("/gone").length;
      await publish(gateway, "gone", "comes while it is disabled");
      const pulled = await pullAll(`/v1/endpoints/${id}`, 3);
      expect(dataOf(pulled)).toEqual(["comes while it is disabled", "finds it gone", "waits for its retry"]);
      expect(bodies("/gone")).toHaveLength(pushed);

      answers.set("/gone", status(204));
      expect((await call(gateway, "POST", `/v1/endpoints/${id}/enable`)).status).toBe(200);
      await publish(gateway, "gone", "comes afterwards");
      await receiver.until(() => bodies("/gone").includes("comes afterwards"));
      expect((await call(gateway, "GET", `/v1/endpoints/${id}/messages?wait=1`)).json.messages).toEqual([]);
    });
  });

  describe("a queue whose push member is disabled", () => {
    it("has its messages pulled when it was the last one", async () => {
      answers.set("/last", status(500));
      const { id } = await createEndpoint(gateway, { url: `${receiver.url}/last`, queue: "last", retrySchedule: NEVER });
      // What waits is let flow again a second after a member came: that must not be what does it here.
      await delay(1_500);
      await command("last", "waits for its retry");
      await receiver.until(() => bodies("/last").length === 1);
      answers.set("/last", status(410));
      await command("last", "finds it gone");
      await eventually(() => statusOf(id), (current) => current === "disabled");
      const startedAt = Date.now();
      const pulled = await pullAll("/v1/queues/last", 2);
      expect(dataOf(pulled)).toEqual(["finds it gone", "waits for its retry"]);
      // At once, and not when held messages are looked at again, 10 s later.
      expect(Date.now() - startedAt).toBeLessThan(8_000);
    });

    it("has its messages pushed to another one", async () => {
      answers.set("/one-of-two", status(410));
      const { id } = await createEndpoint(gateway, { url: `${receiver.url}/one-of-two`, queue: "two", retrySchedule: NEVER });
      await createEndpoint(gateway, { url: `${receiver.url}/other-of-two`, queue: "two", retrySchedule: NEVER });
      const sent = Array.from({ length: 6 }, (_, index) => `job ${index}`);
      for (const raw of sent) await command("two", raw);
      await eventually(() => statusOf(id), (current) => current === "disabled");
      await receiver.until(() => new Set(bodies("/other-of-two")).size === sent.length);
      expect(bodies("/other-of-two").sort()).toEqual(sent);
    });
  });
});
