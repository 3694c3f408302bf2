import { type IncomingMessage, request } from "node:http";
import { setTimeout as delay } from "node:timers/promises";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { call } from "./api.ts";
import { type Gateway, startGateway } from "./gateway.ts";
import { append, createStream, offsetOf, positionOf, readAll } from "./stream-calls.ts";

let gateway: Gateway;

beforeAll(async () => {
  gateway = await startGateway();
});
afterAll(async () => {
  await gateway.dispose();
});

type Numbered = { readonly writer: number; readonly n: number; readonly text: string };

const batchOf = (writer: number, from: number, count: number, size: number): Numbered[] =>
  Array.from({ length: count }, (_, index) => ({ writer, n: from + index, text: "é".repeat(size) }));

/** Each writer's messages as it numbered them: all there, once, in order. */
function expectEachInOrder(messages: readonly Numbered[], writers: number, perWriter: number): void {
  expect(messages).toHaveLength(writers * perWriter);
  for (let writer = 0; writer < writers; writer++) {
    const numbers = messages.filter((message) => message.writer === writer).map(({ n }) => n);
    expect(numbers).toEqual(Array.from({ length: perWriter }, (_, n) => n));
  }
}

function producer(id: string, seq: number, epoch = 0): Record<string, string> {
  return { "producer-id": id, "producer-epoch": String(epoch), "producer-seq": String(seq) };
}

