import { setTimeout as delay } from "node:timers/promises";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { type Answered, call, createEndpoint, eventually, publish } from "./api.ts";
import { type Gateway, startGateway } from "./gateway.ts";

type Pulled = { readonly id: string; readonly topic: string; readonly receiveCount: number; readonly receipt: string; readonly [field: string]: any };
/** Where to pull from, and the topic to publish on so that it gets there. */
type Source = { readonly path: string; readonly name: string; readonly topic: string };

describe.each([
  { mailbox: "Amazon SQS", env: {} },
  { mailbox: "Durable Objects", env: { POSTERN_MAILBOX: "durable-object" } },
])("pulling, from $mailbox", ({ env }) => {
  let gateway: Gateway;
  let created = 0;

  beforeAll(async () => {
    gateway = await startGateway({ env });
  });

  afterAll(async () => {
    await gateway?.dispose();
  });

  async function makeEndpoint(): Promise<Source> {
    const topic = `topic-${++created}`;
    const { id } = await createEndpoint(gateway, { kind: "pull", topics: [topic] });
    return { name: id, topic, path: `/v1/endpoints/${id}` };
  }

  async function makeQueue(): Promise<Source> {
    const name = `queue-${++created}`;
    const topic = `topic-${created}`;
    const answer = await call(gateway, "PUT", `/v1/queues/${name}`, { body: { topics: [topic] } });
    expect(answer.status).toBe(201);
    return { name, topic, path: `/v1/queues/${name}` };
  }

  async function makeToken(body: Record<string, unknown>, tenant = "default"): Promise<string> {
    return (await call(gateway, "POST", "/v1/tokens", { body: { name: "t", ...body }, headers: { "postern-tenant": tenant } })).json.token;
  }

  async function get(path: string, token?: string): Promise<Pulled[]> {
    const answer = await call(gateway, "GET", path, token === undefined ? {} : { token });
    expect([answer.status, answer.json.detail]).toEqual([200, undefined]);
    return answer.json.messages;
  }

  const pull = ({ path }: Pick<Source, "path">, query = ""): Promise<Pulled[]> => get(`${path}/messages${query}`);

  /** What is there, or comes soon: a delivery into a mailbox takes some milliseconds. */
  async function pullSome(source: Source, count: number, visibility = 60): Promise<Pulled[]> {
    const pulled: Pulled[] = [];
    while (pulled.length < count) {
      const messages = await pull(source, `?max=${Math.min(10, count - pulled.length)}&wait=10&visibility=${visibility}`);
      if (messages.length === 0) throw new Error(`only ${pulled.length} of ${count} messages came`);
      pulled.push(...messages);
    }
    return pulled;
  }

  async function settle(path: string, receipts: readonly string[], fields: object = {}): Promise<any[]> {
    const answer = await call(gateway, "POST", path, { body: { receipts, ...fields } });
    expect([answer.status, answer.json.detail]).toEqual([200, undefined]);
    return answer.json.results;
  }

  const outcomes = (results: readonly any[]): unknown[] => results.map(({ ok, error }) => (ok === true ? "ok" : error));
  const receiptsOf = (messages: readonly Pulled[]): string[] => messages.map(({ receipt }) => receipt);

  describe("a message", () => {
    it("is the published bytes as text, never parsed, with all that belongs to it", async () => {
      const source = await makeEndpoint();
      const body = '{ "order" : 17.0,\r\n "order":18, "name":"Zoë 🌊\\u0000" }\n';
      const headers = { "content-type": "application/json", "postern-attribute-country": "DE" };
      const published = await publish(gateway, source.topic, body, headers);
      const [message] = await pullSome(source, 1);
      expect(message).toEqual({
        id: published.id,
        topic: source.topic,
        offset: published.offset,
        time: expect.stringMatching(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/),
        receiveCount: 1,
        contentType: "application/json",
        attributes: { country: "DE" },
        data: body,
        receipt: expect.stringMatching(/^[A-Za-z0-9_.-]+$/),
      });
    });

    it("is base 64 where the bytes are not UTF-8, and keeps a byte order mark where they are", async () => {
      const source = await makeEndpoint();
      const bytes = Buffer.from([0xff, 0x00, 0xc3, 0x28]);
      await publish(gateway, source.topic, bytes, { "content-type": "application/octet-stream" });
      const [binary] = await pullSome(source, 1);
      expect(binary).not.toHaveProperty("data");
      expect(Buffer.from(binary?.["dataBase64"], "base64")).toEqual(bytes);
      await publish(gateway, source.topic, "\ufeffmarked");
      expect((await pullSome(source, 1))[0]?.["data"]).toBe("\ufeffmarked");
    });

    it("keeps its CloudEvents context", async () => {
      const source = await makeEndpoint();
      const event = { "ce-specversion": "1.0", "ce-id": "e-1", "ce-source": "/shop", "ce-type": "order", "ce-subject": "17" };
      await publish(gateway, source.topic, "{}", { "content-type": "application/json", ...event });
      const [message] = await pullSome(source, 1);
      expect(message).toMatchObject({ id: "e-1", event: { source: "/shop", type: "order", subject: "17" } });
    });

    it("comes whole when it is a full mebibyte", async () => {
      const source = await makeQueue();
      const body = "x".repeat(1024 * 1024);
      await publish(gateway, source.topic, body);
      expect((await pullSome(source, 1))[0]?.["data"]).toBe(body);
    });
  });

  it("Q5: gives at most 10 of 15 messages a call, and all again after the visibility time", async () => {
    const source = await makeEndpoint();
    const ids = new Set<string>();
    for (let index = 0; index < 15; index++) ids.add((await publish(gateway, source.topic, `message ${index}`)).id);
    const first = await pull(source, "?wait=10&visibility=3");
    expect(first.length).toBeLessThanOrEqual(10);
    const rest = await pullSome(source, 15 - first.length, 3);
    expect(new Set([...first, ...rest].map(({ id }) => id))).toEqual(ids);

    const again = new Map<string, Pulled>();
    await eventually(async () => {
      for (const message of await pull(source, "?visibility=600")) again.set(message.id, message);
      return again.size;
    }, (size) => size === 15);
    expect([...again.values()].every(({ receiveCount }) => receiveCount === 2)).toBe(true);
    const acknowledged = await settle(`${source.path}/ack`, receiptsOf([...again.values()]));
    expect(outcomes(acknowledged)).toEqual(Array(15).fill("ok"));
  });

  it.each(["endpoint", "queue"])("Q6: deletes a message by the URL of its receipt, of an %s", async (kind) => {
    const source = kind === "endpoint" ? await makeEndpoint() : await makeQueue();
    const other = kind === "endpoint" ? await makeEndpoint() : await makeQueue();
    await publish(gateway, source.topic, "once");
    const [message] = await pullSome(source, 1);
    const remove = (path: string): Promise<Answered> => call(gateway, "DELETE", `${path}/messages/${message?.receipt}`);
    expect((await remove(other.path)).json).toMatchObject({ status: 404, type: "https://postern.dev/problems/not-found", detail: expect.stringContaining("another endpoint or queue") });
    expect((await remove(source.path)).status).toBe(204);
    expect((await remove(source.path)).json).toMatchObject({ status: 404, detail: expect.stringContaining("stale") });
    expect((await call(gateway, "DELETE", `${source.path}/messages/nonsense`)).json).toMatchObject({ status: 404, detail: expect.stringContaining("no receipt") });
  });

  it("tells of a queue how many messages wait, and for how long the oldest has", async () => {
    const source = await makeQueue();
    const shown = async (depth: number) => (await eventually(() => call(gateway, "GET", source.path), ({ json }) => json.depth === depth)).json;
    expect((await shown(0)).oldestAgeSeconds).toBeNull();
    await publish(gateway, source.topic, "first");
    await delay(2_000);
    await publish(gateway, source.topic, "second");
    expect((await shown(2)).oldestAgeSeconds).toBeGreaterThanOrEqual(2);
    const pulled = await pullSome(source, 2);
    await settle(`${source.path}/ack`, receiptsOf(pulled.filter(({ data }) => data === "first")));
    expect((await shown(1)).oldestAgeSeconds).toBeLessThan(2);
  });

  it("Q8: reads several queues in one call, each message saying its queue", async () => {
    const queues = [await makeQueue(), await makeQueue(), await makeQueue()] as const;
    const asked = queues.map(({ name }) => `queue=${name}`).join("&");
    for (const { topic } of queues) for (let index = 0; index < 4; index++) await publish(gateway, topic, `${topic} ${index}`);

    const pulled = new Map<string, Pulled>();
    await eventually(async () => {
      const messages = await get(`/v1/pull?${asked}&wait=5&visibility=600`);
      expect(messages.length).toBeLessThanOrEqual(10);
      for (const message of messages) pulled.set(message.id, message);
      return pulled.size;
    }, (size) => size === 12);
    const messages = [...pulled.values()];
    for (const { name, topic } of queues) {
      expect(messages.filter(({ queue }) => queue === name).map((message) => message.topic)).toEqual(Array(4).fill(topic));
    }

    const own = messages.filter(({ queue }) => queue === queues[0].name);
    expect(outcomes(await settle(`${queues[0].path}/ack`, receiptsOf(own)))).toEqual(Array(4).fill("ok"));
    // the others where they do not belong, then where all do
    const others = messages.filter(({ queue }) => queue !== queues[0].name);
    expect(outcomes(await settle(`${queues[0].path}/ack`, receiptsOf(others)))).toEqual(Array(8).fill("foreign"));
    expect(outcomes(await settle("/v1/pull/ack", receiptsOf(others)))).toEqual(Array(8).fill("ok"));
  });

  describe("M7: a worker", () => {
    it.each(["endpoint", "queue"])("that gives a message back has it back at once: %s", async (kind) => {
      const source = kind === "endpoint" ? await makeEndpoint() : await makeQueue();
      const { id } = await publish(gateway, source.topic, "try again");
      const taken = await pullSome(source, 1, 600);
      expect(await pull(source)).toEqual([]);
      expect(outcomes(await settle(`${source.path}/nack`, receiptsOf(taken)))).toEqual(["ok"]);
      expect(await pullSome(source, 1)).toMatchObject([{ id, receiveCount: 2 }]);
    });

    it("that crashed leaves its message to another after the visibility time, and its receipt deletes nothing", async () => {
      const source = await makeQueue();
      const { id } = await publish(gateway, source.topic, "left behind");
      const crashed = await pullSome(source, 1, 1);
      const [again] = await pullSome(source, 1, 600);
      expect(again).toMatchObject({ id, receiveCount: 2 });
      expect(outcomes(await settle(`${source.path}/ack`, receiptsOf(crashed)))).toEqual(["stale"]);
      expect(outcomes(await settle(`${source.path}/ack`, [again!.receipt]))).toEqual(["ok"]);
    });

    it("keeps a message hidden for as long as it extends, and hides it for a delay when it gives it back", async () => {
      const source = await makeEndpoint();
      await publish(gateway, source.topic, "slow");
      const taken = await pullSome(source, 1, 2);
      expect(outcomes(await settle(`${source.path}/extend`, receiptsOf(taken), { visibility: 600 }))).toEqual(["ok"]);
      await delay(2_500);
      expect(await pull(source)).toEqual([]);
      expect(outcomes(await settle(`${source.path}/nack`, receiptsOf(taken), { delaySeconds: 2 }))).toEqual(["ok"]);
      expect(await pull(source)).toEqual([]);
      expect(await pullSome(source, 1)).toMatchObject([{ receiveCount: 2 }]);
    });

    it("settles messages of several queues at once at /v1/pull", async () => {
      const queues = [await makeQueue(), await makeQueue()] as const;
      for (const { topic } of queues) await publish(gateway, topic, "m");
      const taken = [...(await pullSome(queues[0], 1, 5)), ...(await pullSome(queues[1], 1, 5))];
      expect(outcomes(await settle("/v1/pull/extend", receiptsOf(taken), { visibility: 600 }))).toEqual(["ok", "ok"]);
      expect(outcomes(await settle("/v1/pull/nack", receiptsOf(taken)))).toEqual(["ok", "ok"]);
      for (const queue of queues) expect(await pullSome(queue, 1)).toMatchObject([{ receiveCount: 2 }]);
    });
  });

  describe("a receipt", () => {
    it("that is foreign, forged, malformed or repeated is refused by itself, and deletes nothing", async () => {
      const source = await makeEndpoint();
      const other = await makeEndpoint();
      for (const { topic } of [source, source, other]) await publish(gateway, topic, "m");
      const [one, two] = await pullSome(source, 2, 600);
      const [foreign] = await pullSome(other, 1, 600);
      const forged = `${one!.receipt.slice(0, -2)}${one!.receipt.endsWith("AA") ? "BB" : "AA"}`;
      const receipts = [foreign!.receipt, forged, "nonsense", two!.receipt, two!.receipt];
      const results = await settle(`${source.path}/ack`, receipts);
      expect(results.map(({ receipt }) => receipt)).toEqual(receipts);
      expect(outcomes(results)).toEqual(["foreign", "forged", "malformed", "ok", "repeated"]);
      expect(outcomes(await settle(`${source.path}/ack`, [two!.receipt]))).toEqual(["stale"]);
      // the untouched ones are still there
      expect(outcomes(await settle(`${source.path}/ack`, [one!.receipt]))).toEqual(["ok"]);
      expect(outcomes(await settle(`${other.path}/nack`, [foreign!.receipt]))).toEqual(["ok"]);
      expect(await pullSome(other, 1)).toMatchObject([{ id: foreign!.id }]);
    });

    it("of another tenant is one that was never given out", async () => {
      const tenant = (await call(gateway, "POST", "/v1/tenants", { body: { name: "other" } })).json.id;
      const headers = { "postern-tenant": tenant };
      const queue = `shared-${++created}`;
      await call(gateway, "PUT", `/v1/queues/${queue}`, { body: {}, headers });
      await call(gateway, "PUT", `/v1/queues/${queue}`, { body: { topics: [queue] } });
      await publish(gateway, queue, "m");
      const source = { name: queue, topic: queue, path: `/v1/queues/${queue}` };
      const [message] = await pullSome(source, 1, 600);
      for (const path of [`${source.path}/ack`, "/v1/pull/ack"]) {
        const answer = await call(gateway, "POST", path, { body: { receipts: [message!.receipt] }, headers });
        expect(outcomes(answer.json.results)).toEqual(["forged"]);
      }
      expect(outcomes(await settle(`${source.path}/ack`, [message!.receipt]))).toEqual(["ok"]);
    });
  });

  describe("long polling", () => {
    it("wakes as soon as there is a message", async () => {
      const source = await makeEndpoint();
      const startedAt = Date.now();
      const waiting = pull(source, "?wait=20");
      await delay(1_500);
      const { id } = await publish(gateway, source.topic, "awake");
      expect(await waiting).toMatchObject([{ id, receiveCount: 1 }]);
      expect(Date.now() - startedAt).toBeLessThan(15_000);
    });

    it("ends with nothing after its time", async () => {
      const source = await makeQueue();
      const startedAt = Date.now();
      expect(await pull(source, "?wait=1")).toEqual([]);
      expect(Date.now() - startedAt).toBeGreaterThan(800);
    });

    it("wakes for any of several queues, more than are waited for at once", async () => {
      const queues = await Promise.all(Array.from({ length: 7 }, makeQueue));
      const waiting = get(`/v1/pull?${queues.map(({ name }) => `queue=${name}`).join("&")}&wait=20`);
      await delay(500);
      const { id } = await publish(gateway, queues[6]!.topic, "awake");
      expect(await waiting).toMatchObject([{ id, queue: queues[6]!.name }]);
    });

    it.each(["endpoint", "queue"])("gives up when its client leaves, and the next message is for who is there: %s", async (kind) => {
      const source = kind === "endpoint" ? await makeEndpoint() : await makeQueue();
      const leaving = new AbortController();
      const response = await fetch(`${gateway.url}${source.path}/messages?wait=20&visibility=3600`, {
        headers: { authorization: `Bearer ${gateway.token}` },
        signal: leaving.signal,
      });
      expect(response.status).toBe(200); // it waits now
      leaving.abort();
      const { id } = await publish(gateway, source.topic, "for who is there");
      expect(await pullSome(source, 1)).toMatchObject([{ id }]);
    });

    it("leaves messages where they are for a HEAD request", async () => {
      const source = await makeEndpoint();
      await publish(gateway, source.topic, "untouched");
      for (let index = 0; index < 3; index++) {
        const answer = await fetch(`${gateway.url}${source.path}/messages`, {
          method: "HEAD",
          headers: { authorization: `Bearer ${gateway.token}` },
        });
        expect(answer.status).toBe(200);
      }
      expect(await pullSome(source, 1)).toMatchObject([{ receiveCount: 1 }]);
    });
  });

  describe("refuses", () => {
    const problem = (code: string, status: number): object => ({ type: `https://postern.dev/problems/${code}`, status });

    it("an endpoint that is not there, or is another tenant's, in the same words", async () => {
      const { name } = await makeEndpoint();
      const tenant = (await call(gateway, "POST", "/v1/tenants", { body: { name: "stranger" } })).json.id;
      const headers = { "postern-tenant": tenant };
      for (const [method, path, body] of [
        ["GET", "messages", undefined],
        ["POST", "ack", { receipts: ["r"] }],
        ["POST", "nack", { receipts: ["r"] }],
        ["POST", "extend", { receipts: ["r"], visibility: 1 }],
        ["DELETE", "messages/r", undefined],
      ] as const) {
        const options = body === undefined ? {} : { body };
        const unknown = await call(gateway, method, `/v1/endpoints/ep_nobody/${path}`, options);
        expect(unknown.json).toMatchObject(problem("not-found", 404));
        const foreign = await call(gateway, method, `/v1/endpoints/${name}/${path}`, { ...options, headers });
        expect({ ...foreign.json, instance: "" }).toEqual({ ...unknown.json, instance: "" });
      }
    });

    it("a queue that is not there, alone or among others, and a name that can be none", async () => {
      const { name } = await makeQueue();
      for (const path of ["/v1/queues/nobody/messages", `/v1/pull?queue=${name}&queue=nobody`]) {
        expect((await call(gateway, "GET", path)).json).toMatchObject(problem("unknown-queue", 404));
      }
      expect((await call(gateway, "POST", "/v1/queues/nobody/ack", { body: { receipts: ["r"] } })).json).toMatchObject(problem("unknown-queue", 404));
      for (const path of ["/v1/queues/a%23b/messages", "/v1/pull?queue=a..b"]) {
        expect((await call(gateway, "GET", path)).json).toMatchObject(problem("malformed-target", 400));
      }
    });

    it("a push endpoint without a fallback, and not one with it", async () => {
      const { id } = await createEndpoint(gateway, { url: "https://example.com/hook" });
      const refused = await call(gateway, "GET", `/v1/endpoints/${id}/messages`);
      expect(refused.json).toMatchObject({ ...problem("conflict", 409), detail: expect.stringContaining("fallback") });
      await call(gateway, "PATCH", `/v1/endpoints/${id}`, { body: { fallback: "pull" } });
      expect(await get(`/v1/endpoints/${id}/messages`)).toEqual([]);
    });

    it.each([
      "max=0", "max=11", "max=-1", "max=1.5", "max=ten", "max=",
      "wait=-1", "wait=21", "wait=0.5", "wait=1e1",
      "visibility=-1", "visibility=43201", "visibility=x",
    ])("the query %s", async (query) => {
      const { path, name } = await makeQueue();
      const [parameter] = query.split("=");
      for (const asked of [`${path}/messages?${query}`, `/v1/pull?queue=${name}&${query}`]) {
        const answer = await call(gateway, "GET", asked);
        expect(answer.json).toMatchObject({ ...problem("invalid-request", 422), errors: [{ pointer: `?${parameter}` }] });
      }
    });

    it("a call for several queues that names none, or too many", async () => {
      const many = Array.from({ length: 21 }, (_, index) => `queue=q${index}`).join("&");
      for (const query of ["", `?${many}`]) {
        expect((await call(gateway, "GET", `/v1/pull${query}`)).json).toMatchObject({ ...problem("invalid-request", 422), errors: [{ pointer: "?queue" }] });
      }
    });

    it.each([
      ["ack", {}, "/receipts"],
      ["ack", { receipts: [] }, "/receipts"],
      ["ack", { receipts: "r" }, "/receipts"],
      ["ack", { receipts: ["r", 7] }, "/receipts/1"],
      ["ack", { receipts: ["r"], delaySeconds: 1 }, "/delaySeconds"],
      ["nack", { receipts: ["r"], delaySeconds: 43_201 }, "/delaySeconds"],
      ["nack", { receipts: ["r"], delaySeconds: -1 }, "/delaySeconds"],
      ["nack", { receipts: ["r"], delaySeconds: 0.5 }, "/delaySeconds"],
      ["extend", { receipts: ["r"] }, "/visibility"],
      ["extend", { receipts: ["r"], visibility: 43_201 }, "/visibility"],
      ["extend", { receipts: ["r"], visibility: "30" }, "/visibility"],
    ] as const)("%s of %j", async (verb, body, pointer) => {
      const endpoint = await makeEndpoint();
      for (const path of [endpoint.path, "/v1/pull"]) {
        const answer = await call(gateway, "POST", `${path}/${verb}`, { body });
        expect(answer.json).toMatchObject({ ...problem("invalid-request", 422), errors: [{ pointer }] });
      }
    });

    it("more than 100 receipts", async () => {
      const { path } = await makeQueue();
      const answer = await call(gateway, "POST", `${path}/ack`, { body: { receipts: Array(101).fill("r") } });
      expect(answer.json).toMatchObject({ ...problem("invalid-request", 422), errors: [{ pointer: "/receipts" }] });
      expect(await settle(`${path}/ack`, Array(100).fill("r"))).toHaveLength(100);
    });

    it("a token without the scope `consume`, and none at all", async () => {
      const queue = await makeQueue();
      const consumer = await makeToken({ scopes: ["consume"] });
      expect(await get(`${queue.path}/messages`, consumer)).toEqual([]);
      const others = await makeToken({ scopes: ["publish", "manage", "read", "admin"] });
      for (const [method, path] of [["GET", "/messages"], ["POST", "/ack"], ["POST", "/nack"], ["POST", "/extend"], ["DELETE", "/messages/r"]] as const) {
        expect((await call(gateway, method, queue.path + path, { token: others })).json).toMatchObject(problem("missing-scope", 403));
        expect((await call(gateway, method, queue.path + path, { token: null })).json).toMatchObject(problem("unauthenticated", 401));
      }
    });
  });
});

