import { afterEach, beforeAll, describe, expect, it } from "vitest";
import type { Bus, ConsumeOptions, ConsumeSource, Data, Delivery, Message, ProblemCode } from "../../../src/client/index.ts";

/** What a subscriber that is pushed to is given, wherever it runs. */
export type Pushed = Pick<Message, "id" | "topic" | "contentType" | "bytes" | "text" | "json">;
export type PushHandler = (message: Pushed) => Data | undefined | Promise<Data | undefined>;

/** A bus, and what it takes to set it up. */
export type BusUnderTest = {
  readonly bus: Bus;
  readonly createQueue: (name: string, options?: { readonly topics?: readonly string[]; readonly maxReceives?: number }) => Promise<void>;
  /** With a handler it is pushed to, and a failed attempt is repeated within a second or so. */
  readonly createEndpoint: (options: {
    readonly topics?: readonly string[];
    readonly queue?: string;
    readonly node?: string;
    readonly handler?: PushHandler;
  }) => Promise<string>;
  readonly dispose?: () => Promise<void>;
};

let names = 0;

/** A name that no other test uses. */
function fresh(name: string): string {
  return `${name}-${Date.now().toString(36)}${(names++).toString(36)}`;
}

/** Pulls until it has as many as wanted; fails when they do not come. */
async function pull(bus: Bus, source: ConsumeSource, count: number, options: ConsumeOptions = {}): Promise<Delivery[]> {
  const timeout = AbortSignal.timeout(15_000);
  const deliveries: Delivery[] = [];
  for await (const delivery of bus.consume(source, { max: count, waitSeconds: 10, signal: timeout, ...options })) {
    deliveries.push(delivery);
    if (deliveries.length === count) return deliveries;
  }
  throw new Error(`only ${deliveries.length} of ${count} messages came`);
}

/** What is there at this moment. */
async function pullNow(bus: Bus, source: ConsumeSource): Promise<Delivery[]> {
  const deliveries: Delivery[] = [];
  const consumer = bus.consume(source, { waitSeconds: 0, signal: AbortSignal.timeout(150) });
  for await (const delivery of consumer) deliveries.push(delivery);
  return deliveries;
}

async function codeOf(call: Promise<unknown>): Promise<{ readonly code: ProblemCode; readonly status: number }> {
  try {
    await call;
  } catch (error) {
    if (error instanceof Error && "code" in error && "status" in error) {
      return { code: error.code as ProblemCode, status: Number(error.status) };
    }
    throw error;
  }
  throw new Error("it was not refused");
}

const text = ({ message }: Delivery): string => message.text();

