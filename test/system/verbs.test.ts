import { setTimeout as delay } from "node:timers/promises";
import { afterAll, afterEach, beforeAll, describe, expect, it } from "vitest";
import { type Answered, call, createEndpoint, deliveriesOf, eventually } from "./api.ts";
import { type Gateway, startGateway } from "./gateway.ts";
import { type Answer, type ReceivedRequest, type Receiver, status, startReceiver } from "./receiver.ts";

let gateway: Gateway;
let receiver: Receiver;
/** How each path of the receiver is answered; 204 where nothing is said. */
const answers = new Map<string, Answer>();

beforeAll(async () => {
  receiver = await startReceiver();
  receiver.answerWith((request, response) => (answers.get(request.path) ?? status(204))(request, response));
  gateway = await startGateway({ env: { POSTERN_ALLOW_HOSTS: receiver.host } });
});
afterEach(() => answers.clear());
afterAll(async () => {
  await gateway.dispose();
  await receiver.close();
});

const text = { "content-type": "text/plain" };
const send = (path: string, raw: string | Uint8Array = "x", headers: Record<string, string> = text) => call(gateway, "POST", path, { raw, headers });
const arrivals = (path: string) => receiver.requests.filter((request) => request.path === path);
const codeOf = ({ json }: Answered) => String(json?.type).split("/").at(-1);

/** A push member of the queue, which it makes; answers as told. */
async function work(queue: string, path: string, answer: Answer = status(204)): Promise<{ id: string; secret: string }> {
  answers.set(path, answer);
  return createEndpoint(gateway, { url: receiver.url + path, queue, retrySchedule: [1, 1, 1] });
}

/** Answers with what the function makes of the request. */
function reply(make: (request: ReceivedRequest) => string | Promise<string>, contentType = "text/plain"): Answer {
  return async (request, response) => {
    const body = await make(request);
    response.writeHead(200, { "content-type": contentType }).end(body);
  };
}

/** Never answers. */
const silent: Answer = () => undefined;

type Pulled = { id: string; topic: string; receipt: string; data?: unknown; contentType: string };

/** Pulls until there is a message in the queue. */
async function pull(queue: string): Promise<Pulled[]> {
  const { json } = await eventually(() => call(gateway, "GET", `/v1/queues/${queue}/messages?max=10&wait=5`), ({ json: body }) => body?.messages?.length > 0);
  return json.messages;
}

describe("M1: command, query, event and direct message on valid targets", () => {
  it("accepts each and gets the query's answer, of `a.b/c` as well", async () => {
    await work("a.b", "/m1", reply(({ headers, body }) => `${headers["postern-topic"]} ${body.toString()}`, "text/x-odd; v=1"));
    const command = await send("/v1/commands/a.b/c", "go");
    expect([command.status, command.json]).toMatchObject([202, { id: expect.stringMatching(/^msg_/), topic: "a.b/c", offset: 0, matched: 1 }]);
    const asked = await send("/v1/queries/a.b/c?timeout=10", "what");
    expect([asked.status, asked.headers.get("content-type"), asked.bytes.toString()]).toEqual([200, "text/x-odd; v=1", "a.b/c what"]);
    expect((await send("/v1/events/a.b")).status).toBe(202);
    expect((await send("/v1/direct/a.b")).status).toBe(202);
    expect(arrivals("/m1").map(({ headers, body }) => [headers["webhook-id"], body.toString()])).toEqual([
      [command.json.id, "go"],
      [asked.headers.get("postern-message-id"), "what"],
    ]);
  });

  it("passes the bytes of question and answer on as they are", async () => {
    const question = Buffer.from(Array.from({ length: 70_000 }, (_, index) => (index * 31) % 256));
    answers.set("/bytes", (request, response) => void response.writeHead(200, { "content-type": "application/octet-stream" }).end(request.body.toReversed()));
    await createEndpoint(gateway, { url: `${receiver.url}/bytes`, queue: "bytes" });
    const asked = await send("/v1/queries/bytes/turn", question, { "content-type": "application/octet-stream" });
    expect([asked.status, asked.headers.get("content-type")]).toEqual([200, "application/octet-stream"]);
    expect(Buffer.compare(asked.bytes, Buffer.from(question.toReversed()))).toBe(0);
  });

  it("sends all of them in one batch, results in order", async () => {
    await work("mixed", "/mixed");
    await createEndpoint(gateway, { url: `${receiver.url}/mixed`, topics: ["mixed"] });
    await createEndpoint(gateway, { url: `${receiver.url}/mixed`, node: "mixed" });
    const messages = [{ command: "mixed/run", data: "1" }, { topic: "mixed", data: "2" }, { node: "mixed", data: "3" }, { command: "mixed/stop", data: "4" }];
    const batch = await call(gateway, "POST", "/v1/batch", { body: { messages } });
    expect(batch.status).toBe(202);
    expect(batch.json.results.map((one: any) => [one.topic, one.offset, one.matched])).toEqual([["mixed/run", 0, 1], ["mixed", 0, 1], ["mixed", 0, 1], ["mixed/stop", 1, 1]]);
    await receiver.until(() => arrivals("/mixed").length === 4);
    const arrived = new Map(arrivals("/mixed").map(({ headers, body }) => [headers["webhook-id"], `${headers["postern-topic"]} ${body.toString()}`]));
    expect(batch.json.results.map(({ id }: any) => arrived.get(id))).toEqual(["mixed/run 1", "mixed 2", "mixed 3", "mixed/stop 4"]);
  });

  it("sends what has a chosen id once, whoever sends it again", async () => {
    await work("once", "/once");
    const headers = { ...text, "ce-specversion": "1.0", "ce-id": "job-1", "ce-source": "/s", "ce-type": "t" };
    const first = await send("/v1/commands/once/run", "x", headers);
    const again = await send("/v1/commands/once/run", "x", headers);
    expect([first.status, again.status, again.json]).toEqual([202, 200, first.json]);
    const other = await send("/v1/commands/once/stop", "x", headers);
    expect([other.status, other.json.offset]).toEqual([202, 1]);
    await receiver.until(() => arrivals("/once").length === 2);
    expect(arrivals("/once").map((request) => request.headers["postern-topic"]).sort()).toEqual(["once/run", "once/stop"]);
  });
});