describe("without a mailbox to pull from", () => {
  it.each([
    { missing: "credentials", env: { POSTERN_MAILBOX: "sqs", POSTERN_SQS_ENDPOINT: "http://127.0.0.1:9" }, names: "AWS_ACCESS_KEY_ID" },
    {
      missing: "SQS itself",
      env: { POSTERN_SQS_ENDPOINT: "http://127.0.0.1:9", AWS_ACCESS_KEY_ID: "id", AWS_SECRET_ACCESS_KEY: "key", AWS_REGION: "us-east-1" },
      names: "127.0.0.1:9",
    },
  ])("answers 503 and says that $missing is missing", async ({ env, names }) => {
    const gateway = await startGateway({ env });
    try {
      const { id } = await createEndpoint(gateway, { kind: "pull", topics: ["t"] });
      for (const path of [`/v1/endpoints/${id}/messages`, `/v1/endpoints/${id}/messages?wait=5`]) {
        const answer = await call(gateway, "GET", path);
        expect(answer.json).toMatchObject({ type: "https://postern.dev/problems/unavailable", status: 503, detail: expect.stringContaining(names) });
        expect(Number(answer.headers.get("retry-after"))).toBeGreaterThan(0);
        expect(answer.bytes.toString()).not.toContain(env.AWS_SECRET_ACCESS_KEY ?? "AWS4");
      }
    } finally {
      await gateway.dispose();
    }
  });
});
