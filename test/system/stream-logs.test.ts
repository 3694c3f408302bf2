import { stream } from "@durable-streams/client";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { call, publish } from "./api.ts";
import { type Gateway, startGateway } from "./gateway.ts";
import { type SeverableProxy, startSeverableProxy } from "./severable-proxy.ts";
import { offsetOf, readAll } from "./stream-calls.ts";

let gateway: Gateway;

beforeAll(async () => {
  gateway = await startGateway();
});
afterAll(async () => {
  await gateway.dispose();
});

async function publishBatch(topic: string, texts: readonly string[]): Promise<number[]> {
  const messages = texts.map((data) => ({ topic, data, contentType: "text/plain" }));
  const answer = await call(gateway, "POST", "/v1/batch", { body: { messages } });
  expect(answer.status, answer.bytes.toString()).toBe(202);
  return answer.json.results.map(({ offset }: { offset: number }) => offset);
}

async function token(scopes: readonly string[], tenant = "default"): Promise<string> {
  const created = await call(gateway, "POST", "/v1/tokens", { body: { name: "reader", scopes }, headers: { "postern-tenant": tenant } });
  expect(created.status, created.bytes.toString()).toBe(201);
  return created.json.token;
}

const numbered = (count: number, size = 0) => Array.from({ length: count }, (_, index) => `${index}:${"x".repeat(size)}`);

describe("the log of a topic", () => {
  it("V1: gives back a batch of one, of two, and of 500 with more than 4 MB, at the offsets publishing returned", async () => {
    expect((await readAll(gateway, "topics/v1.empty")).messages).toEqual([]);
    const batches = [["only"], ["first", "second"], numbered(500, 9_000)];
    const offsets: number[] = [];
    for (const batch of batches) offsets.push(...(await publishBatch("v1.batches", batch)));
    expect(offsets).toEqual(Array.from({ length: 503 }, (_, index) => index));
    const { messages, next, answers } = await readAll(gateway, "topics/v1.batches");
    expect(messages.map(({ offset }) => offset)).toEqual(offsets);
    expect(messages.map(({ data }) => data)).toEqual(batches.flat());
    expect(next).toBe(offsetOf(503));
    expect(answers).toBeGreaterThan(2);
  });

  it("shows each message as an envelope, with the bytes that are no text in base 64", async () => {
    const published = await call(gateway, "POST", "/v1/events/envelope.made", {
      raw: Uint8Array.from([0, 255]),
      headers: { "content-type": "image/x", "postern-attribute-colour": "red", "ce-id": "e-1", "ce-source": "/s", "ce-type": "t", "ce-specversion": "1.0" },
    });
    const { messages } = await readAll(gateway, "topics/envelope.made");
    const { id, offset, time } = published.json;
    expect(messages).toEqual([
      {
        id, offset, time,
        topic: "envelope.made",
        contentType: "image/x",
        attributes: { colour: "red" },
        event: { source: "/s", type: "t" },
        dataBase64: "AP8=",
      },
    ]);
  });

  it("V3: is read from the middle, from a time and at the head; beyond it, or from what is no offset, is 400", async () => {
    await publishBatch("v3.log", ["a", "b"]);
    const { time } = (await call(gateway, "POST", "/v1/events/v3.log", { raw: "c", headers: { "content-type": "text/plain" } })).json;
    await publishBatch("v3.log", ["d"]);
    const texts = async (query: string) => (await call(gateway, "GET", `/v1/stream/topics/v3.log?${query}`)).json.map(({ data }: { data: string }) => data);
    expect(await texts(`offset=${offsetOf(2)}`)).toEqual(["c", "d"]);
    expect(await texts("offset=1")).toEqual(["b", "c", "d"]);
    expect((await texts(`since=${encodeURIComponent(time)}`)).slice(-2)).toEqual(["c", "d"]);
    expect(await texts("since=2999-01-01T00:00:00Z")).toEqual([]);
    expect(await texts("offset=4")).toEqual([]);
    for (const offset of ["5", offsetOf(5), "-2", "1.5", "abc", "9".repeat(16), `${"1".repeat(16)}_${"0".repeat(16)}`]) {
      const refused = await call(gateway, "GET", `/v1/stream/topics/v3.log?offset=${offset}`);
      expect([offset, refused.status]).toEqual([offset, 400]);
      expect(refused.headers.get("content-type")).toBe("application/problem+json");
    }
    expect((await call(gateway, "GET", "/v1/stream/topics/v3.log?since=yesterday")).status).toBe(400);
  });

  it("V3: at the head a long poll waits for the next message", async () => {
    await publishBatch("v3.waits", ["a"]);
    const waiting = call(gateway, "GET", `/v1/stream/topics/v3.waits?offset=${offsetOf(1)}&live=long-poll`);
    await publish(gateway, "v3.waits", "b");
    const { status, json, headers } = await waiting;
    expect([status, json[0].data, headers.get("stream-next-offset")]).toEqual([200, "b", offsetOf(2)]);
    expect(headers.get("stream-cursor")).toMatch(/^[0-9]+$/);
  });

  it("V5: a batch with one bad message leaves nothing", async () => {
    const messages = [{ topic: "v5.log", data: "good" }, { topic: "v5..log", data: "bad" }];
    expect((await call(gateway, "POST", "/v1/batch", { body: { messages } })).status).toBeGreaterThanOrEqual(400);
    await publishBatch("v5.log", ["next"]);
    expect((await readAll(gateway, "topics/v5.log")).messages.map(({ data }) => data)).toEqual(["next"]);
  });

  it("V8: is read with a token that may read or consume, and written by publishing only", async () => {
    const path = "/v1/stream/topics/v8.log";
    expect((await call(gateway, "GET", path, { token: null })).status).toBe(401);
    for (const scope of ["read", "consume"]) expect((await call(gateway, "GET", path, { token: await token([scope]) })).status).toBe(200);
    const publisher = await token(["publish"]);
    expect((await call(gateway, "GET", path, { token: publisher })).status).toBe(403);
    for (const method of ["POST", "PUT", "DELETE"]) {
      const refused = await call(gateway, method, path, { token: publisher, body: {} });
      expect([method, refused.status, refused.headers.get("allow")]).toEqual([method, 405, "GET, HEAD, OPTIONS"]);
      expect(refused.json.detail).toContain("POST /v1/events/v8.log");
      expect((await call(gateway, method, path, { token: await token(["read"]), body: {} })).status).toBe(403);
    }
  });

  it("is the tenant's own", async () => {
    await publishBatch("own.log", ["mine"]);
    await call(gateway, "POST", "/v1/tenants", { body: { id: "ten_other", name: "other" } });
    const answer = await call(gateway, "GET", "/v1/stream/topics/own.log", { headers: { "postern-tenant": "ten_other" } });
    expect([404, 200]).toContain(answer.status);
    if (answer.status === 200) expect(answer.json).toEqual([]);
  });

  it("refuses a name that is none", async () => {
    for (const path of ["topics", "topics/a/b", "topics/a..b", "topics/%00", "nodes/", "__ds/other", "a//b", "a%2Fb"]) {
      const answer = await call(gateway, "GET", `/v1/stream/${path}`);
      expect([path, answer.status]).toEqual([path, 400]);
    }
  });

  it("has one answer to a conditional read until something is added, or expunged", async () => {
    const { id } = await publish(gateway, "etag.log", "secret");
    const path = "/v1/stream/topics/etag.log";
    const etag = (await call(gateway, "GET", path)).headers.get("etag") ?? "";
    expect((await call(gateway, "GET", path, { headers: { "if-none-match": etag } })).status).toBe(304);
    await expect.poll(async () => (await call(gateway, "DELETE", `/v1/messages/${id}/content`)).status, { timeout: 10_000 }).toBe(204);
    const after = await call(gateway, "GET", path, { headers: { "if-none-match": etag } });
    expect([after.status, after.json[0].expunged, after.json[0].data]).toEqual([200, true, undefined]);
  });
});