describe("appending to a stream", () => {
  it("V1: begins at 0, and reads back a batch of one, of two, of thousands, and one beyond 4 MB, equal and in order", async () => {
    await createStream(gateway, "v1");
    expect(await readAll(gateway, "v1")).toEqual({ messages: [], next: offsetOf(0), answers: 1 });
    const batches = [batchOf(0, 0, 1, 1), batchOf(0, 1, 2, 1), batchOf(0, 3, 5_000, 3), batchOf(0, 5_003, 5_000, 500)];
    const positions: number[] = [];
    for (const batch of batches) positions.push(positionOf(await append(gateway, "v1", batch)));
    expect(positions).toEqual([1, 3, 5_003, 10_003]);
    expect(Buffer.byteLength(JSON.stringify(batches[3]))).toBeGreaterThan(4 * 1024 * 1024);
    const { messages, answers } = await readAll(gateway, "v1");
    expect(messages).toEqual(batches.flat());
    expect(answers).toBeGreaterThan(4);
    expect((await readAll(gateway, "v1", offsetOf(5_002))).messages).toEqual(batches.flat().slice(5_002));
  });

  it("V1: keeps the published text of every message: numbers of any size, key order, spelling", async () => {
    await createStream(gateway, "v1/text");
    const text = '[ {"b":12345678901234567890, "a":1.0e5},  "\\u00e9" , [ ] ]';
    await append(gateway, "v1/text", undefined, { raw: text, headers: { "content-type": "application/json" } });
    const answer = await call(gateway, "GET", "/v1/stream/v1/text");
    expect(answer.bytes.toString()).toBe('[{"b":12345678901234567890, "a":1.0e5},"\\u00e9",[ ]]');
  });

  it("V2: rejects an empty batch, an empty body, and what is no JSON, and adds nothing", async () => {
    await createStream(gateway, "v2");
    const headers = { "content-type": "application/json" };
    for (const raw of ["[]", "", " ", "[1,", "[1] 2", "nul", "\u0001"]) {
      const refused = await append(gateway, "v2", undefined, { raw, headers });
      expect([raw, refused.status, refused.headers.get("content-type")]).toEqual([raw, 400, "application/problem+json"]);
    }
    expect((await append(gateway, "v2", undefined, { raw: Uint8Array.from([0x22, 0xff, 0x22]), headers })).status).toBe(400);
    expect((await readAll(gateway, "v2")).messages).toEqual([]);
  });

  it("V3: refuses to read beyond the head", async () => {
    await createStream(gateway, "v3");
    await append(gateway, "v3", [1, 2]);
    expect((await call(gateway, "GET", `/v1/stream/v3?offset=${offsetOf(2)}`)).json).toEqual([]);
    for (const live of ["", "&live=sse", "&live=long-poll"]) {
      expect((await call(gateway, "GET", `/v1/stream/v3?offset=${offsetOf(3)}${live}`)).status).toBe(400);
    }
    expect((await call(gateway, "GET", "/v1/stream/v3?since=2026-01-01T00:00:00Z")).status).toBe(400);
  });

  it("V4: keeps the order of every writer through a hundred batches of mixed size, also after a restart", async () => {
    const writers = 4;
    const sizes = [1, 3, 10, 2, 7];
    await createStream(gateway, "v4");
    const write = async (writer: number): Promise<void> => {
      for (let batch = 0, n = 0; batch < 25; batch++) {
        const count = sizes[batch % sizes.length] ?? 1;
        expect((await append(gateway, "v4", batchOf(writer, n, count, batch * 40))).status).toBe(204);
        n += count;
      }
    };
    await Promise.all(Array.from({ length: writers }, (_, writer) => write(writer)));
    const before = await readAll(gateway, "v4");
    expectEachInOrder(before.messages, writers, 115);
    gateway = await gateway.restart();
    expect(await readAll(gateway, "v4")).toEqual(before);
  });

  it("V5: takes a batch as a whole or not at all, and nothing of it leaks into the next", async () => {
    await createStream(gateway, "v5");
    const raw = `[${'{"fine":1},'.repeat(500)}{"broken":}]`;
    expect((await append(gateway, "v5", undefined, { raw, headers: { "content-type": "application/json" } })).status).toBe(400);
    const tooLong = [{ fine: 1 }, "x".repeat(2_000_000)];
    expect((await append(gateway, "v5", tooLong)).status).toBe(400);
    expect((await append(gateway, "v5", [1, 2], { headers: producer("p", 3) })).status).toBe(409);
    await append(gateway, "v5", ["next"]);
    expect((await readAll(gateway, "v5")).messages).toEqual(["next"]);
  });

  it("V6: writes a producer's retry once, also when several arrive at the same time", async () => {
    await createStream(gateway, "v6");
    const retries = await Promise.all(Array.from({ length: 10 }, () => append(gateway, "v6", ["once"], { headers: producer("p", 0) })));
    expect(retries.map(({ status }) => status).sort()).toEqual([200, ...Array(9).fill(204)]);
    expect(new Set(retries.map(positionOf))).toEqual(new Set([1]));
    expect((await append(gateway, "v6", ["late"], { headers: producer("p", 0) })).status).toBe(204);
    expect((await append(gateway, "v6", ["two"], { headers: producer("p", 1) })).status).toBe(200);
    expect((await readAll(gateway, "v6")).messages).toEqual(["once", "two"]);
  });

  it("V8: asks for a token, and for the scope to write", async () => {
    await createStream(gateway, "v8");
    const { token } = (await call(gateway, "POST", "/v1/tokens", { body: { name: "reader", scopes: ["read"] } })).json;
    for (const method of ["PUT", "POST", "DELETE"]) {
      expect((await call(gateway, method, "/v1/stream/v8", { token: null, body: [1] })).status).toBe(401);
      const refused = await call(gateway, method, "/v1/stream/v8", { token, body: [1] });
      expect([method, refused.status]).toEqual([method, 403]);
    }
    expect((await call(gateway, "GET", "/v1/stream/v8", { token })).json).toEqual([]);
  });

  it("V9: keeps many streams apart that are written at the same time", async () => {
    const paths = Array.from({ length: 40 }, (_, index) => `v9/${index}`);
    await Promise.all(paths.map((path) => createStream(gateway, path)));
    const write = async (path: string): Promise<void> => {
      for (let n = 0; n < 5; n++) await append(gateway, path, [{ path, n }]);
    };
    await Promise.all(paths.map(write));
    const read = await Promise.all(paths.map((path) => readAll(gateway, path)));
    paths.forEach((path, index) => expect(read[index]?.messages).toEqual([0, 1, 2, 3, 4].map((n) => ({ path, n }))));
  });

  it("keeps the order of eight writers on one stream, 10,000 messages each: nothing is lost, nothing there twice", async () => {
    const [writers, perWriter, perBatch] = [8, 10_000, 200];
    await createStream(gateway, "eight");
    const write = async (writer: number): Promise<void> => {
      for (let n = 0, seq = 0; n < perWriter; n += perBatch, seq++) {
        const headers = producer(`w${writer}`, seq);
        const answer = await append(gateway, "eight", batchOf(writer, n, perBatch, 10), { headers });
        expect(answer.status).toBe(200);
        // as a writer does who did not get the answer
        if (seq % 10 === 0) expect((await append(gateway, "eight", batchOf(writer, n, perBatch, 10), { headers })).status).toBe(204);
      }
    };
    await Promise.all(Array.from({ length: writers }, (_, writer) => write(writer)));
    expectEachInOrder((await readAll(gateway, "eight")).messages, writers, perWriter);
  });

  it("keeps tenants apart", async () => {
    await createStream(gateway, "mine");
    const headers = { "postern-tenant": "ten_nobody" };
    for (const method of ["GET", "HEAD", "POST", "DELETE"]) {
      const answer = await call(gateway, method, "/v1/stream/mine", { headers, ...(method === "POST" ? { body: [1] } : {}) });
      expect([method, answer.status]).toEqual([method, 404]);
    }
  });

  it("frees the path and the data of a deleted stream, and forgets its producers", async () => {
    for (const round of [1, 2]) {
      await createStream(gateway, "again");
      expect((await append(gateway, "again", [round], { headers: producer("p", 0) })).status).toBe(200);
      expect((await readAll(gateway, "again")).messages).toEqual([round]);
      expect((await call(gateway, "DELETE", "/v1/stream/again")).status).toBe(204);
      expect((await call(gateway, "GET", "/v1/stream/again")).status).toBe(404);
    }
  });
});