describe("M2: malformed targets", () => {
  it.each(["/v1/commands/foobar", "/v1/commands/a%23b", "/v1/queries/foobar", "/v1/events/a/b", "/v1/events/a%2Fb", "/v1/direct/a%23b"])("POST %s is 400", async (path) => {
    const refused = await send(path);
    expect([refused.status, codeOf(refused)]).toEqual([400, "malformed-target"]);
  });
});

describe("M3: three workers on a queue", () => {
  it("one of them gets each command, and they take turns", async () => {
    for (const path of ["/m3-a", "/m3-b", "/m3-c"]) await work("m3", path);
    const got = () => ["/m3-a", "/m3-b", "/m3-c"].flatMap(arrivals);
    const ids: string[] = [];
    for (let count = 0; count < 30; count++) ids.push((await send("/v1/commands/m3/run", String(count))).json.id);
    await receiver.until(() => got().length >= 30);
    await eventually(() => deliveriesOf(gateway, ids.at(-1)!), ([delivery]) => delivery?.status === "delivered");
    expect(got().map(({ headers }) => headers["webhook-id"]).sort()).toEqual([...ids].sort());
    for (const path of ["/m3-a", "/m3-b", "/m3-c"]) expect(arrivals(path).length).toBeGreaterThan(0);
  });
});

describe("M4: a query to a silent worker", () => {
  it("is 504 after its timeout, and the late reply is dropped and says so", async () => {
    await work("m4", "/m4", silent);
    const startedAt = performance.now();
    const asked = await send("/v1/queries/m4/ask?timeout=1");
    const tookMs = performance.now() - startedAt;
    expect([asked.status, codeOf(asked)]).toEqual([504, "query-timeout"]);
    expect(tookMs).toBeGreaterThanOrEqual(990);
    expect(tookMs).toBeLessThan(5_000);
    const id = arrivals("/m4")[0]?.headers["webhook-id"];
    expect(id).toBe(asked.headers.get("postern-message-id"));
    const late = await send(`/v1/messages/${id}/reply`, "late");
    expect([late.status, codeOf(late)]).toEqual([410, "gone"]);
    expect(late.json.detail).toMatch(/too late.*dropped/);
  });

  it("tells a puller the same", async () => {
    expect((await call(gateway, "PUT", "/v1/queues/m4-pull", { body: {} })).status).toBe(201);
    const asking = send("/v1/queries/m4-pull/ask?timeout=2");
    const [message] = await pull("m4-pull");
    expect((await asking).status).toBe(504);
    const late = await send(`/v1/messages/${message!.id}/reply`, "late");
    expect([late.status, codeOf(late)]).toEqual([410, "gone"]);
  });

  it("does not deliver a query whose caller has gone to a worker that comes later", async () => {
    expect((await call(gateway, "PUT", "/v1/queues/m4-late", { body: {} })).status).toBe(201);
    const asked = await send("/v1/queries/m4-late/ask?timeout=1", "expired");
    expect(asked.status).toBe(504);
    expect((await send("/v1/commands/m4-late/run", "still wanted")).status).toBe(202);
    await work("m4-late", "/m4-late");
    await receiver.until(() => arrivals("/m4-late").length > 0);
    const id = asked.headers.get("postern-message-id")!;
    await eventually(() => deliveriesOf(gateway, id), ([delivery]) => delivery !== undefined && delivery.status !== "open");
    expect(arrivals("/m4-late").map(({ body }) => body.toString())).toEqual(["still wanted"]);
  });

  it.each(["0", "61", "abc"])("refuses the timeout %s", async (timeout) => {
    const refused = await send(`/v1/queries/m4/ask?timeout=${timeout}`);
    expect([refused.status, refused.json.errors[0].pointer]).toEqual([422, "?timeout"]);
  });
});