describe("the logs of queues and nodes", () => {
  it("hold what was sent to them, and say by which call more is", async () => {
    await call(gateway, "PUT", "/v1/queues/printing", { body: {} });
    await call(gateway, "POST", "/v1/commands/printing/invoice", { raw: "42", headers: { "content-type": "text/plain" } });
    await call(gateway, "POST", "/v1/direct/till.7", { raw: "open", headers: { "content-type": "text/plain" } });
    const [command] = (await readAll(gateway, "queues/printing")).messages;
    const [direct] = (await readAll(gateway, "nodes/till.7")).messages;
    expect([command.topic, command.data, command.offset]).toEqual(["printing/invoice", "42", 0]);
    expect([direct.topic, direct.data]).toEqual(["till.7", "open"]);
    expect((await call(gateway, "POST", "/v1/stream/queues/printing", { body: {} })).json.detail).toContain("POST /v1/commands/printing/{method}");
    expect((await call(gateway, "POST", "/v1/stream/nodes/till.7", { body: {} })).json.detail).toContain("POST /v1/direct/till.7");
  });
});

describe("the protocol's own client", () => {
  const COUNT = 120;

  /** Follows a log while it grows and the connection breaks twice; what it got, in order. */
  async function follow(live: "sse" | "long-poll", topic: string, proxy: SeverableProxy): Promise<number[]> {
    const got: number[] = [];
    let offset = "-1";
    const session = async (): Promise<void> => {
      const following = await stream<{ data: string }>({
        url: `${proxy.url}/v1/stream/topics/${topic}`,
        headers: { authorization: `Bearer ${gateway.token}` },
        offset,
        live,
      });
      following.subscribeJson((batch) => {
        got.push(...batch.items.map(({ data }) => Number(data)));
        ({ offset } = batch);
        if (got.length >= COUNT) following.cancel();
      });
      // it rejects when the connection breaks in the middle of an answer
      await following.closed.catch((error: unknown) => expect(error).toBeInstanceOf(Error));
    };
    const done = (async () => {
      while (got.length < COUNT) await session();
    })();
    for (let index = 0; index < COUNT; index++) {
      await publish(gateway, topic, String(index));
      if (index === COUNT / 3 || index === (2 * COUNT) / 3) {
        await proxy.cut("refusing");
        await proxy.mend();
      }
    }
    await done;
    return got;
  }

  for (const live of ["sse", "long-poll"] as const) {
    it(`reads a topic live by ${live}, is cut off, and resumes without a gap or a duplicate`, async () => {
      const proxy = await startSeverableProxy(gateway.port);
      try {
        expect(await follow(live, `client.${live}`, proxy)).toEqual(Array.from({ length: COUNT }, (_, index) => index));
        expect(proxy.suffered()).toBeGreaterThan(0);
      } finally {
        await proxy.close();
      }
    });
  }
});