/** The answer to an append of so many bytes that is given before any of them is sent. */
async function statusOfAnnounced(path: string, bytes: number): Promise<number | undefined> {
  const headers = { authorization: `Bearer ${gateway.token}`, "content-type": "application/octet-stream", "content-length": bytes };
  const asked = request(`${gateway.url}/v1/stream/${path}`, { method: "POST", headers });
  asked.flushHeaders();
  const answer = await new Promise<IncomingMessage>((resolve, reject) => asked.once("response", resolve).once("error", reject));
  asked.on("error", () => answer.destroy()).destroy();
  return answer.statusCode;
}

describe("a stream of bytes", () => {
  it("is cut into answers of bounded size that add up to what was appended, and takes 16 MiB at once", async () => {
    await createStream(gateway, "bytes", "application/octet-stream");
    const body = Buffer.alloc(5 * 1024 * 1024, "0123456789abcdef-");
    const headers = { "content-type": "application/octet-stream" };
    expect(positionOf(await append(gateway, "bytes", undefined, { raw: body, headers }))).toBe(body.length);
    const parts: Buffer[] = [];
    for (let next = "-1", upToDate = false; !upToDate; ) {
      const answer = await call(gateway, "GET", `/v1/stream/bytes?offset=${next}`);
      expect(answer.bytes.length).toBeLessThanOrEqual(1024 * 1024);
      parts.push(answer.bytes);
      next = answer.headers.get("stream-next-offset") ?? "";
      upToDate = answer.headers.get("stream-up-to-date") === "true";
    }
    expect(Buffer.concat(parts).equals(body)).toBe(true);
    const large = { raw: Buffer.alloc(16 * 1024 * 1024), headers };
    expect((await append(gateway, "bytes", undefined, large)).status).toBe(204);
    expect(await statusOfAnnounced("bytes", 16 * 1024 * 1024 + 1)).toBe(413);
  });

  it("shows text as server-sent events without cutting a character, and nothing in it is taken for an event", async () => {
    await createStream(gateway, "text", "text/plain");
    const send = (raw: string | Uint8Array) => append(gateway, "text", undefined, { raw, headers: { "content-type": "text/plain" } });
    const euro = Buffer.from("€");
    await send(Buffer.concat([Buffer.from("evil\r\rdata: x\n\nevent: control\n  two spaces"), euro.subarray(0, 1)]));
    const response = await fetch(`${gateway.url}/v1/stream/text?offset=-1&live=sse`, { headers: { authorization: `Bearer ${gateway.token}` } });
    const events = response.text();
    await send(euro.subarray(1));
    await call(gateway, "POST", "/v1/stream/text", { headers: { "stream-closed": "true" } });
    const data = (await events).split("\n\n").flatMap((event) => {
      const [first, ...lines] = event.split("\n");
      return first === "event: data" ? [lines.map((line) => line.replace(/^data: ?/, "")).join("\n")] : [];
    });
    expect(data.join("")).toBe("evil\n\ndata: x\n\nevent: control\n  two spaces€");
  });
});

describe("V7: a process that is killed during writes", () => {
  const WRITERS = 4;
  const PER_WRITER = 120;

  type Kept = { readonly writer: number; readonly n: number; readonly position: number };

  /** Appends with a producer's retries until all is acknowledged, through any number of kills. */
  async function writeThrough(port: () => { url: string; token: string }, writer: number, kept: Kept[]): Promise<void> {
    for (let n = 0; n < PER_WRITER; ) {
      try {
        const answer = await append(port(), "v7", [{ writer, n }], { headers: producer(`writer ${writer}`, n) });
        if (answer.status !== 200 && answer.status !== 204) throw new Error(`${answer.status}`);
        if (answer.status === 200) kept.push({ writer, n, position: positionOf(answer) - 1 });
        n++;
      } catch {
        await delay(20); // the gateway is away: the same again
      }
    }
  }

  it("has every acknowledged append once, in order, at the offset it was told, and takes on writes again", async () => {
    let killed = await startGateway();
    try {
      await createStream(killed, "v7");
      const kept: Kept[] = [];
      const writing = Promise.all(Array.from({ length: WRITERS }, (_, writer) => writeThrough(() => killed, writer, kept)));
      for (let kill = 0; kill < 3; kill++) {
        await delay(60 + Math.random() * 150);
        await killed.kill9();
        killed = await killed.restart();
      }
      await writing;
      const { messages } = await readAll(killed, "v7");
      expectEachInOrder(messages, WRITERS, PER_WRITER);
      expect(kept.length).toBeGreaterThan(0);
      for (const { writer, n, position } of kept) expect(messages[position]).toEqual({ writer, n });
    } finally {
      await killed.dispose();
    }
  });
});