describe("M5: callers at once each get their own answer", () => {
  it("two of them, answered in the other order", async () => {
    const second = Promise.withResolvers<void>();
    await work("m5", "/m5", reply(async ({ body }) => {
      const question = body.toString();
      if (question === "first") await second.promise;
      else second.resolve();
      return `answer to ${question}`;
    }));
    const first = send("/v1/queries/m5/ask", "first");
    await receiver.until(() => arrivals("/m5").length === 1);
    const other = await send("/v1/queries/m5/ask", "second");
    expect(other.bytes.toString()).toBe("answer to second");
    expect((await first).bytes.toString()).toBe("answer to first");
  });

  it("200 of them, with four workers", async () => {
    const paths = ["/m5-a", "/m5-b", "/m5-c", "/m5-d"];
    for (const path of paths) {
      await work("m5-many", path, reply(async ({ body }) => {
        await delay(Math.random() * 50);
        return `answer to ${body.toString()}`;
      }));
    }
    const questions = Array.from({ length: 200 }, (_, index) => `question ${index}`);
    const asked = await Promise.all(questions.map((question) => send("/v1/queries/m5-many/ask?timeout=30", question)));
    expect(asked.map((one) => [one.status, one.bytes.toString()])).toEqual(questions.map((question) => [200, `answer to ${question}`]));
    expect(paths.flatMap(arrivals)).toHaveLength(200);
  });

  it("two under the same chosen id, with tokens of their own", async () => {
    await work("m5-same", "/m5-same", reply(({ body }) => `answer to ${body.toString()}`));
    const headers = { ...text, "ce-specversion": "1.0", "ce-id": "1", "ce-source": "/s", "ce-type": "t" };
    const token = (await call(gateway, "POST", "/v1/tokens", { body: { name: "asker", scopes: ["publish"] } })).json.token;
    const asked = await Promise.all([
      call(gateway, "POST", "/v1/queries/m5-same/ask", { raw: "a", headers }),
      call(gateway, "POST", "/v1/queries/m5-same/ask", { raw: "b", headers, token }),
    ]);
    expect(asked.map(({ bytes }) => bytes.toString())).toEqual(["answer to a", "answer to b"]);
  });
});

describe("M6: an unknown queue", () => {
  it.each(["/v1/commands/nowhere/run", "/v1/queries/nowhere/run"])("POST %s is 404 with its own code", async (path) => {
    const refused = await send(path);
    expect([refused.status, codeOf(refused)]).toEqual([404, "unknown-queue"]);
  });

  it("in a batch is named, and nothing of the batch is accepted", async () => {
    const messages = [{ topic: "m6", data: 1 }, { command: "nowhere/run", data: 2 }];
    const refused = await call(gateway, "POST", "/v1/batch", { body: { messages } });
    expect([refused.status, codeOf(refused), refused.json.errors[0].pointer]).toEqual([404, "unknown-queue", "/messages/1/command"]);
    expect((await send("/v1/events/m6")).json.offset).toBe(0);
  });
});

describe("M8: an answer that is an error", () => {
  const error = '{"error":"out of stock","code":"E_STOCK","params":{"sku":"7","left":0.0}}';

  it("of a push member reaches the caller as it is", async () => {
    await work("m8", "/m8", reply(() => error, "application/json"));
    const asked = await send("/v1/queries/m8/ask");
    expect([asked.status, asked.headers.get("content-type"), asked.bytes.toString()]).toEqual([200, "application/json", error]);
  });

  it("of a puller reaches the caller as it is; a second reply is 409, one to a command 409, one to nothing 404", async () => {
    expect((await call(gateway, "PUT", "/v1/queues/m8-pull", { body: {} })).status).toBe(201);
    const command = await send("/v1/commands/m8-pull/run");
    const asking = send("/v1/queries/m8-pull/ask", "what");
    const pulled: Pulled[] = [];
    while (pulled.length < 2) pulled.push(...(await pull("m8-pull")));
    const query = pulled.find(({ topic }) => topic === "m8-pull/ask");
    expect(query?.data).toBe("what");
    const json = { "content-type": "application/json" };
    expect((await send(`/v1/messages/${query!.id}/reply`, error, json)).status).toBe(202);
    const asked = await asking;
    expect([asked.status, asked.headers.get("content-type"), asked.bytes.toString()]).toEqual([200, "application/json", error]);
    const second = await send(`/v1/messages/${query!.id}/reply`, "{}", json);
    expect([second.status, codeOf(second)]).toEqual([409, "conflict"]);
    expect((await send(`/v1/messages/${command.json.id}/reply`, "{}", json)).status).toBe(409);
    expect((await send("/v1/messages/msg_nothing/reply", "{}", json)).status).toBe(404);
    const acked = await call(gateway, "POST", "/v1/queues/m8-pull/ack", { body: { receipts: pulled.map(({ receipt }) => receipt) } });
    expect(acked.json.results.map(({ ok }: any) => ok)).toEqual([true, true]);
  });
});