/** The promises that every bus keeps: that of a gateway, and that in memory. */
export function busContract(name: string, make: () => Promise<BusUnderTest>): void {
  describe(name, () => {
    let under: BusUnderTest;
    let bus: Bus;
    const running: (() => Promise<void>)[] = [];

    beforeAll(async () => {
      under = await make();
      bus = under.bus;
      return under.dispose;
    });
    afterEach(async () => {
      await Promise.all(running.splice(0).map((stop) => stop()));
    });

    /** Runs a handler until the test ends. */
    function runUntilEnd(source: ConsumeSource, handler: (delivery: Delivery) => unknown, options: ConsumeOptions = {}): void {
      const consumer = bus.consume(source, { waitSeconds: 10, ...options });
      const ended = consumer.run(handler);
      running.push(async () => {
        consumer.stop();
        await ended;
      });
    }

    describe("publish", () => {
      it("delivers an event to every endpoint whose pattern matches, and to no other (Q1)", async () => {
        const base = fresh("orders");
        const [exact, any, other] = await Promise.all([
          under.createEndpoint({ topics: [`${base}.created`] }),
          under.createEndpoint({ topics: [`${base}.*`] }),
          under.createEndpoint({ topics: [`${base}.deleted`] }),
        ]);
        const published = await bus.publish(`${base}.created`, { order: 17 }, { attributes: { Region: "eu" } });
        expect(published).toMatchObject({ topic: `${base}.created`, offset: 0, matched: 2 });
        for (const endpoint of [exact, any]) {
          const [delivery] = await pull(bus, { endpoint }, 1);
          expect(delivery!.message).toMatchObject({
            id: published.id,
            topic: `${base}.created`,
            offset: 0,
            time: published.time,
            receiveCount: 1,
            contentType: "application/json",
            attributes: { region: "eu" },
            answerBy: null,
            queue: null,
          });
          expect(delivery!.message.json()).toEqual({ order: 17 });
          expect(await delivery!.ack()).toEqual({ ok: true });
        }
        expect(await pullNow(bus, { endpoint: other })).toEqual([]);
      });

      it("keeps an event that nobody subscribed to for the stream alone (Q2)", async () => {
        const topic = fresh("unheard");
        expect(await bus.publish(topic, "once")).toMatchObject({ offset: 0, matched: 0 });
        const endpoint = await under.createEndpoint({ topics: [topic] });
        expect(await bus.publish(topic, "twice")).toMatchObject({ offset: 1, matched: 1 });
        expect((await pull(bus, { endpoint }, 1)).map(text)).toEqual(["twice"]);
      });

      it.each<[string, Data, string, Uint8Array]>([
        ["text", "grüße 🌍\r\n", "text/plain; charset=utf-8", new TextEncoder().encode("grüße 🌍\r\n")],
        ["bytes that are not text", Uint8Array.of(0xff, 0, 0xfe, 0xc3), "application/octet-stream", Uint8Array.of(0xff, 0, 0xfe, 0xc3)],
        ["nothing", "", "text/plain; charset=utf-8", new Uint8Array()],
        ["a byte order mark", "\ufeff{}", "text/plain; charset=utf-8", Uint8Array.of(0xef, 0xbb, 0xbf, 0x7b, 0x7d)],
        ["JSON", [1, "zwei", null], "application/json", new TextEncoder().encode('[1,"zwei",null]')],
      ])("delivers %s as the bytes that were published, alone and in a batch", async (_what, data, contentType, bytes) => {
        const topic = fresh("bytes");
        const endpoint = await under.createEndpoint({ topics: [topic] });
        await bus.publish(topic, data);
        await bus.batch([{ topic, data }]);
        for (const { message } of await pull(bus, { endpoint }, 2)) {
          expect(message.contentType).toBe(contentType);
          expect([...message.bytes]).toEqual([...bytes]);
        }
      });

      it("takes the content type that it is told, and attributes beyond ASCII", async () => {
        const topic = fresh("typed");
        const endpoint = await under.createEndpoint({ topics: [topic] });
        await bus.publish(topic, "<a/>", { contentType: "application/xml", attributes: { city: "Zürich", note: " two " } });
        const [delivery] = await pull(bus, { endpoint }, 1);
        expect(delivery!.message).toMatchObject({ contentType: "application/xml", attributes: { city: "Zürich", note: " two " } });
        expect(delivery!.message.text()).toBe("<a/>");
      });

      it("delivers one id once, and answers a repeat with the first result", async () => {
        const topic = fresh("once");
        const endpoint = await under.createEndpoint({ topics: [topic] });
        const id = fresh("chosen");
        const first = await bus.publish(topic, "first", { id });
        expect(first.id).toBe(id);
        expect(await bus.publish(topic, "second", { id })).toEqual(first);
        await bus.publish(topic, "third");
        expect((await pull(bus, { endpoint }, 2)).map(text).sort()).toEqual(["first", "third"]);
      });

      it("refuses malformed targets with 400 (M2)", async () => {
        for (const topic of ["a/b", "a#b", "", ".", "..", "a..b", "a.*", "ä", "x".repeat(129)]) {
          expect(await codeOf(bus.publish(topic, "x")), topic).toEqual({ code: "malformed-target", status: 400 });
        }
        for (const target of ["foobar", "a#b", "a#b/c", "a/b/c", "a/", "/b", "a/b.c", ""]) {
          expect(await codeOf(bus.command(target, "x")), target).toEqual({ code: "malformed-target", status: 400 });
          expect(await codeOf(bus.query(target, "x")), target).toEqual({ code: "malformed-target", status: 400 });
        }
        expect(await codeOf(bus.direct("a/b", "x"))).toEqual({ code: "malformed-target", status: 400 });
      });

      it("refuses what breaks the schema with 422 and says where", async () => {
        const refused = bus.publish(fresh("attributes"), "x", { attributes: { "no spaces": "x" } });
        await expect(refused).rejects.toMatchObject({ code: "invalid-request", status: 422, errors: [{ detail: expect.any(String) }] });
        expect(await codeOf(bus.batch([]))).toEqual({ code: "invalid-request", status: 422 });
      });

      it("refuses more than 1 MiB with 413", async () => {
        const topic = fresh("large");
        await bus.publish(topic, new Uint8Array(1024 * 1024));
        expect(await codeOf(bus.publish(topic, new Uint8Array(1024 * 1024 + 1)))).toEqual({ code: "payload-too-large", status: 413 });
      });

      it("refuses a promise, which would arrive as {}", async () => {
        await expect(bus.publish(fresh("mistake"), Promise.resolve(1))).rejects.toThrow(TypeError);
      });
    });

    describe("batch", () => {
      it("sends events, commands and direct messages, with results in order", async () => {
        const [topic, queue, node] = [fresh("batched"), fresh("batch-queue"), fresh("batch-node")];
        await under.createQueue(queue);
        const endpoint = await under.createEndpoint({ topics: [topic], node });
        const results = await bus.batch([
          { topic, data: "one" },
          { command: `${queue}/do`, data: "two" },
          { node, data: "three" },
          { topic, data: "four" },
        ]);
        expect(results.map((result) => [result.topic, result.offset])).toEqual([[topic, 0], [`${queue}/do`, 0], [node, 0], [topic, 1]]);
        expect((await pull(bus, { queue }, 1)).map(text)).toEqual(["two"]);
        expect((await pull(bus, { endpoint }, 3)).map(text).sort()).toEqual(["four", "one", "three"]);
      });

      it("accepts none when one is malformed", async () => {
        const topic = fresh("whole");
        const endpoint = await under.createEndpoint({ topics: [topic] });
        expect(await codeOf(bus.batch([{ topic, data: "good" }, { topic: "a/b", data: "bad" }]))).toMatchObject({ status: 400 });
        expect(await bus.publish(topic, "after")).toMatchObject({ offset: 0 });
        expect((await pull(bus, { endpoint }, 1)).map(text)).toEqual(["after"]);
      });
    });

    describe("command", () => {
      it("reaches exactly one of three handlers (M3)", async () => {
        const queue = fresh("workers");
        const got: string[] = [];
        for (const worker of ["a", "b", "c"]) {
          await under.createEndpoint({
            queue,
            handler: (message) => {
              got.push(`${worker} ${message.topic} ${message.text()}`);
              return undefined;
            },
          });
        }
        await bus.command(`${queue}/print`, "one");
        await expect.poll(() => got.length, { timeout: 10_000 }).toBe(1);
        expect(got[0]).toMatch(new RegExp(`^[abc] ${queue}/print one$`));
        await Promise.all(Array.from({ length: 9 }, (_, index) => bus.command(`${queue}/print`, String(index))));
        await expect.poll(() => got.length, { timeout: 10_000 }).toBe(10);
        expect(new Set(got.map((line) => line.slice(0, 1))).size).toBeGreaterThan(1);
      });

      it("reaches exactly one of three pulling workers, and waits while there is none (Q3)", async () => {
        const queue = fresh("pulled");
        await under.createQueue(queue);
        await bus.command(`${queue}/print`, "early");
        const got: string[] = [];
        for (const worker of ["a", "b", "c"]) runUntilEnd({ queue }, ({ message }) => got.push(`${worker} ${message.text()}`));
        await expect.poll(() => got.length, { timeout: 10_000 }).toBe(1);
        await bus.command(`${queue}/print`, "late");
        await expect.poll(() => got.length, { timeout: 10_000 }).toBe(2);
        expect(got.map((line) => line.slice(2))).toEqual(["early", "late"]);
      });

      it("goes to another member when one fails", async () => {
        const queue = fresh("failing");
        const failed: string[] = [];
        const done: string[] = [];
        await under.createEndpoint({
          queue,
          handler: (message) => {
            failed.push(message.id);
            throw new Error("this worker is broken");
          },
        });
        await under.createEndpoint({
          queue,
          handler: (message) => {
            done.push(message.id);
            return undefined;
          },
        });
        const sent = await Promise.all(["x", "y", "z"].map((data) => bus.command(`${queue}/do`, data)));
        await expect.poll(() => done.length, { timeout: 15_000 }).toBe(3);
        expect(done.sort()).toEqual(sent.map(({ id }) => id).sort());
        expect(failed.length).toBeGreaterThan(0);
      });

      it("waits in the queue until the first member is there", async () => {
        const queue = fresh("memberless");
        await under.createQueue(queue);
        await bus.command(`${queue}/do`, "patient");
        const got: string[] = [];
        await under.createEndpoint({
          queue,
          handler: (message) => {
            got.push(message.text());
            return undefined;
          },
        });
        await expect.poll(() => got, { timeout: 10_000 }).toEqual(["patient"]);
      });

      it("has unknown queues refused with a code of their own (M6)", async () => {
        const queue = fresh("nowhere");
        const unknown = { code: "unknown-queue", status: 404 };
        expect(await codeOf(bus.command(`${queue}/do`, "x"))).toEqual(unknown);
        expect(await codeOf(bus.query(`${queue}/do`, "x"))).toEqual(unknown);
        expect(await codeOf(pull(bus, { queue }, 1))).toEqual(unknown);
      });

      it("may come from a topic that is bound to the queue, once for all members (Q3, M9)", async () => {
        const [topic, queue] = [fresh("bound"), fresh("bound-queue")];
        await under.createQueue(queue, { topics: [`${topic}.*`] });
        expect(await bus.publish(`${topic}.created`, "event")).toMatchObject({ matched: 1 });
        const [delivery] = await pull(bus, { queue }, 1);
        expect(delivery!.message).toMatchObject({ topic: `${topic}.created`, queue });
        expect(await delivery!.ack()).toEqual({ ok: true });
        expect(await pullNow(bus, { queue })).toEqual([]);
      });
    });

    describe("query", () => {
      it("returns what a pulling worker replies, with its content type (M1)", async () => {
        const queue = fresh("a.b");
        await under.createQueue(queue);
        runUntilEnd({ queue }, async ({ message, reply }) => {
          expect(Date.parse(message.answerBy ?? "")).toBeGreaterThan(0);
          await reply(`<answer to="${message.text()}"/>`, { contentType: "application/xml" });
        });
        const answer = await bus.query(`${queue}/c`, "this");
        expect(answer.contentType).toBe("application/xml");
        expect(answer.text()).toBe('<answer to="this"/>');
      });

      it("returns what the handler of a pulling worker returns", async () => {
        const queue = fresh("prices");
        await under.createQueue(queue);
        runUntilEnd({ queue }, ({ message }) => ({ price: Number(message.text()) * 2 }));
        expect((await bus.query(`${queue}/quote`, "21")).json()).toEqual({ price: 42 });
      });

      it("returns what a member that is pushed to answers, an error as it is too (M8)", async () => {
        const queue = fresh("pushed");
        const error = { error: "no such thing", code: "E17", params: [1, "x"] };
        await under.createEndpoint({ queue, handler: (message) => (message.topic.endsWith("/fail") ? error : message.bytes) });
        expect((await bus.query(`${queue}/echo`, "ä")).text()).toBe("ä");
        expect((await bus.query(`${queue}/fail`, "x")).json()).toEqual(error);
      });

      it("gives each of many callers their own answer (M5)", async () => {
        const queue = fresh("echo");
        await under.createQueue(queue);
        runUntilEnd({ queue }, ({ message }) => message.text(), { concurrency: 10 });
        const asked = Array.from({ length: 20 }, (_, index) => `question ${index}`);
        const answers = await Promise.all(asked.map((question) => bus.query(`${queue}/echo`, question)));
        expect(answers.map((answer) => answer.text())).toEqual(asked);
      });

      it("answers 504 for silence, drops the late answer and says so (M4)", async () => {
        const queue = fresh("silent");
        await under.createQueue(queue);
        const asked = codeOf(bus.query(`${queue}/wait`, "x", { timeoutSeconds: 1 }));
        const [delivery] = await pull(bus, { queue }, 1);
        expect(await asked).toEqual({ code: "query-timeout", status: 504 });
        expect(await codeOf(delivery!.reply("too late"))).toEqual({ code: "gone", status: 410 });
      });

      it("delivers nothing any more once its caller's time is over", async () => {
        const queue = fresh("expired");
        await under.createQueue(queue);
        expect(await codeOf(bus.query(`${queue}/wait`, "x", { timeoutSeconds: 1 }))).toMatchObject({ status: 504 });
        await bus.command(`${queue}/do`, "next");
        expect((await pull(bus, { queue }, 1)).map(text)).toEqual(["next"]);
      });

      it("takes one answer, and none for what was no query", async () => {
        const queue = fresh("replies");
        await under.createQueue(queue);
        const asked = bus.query(`${queue}/ask`, "x");
        const [query] = await pull(bus, { queue }, 1);
        await query!.reply("first");
        expect((await asked).text()).toBe("first");
        expect(await codeOf(query!.reply("second"))).toEqual({ code: "conflict", status: 409 });
        await query!.ack();

        await bus.command(`${queue}/do`, "x");
        const [command] = await pull(bus, { queue }, 1);
        expect(await codeOf(command!.reply("thanks"))).toEqual({ code: "conflict", status: 409 });
      });

      it("refuses a timeout out of range with 422", async () => {
        const queue = fresh("ranges");
        await under.createQueue(queue);
        for (const timeoutSeconds of [0, 61, -1, Number.NaN]) {
          expect(await codeOf(bus.query(`${queue}/ask`, "x", { timeoutSeconds }))).toEqual({ code: "invalid-request", status: 422 });
        }
      });

      it("ends with the caller's signal", async () => {
        const queue = fresh("left");
        await under.createQueue(queue);
        const leave = new AbortController();
        const asked = bus.query(`${queue}/ask`, "x", { signal: leave.signal });
        await pull(bus, { queue }, 1);
        leave.abort(new Error("had enough"));
        await expect(asked).rejects.toThrow("had enough");
      });
    });

    describe("direct", () => {
      it("waits for a node that is not there yet (Q4)", async () => {
        const node = fresh("till.7");
        await bus.direct(node, "hello");
        const endpoint = await under.createEndpoint({ node });
        const [delivery] = await pull(bus, { endpoint }, 1);
        expect(delivery!.message).toMatchObject({ topic: node });
        expect(delivery!.message.text()).toBe("hello");
      });

      it("reaches the handler that has the node", async () => {
        const node = fresh("printer");
        const got: string[] = [];
        await under.createEndpoint({
          node,
          handler: (message) => {
            got.push(`${message.topic} ${message.text()}`);
            return undefined;
          },
        });
        await bus.direct(node, "hi");
        await expect.poll(() => got, { timeout: 10_000 }).toEqual([`${node} hi`]);
      });
    });

    describe("consume", () => {
      it("gets at most ten a call, and again what was not acknowledged in time (Q5)", async () => {
        const topic = fresh("ten");
        const endpoint = await under.createEndpoint({ topics: [topic] });
        await bus.batch(Array.from({ length: 15 }, (_, index) => ({ topic, data: index })));
        const first = await pull(bus, { endpoint }, 10, { visibilitySeconds: 1 });
        expect(new Set(first.map(({ message }) => message.id)).size).toBe(10);
        const again = await pull(bus, { endpoint }, 15, { max: 10, waitSeconds: 5 });
        expect(again.map(({ message }) => message.json()).sort((a, b) => Number(a) - Number(b))).toEqual(Array.from({ length: 15 }, (_, i) => i));
        const counts = again.map(({ message }) => message.receiveCount).sort((a, b) => a - b);
        expect(counts).toEqual([...new Array(5).fill(1), ...new Array(10).fill(2)]);
      });

      it("gets a nacked message back at once (M7), and changes nothing by a stale receipt", async () => {
        const topic = fresh("nacked");
        const endpoint = await under.createEndpoint({ topics: [topic] });
        await bus.publish(topic, "x");
        const [first] = await pull(bus, { endpoint }, 1);
        expect(await first!.nack()).toEqual({ ok: true });
        const [second] = await pull(bus, { endpoint }, 1);
        expect(second!.message).toMatchObject({ id: first!.message.id, receiveCount: 2 });
        expect(await first!.ack()).toEqual({ ok: false, error: "stale" });
        expect(await second!.nack()).toEqual({ ok: true });
        const [third] = await pull(bus, { endpoint }, 1);
        expect(await third!.ack()).toEqual({ ok: true });
        expect(await pullNow(bus, { endpoint })).toEqual([]);
        expect(await third!.ack()).toEqual({ ok: false, error: "stale" });
      });

      it("keeps a message away for as long as a nack delays it", async () => {
        const topic = fresh("delayed");
        const endpoint = await under.createEndpoint({ topics: [topic] });
        await bus.publish(topic, "x");
        const [first] = await pull(bus, { endpoint }, 1);
        expect(await first!.nack(1)).toEqual({ ok: true });
        expect(await pullNow(bus, { endpoint })).toEqual([]);
        const [second] = await pull(bus, { endpoint }, 1);
        expect(second!.message.receiveCount).toBe(2);
      });

      it("keeps a message away that is extended", async () => {
        const topic = fresh("extended");
        const endpoint = await under.createEndpoint({ topics: [topic] });
        await bus.publish(topic, "x");
        const [delivery] = await pull(bus, { endpoint }, 1, { visibilitySeconds: 1 });
        expect(await delivery!.extend(30)).toEqual({ ok: true });
        await bus.publish(topic, "later");
        const others = await pull(bus, { endpoint }, 1, { waitSeconds: 5 });
        expect(others.map(text)).toEqual(["later"]);
        await new Promise((resolve) => setTimeout(resolve, 1200));
        expect(await pullNow(bus, { endpoint })).toEqual([]);
        expect(await delivery!.ack()).toEqual({ ok: true });
      });

      it("gives up on a message that was received too often", async () => {
        const queue = fresh("poison");
        await under.createQueue(queue, { maxReceives: 2 });
        await bus.command(`${queue}/do`, "poison");
        for (const count of [1, 2]) {
          const [delivery] = await pull(bus, { queue }, 1);
          expect(delivery!.message.receiveCount).toBe(count);
          expect(await delivery!.nack()).toEqual({ ok: true });
        }
        await bus.command(`${queue}/do`, "wholesome");
        expect((await pull(bus, { queue }, 1)).map(text)).toEqual(["wholesome"]);
      });

      it("reads several queues at once (Q8)", async () => {
        const queues = [fresh("left"), fresh("right")];
        for (const queue of queues) {
          await under.createQueue(queue);
          await bus.command(`${queue}/do`, queue);
        }
        const got: Delivery[] = [];
        const source = { queues };
        while (got.length < 2) got.push(...(await pull(bus, source, 1)));
        expect(got.map(({ message }) => message.queue).sort()).toEqual([...queues].sort());
        expect(await Promise.all(got.map((delivery) => delivery.ack()))).toEqual([{ ok: true }, { ok: true }]);
        expect(await pullNow(bus, source)).toEqual([]);
      });

      it("refuses ranges that are none with 422, and endpoints that do not exist with 404", async () => {
        const endpoint = await under.createEndpoint({ topics: [fresh("ranges")] });
        for (const options of [{ max: 0 }, { max: 11 }, { waitSeconds: 21 }, { waitSeconds: -1 }, { visibilitySeconds: 43_201 }]) {
          expect(await codeOf(pull(bus, { endpoint }, 1, options)), JSON.stringify(options)).toEqual({ code: "invalid-request", status: 422 });
        }
        expect(await codeOf(pull(bus, { endpoint: "ep_none" }, 1))).toEqual({ code: "not-found", status: 404 });
      });

      it("gives back at once what was fetched and not looked at when the loop is left", async () => {
        const topic = fresh("left-early");
        const endpoint = await under.createEndpoint({ topics: [topic] });
        await bus.batch([1, 2, 3].map((data) => ({ topic, data })));
        for await (const delivery of bus.consume({ endpoint }, { visibilitySeconds: 600 })) {
          await delivery.ack();
          break;
        }
        expect((await pull(bus, { endpoint }, 2)).length).toBe(2);
      });
    });

    describe("run", () => {
      it("loses no message of a handler that fails, and acknowledges each once", async () => {
        const topic = fresh("flaky");
        const endpoint = await under.createEndpoint({ topics: [topic] });
        await bus.batch(Array.from({ length: 12 }, (_, index) => ({ topic, data: index })));
        const done: unknown[] = [];
        const failures: string[] = [];
        runUntilEnd(
          { endpoint },
          ({ message }) => {
            if (message.receiveCount === 1 && Number(message.json()) % 3 === 0) throw new Error("not today");
            done.push(message.json());
          },
          { concurrency: 5, retryDelaySeconds: () => 0, onFault: ({ kind }) => failures.push(kind) },
        );
        await expect.poll(() => done.length, { timeout: 15_000 }).toBe(12);
        expect(new Set(done).size).toBe(12);
        expect(failures).toEqual(["handler", "handler", "handler", "handler"]);
        await Promise.all(running.splice(0).map((stop) => stop()));
        expect(await pullNow(bus, { endpoint })).toEqual([]);
      });

      it("keeps a message away from others while its handler works", async () => {
        const topic = fresh("slow");
        const endpoint = await under.createEndpoint({ topics: [topic] });
        await bus.publish(topic, "x");
        const counts: number[] = [];
        let done = 0;
        const slow = async ({ message }: Delivery): Promise<void> => {
          counts.push(message.receiveCount);
          await new Promise((resolve) => setTimeout(resolve, 2800));
          done++;
        };
        runUntilEnd({ endpoint }, slow, { visibilitySeconds: 2 });
        runUntilEnd({ endpoint }, slow, { visibilitySeconds: 2 });
        await expect.poll(() => done, { timeout: 10_000 }).toBe(1);
        await Promise.all(running.splice(0).map((stop) => stop()));
        expect(counts).toEqual([1]);
        expect(await pullNow(bus, { endpoint })).toEqual([]);
      });

      it("waits for its handlers when it is stopped", async () => {
        const topic = fresh("stopped");
        const endpoint = await under.createEndpoint({ topics: [topic] });
        await bus.publish(topic, "x");
        const finish = Promise.withResolvers<void>();
        const begun = Promise.withResolvers<void>();
        const consumer = bus.consume({ endpoint });
        let ended = false;
        const running = consumer
          .run(async () => {
            begun.resolve();
            await finish.promise;
          })
          .then(() => {
            ended = true;
          });
        await begun.promise;
        consumer.stop();
        await new Promise((resolve) => setTimeout(resolve, 50));
        expect(ended).toBe(false);
        finish.resolve();
        await running;
        expect(await pullNow(bus, { endpoint })).toEqual([]);
      });
    });
  });
}
