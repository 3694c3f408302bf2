import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import type { ConsumeFault, ConsumeOptions, Delivery, Message, Settled } from "../../../src/client/index.ts";
import { createConsumer } from "../../../src/client/consumer.ts";
import { contentOf } from "../../../src/client/content.ts";
import { PosternConnectionError, PosternProblem } from "../../../src/client/errors.ts";
import type { Pulled, Puller, ReceiveRequest, SettleAction } from "../../../src/client/puller.ts";
import { retryDelaySeconds } from "../../../src/client/run-handlers.ts";
import { createSettler } from "../../../src/client/settler.ts";

type SettleCall = { readonly action: SettleAction; readonly receipts: readonly string[] };

function pulled(name: string, fields: Partial<Message> = {}): Pulled {
  const meta = { id: name, topic: "t", offset: 0, time: "2026-11-17T00:00:00.000Z", receiveCount: 1, attributes: {}, event: {}, answerBy: null, queue: null };
  return { message: { ...contentOf("text/plain", new TextEncoder().encode(name)), ...meta, ...fields }, box: "box", receipt: `receipt of ${name}` };
}

const QUERY = { answerBy: "2026-11-17T00:01:00.000Z" };

/** A puller that hands out batches, fails where it is told to, and then waits for the consumer to stop. */
function fakePuller(...script: (readonly Pulled[] | Error)[]) {
  const waiting = [...script];
  const receives: ReceiveRequest[] = [];
  const settles: SettleCall[] = [];
  const replies: unknown[][] = [];
  let settle = async (_action: SettleAction, receipts: readonly string[]): Promise<readonly Settled[]> => receipts.map(() => ({ ok: true }));
  let reply = async (): Promise<void> => undefined;
  const puller: Puller = {
    receive: async (request) => {
      receives.push(request);
      const next = waiting.shift();
      if (next instanceof Error) throw next;
      if (next !== undefined && next.length > request.max) waiting.unshift(next.slice(request.max));
      if (next !== undefined) return next.slice(0, request.max);
      return new Promise((_resolve, reject) => {
        request.signal.addEventListener("abort", () => reject(request.signal.reason));
        if (request.signal.aborted) reject(request.signal.reason);
      });
    },
    settle: (_box, action, receipts) => {
      settles.push({ action, receipts });
      return settle(action, receipts);
    },
    reply: (...answer) => {
      replies.push(answer);
      return reply();
    },
  };
  return {
    puller,
    receives,
    settles,
    replies,
    settleWith: (next: typeof settle) => {
      settle = next;
    },
    replyWith: (next: typeof reply) => {
      reply = next;
    },
    acked: () => settles.filter(({ action }) => action.kind === "ack").flatMap(({ receipts }) => receipts),
    nacked: () => settles.filter(({ action }) => action.kind === "nack").flatMap(({ receipts }) => receipts),
  };
}

function consumerOf(puller: Puller, options: ConsumeOptions = {}) {
  const faults: ConsumeFault[] = [];
  const consumer = createConsumer(puller, { onFault: (fault) => faults.push(fault), ...options });
  return { consumer, faults };
}

const overloaded = new PosternProblem({ code: "overloaded", status: 503, detail: "busy", retryAfterSeconds: 9 });
const lost = new PosternConnectionError("unreachable", "no route");
const unknownQueue = new PosternProblem({ code: "unknown-queue", status: 404, detail: "none" });

beforeEach(() => {
  vi.useFakeTimers();
});
afterEach(() => {
  vi.useRealTimers();
  vi.restoreAllMocks();
});

describe("run", () => {
  it("acknowledges when the handler returns, nacks with a delay when it throws", async () => {
    const fake = fakePuller([pulled("good"), pulled("bad")]);
    const { consumer, faults } = consumerOf(fake.puller, { concurrency: 2, retryDelaySeconds: () => 7.4 });
    const ran = consumer.run(({ message }) => {
      if (message.id === "bad") throw new Error("broken");
    });
    await vi.advanceTimersByTimeAsync(0);
    consumer.stop();
    await ran;
    expect(fake.settles).toHaveLength(2);
    expect(fake.settles).toContainEqual({ action: { kind: "nack", delaySeconds: 7 }, receipts: ["receipt of bad"] });
    expect(fake.settles).toContainEqual({ action: { kind: "ack" }, receipts: ["receipt of good"] });
    expect(faults).toMatchObject([{ kind: "handler", error: { message: "broken" }, message: { id: "bad" }, retryInSeconds: 7 }]);
  });

  it("leaves a message alone that its handler settled", async () => {
    const fake = fakePuller([pulled("a"), pulled("b"), pulled("c")]);
    const { consumer } = consumerOf(fake.puller, { concurrency: 3 });
    const ran = consumer.run(async ({ message, ack, nack }) => {
      if (message.id === "a") await nack(60);
      if (message.id === "b") await ack();
      if (message.id !== "a") throw new Error("after all");
    });
    await vi.advanceTimersByTimeAsync(0);
    consumer.stop();
    await ran;
    expect(fake.acked()).toEqual(["receipt of b"]);
    expect(fake.nacked().sort()).toEqual(["receipt of a", "receipt of c"]);
  });

  it("works on no more messages at a time than it may, and asks for no more", async () => {
    const messages = Array.from({ length: 7 }, (_, index) => pulled(String(index)));
    const fake = fakePuller(messages.slice(0, 3), messages.slice(3, 6), messages.slice(6));
    const { consumer } = consumerOf(fake.puller, { concurrency: 3, max: 10 });
    let working = 0;
    let most = 0;
    const ran = consumer.run(async () => {
      most = Math.max(most, ++working);
      await new Promise((resolve) => setTimeout(resolve, 100));
      working--;
    });
    await vi.advanceTimersByTimeAsync(1000);
    consumer.stop();
    await ran;
    expect(most).toBe(3);
    expect(fake.receives.every(({ max }) => max >= 1 && max <= 3)).toBe(true);
    expect(fake.acked()).toHaveLength(7);
  });

  it("settles together what ends together", async () => {
    const fake = fakePuller(Array.from({ length: 10 }, (_, index) => pulled(String(index))));
    fake.settleWith(async (_action, receipts) => {
      await new Promise((resolve) => setTimeout(resolve, 10));
      return receipts.map(() => ({ ok: true }));
    });
    const { consumer } = consumerOf(fake.puller, { concurrency: 10 });
    const ran = consumer.run(() => new Promise((resolve) => setTimeout(resolve, 100)));
    await vi.advanceTimersByTimeAsync(200);
    consumer.stop();
    await ran;
    expect(fake.acked()).toHaveLength(10);
    expect(fake.settles.map(({ receipts }) => receipts.length)).toEqual([1, 9]);
  });

  it("extends the visibility time while a handler works, and no longer", async () => {
    const fake = fakePuller([pulled("slow")]);
    const { consumer } = consumerOf(fake.puller, { visibilitySeconds: 10 });
    const ran = consumer.run(() => new Promise((resolve) => setTimeout(resolve, 21_000)));
    await vi.advanceTimersByTimeAsync(60_000);
    consumer.stop();
    await ran;
    const extended = { action: { kind: "extend", visibilitySeconds: 10 }, receipts: ["receipt of slow"] };
    expect(fake.settles).toEqual([extended, extended, extended, extended, { action: { kind: "ack" }, receipts: ["receipt of slow"] }]);
    expect(vi.getTimerCount()).toBe(0);
  });

  it("stops extending what is not its own any more, and says so", async () => {
    const fake = fakePuller([pulled("lost")]);
    fake.settleWith(async (_action, receipts) => receipts.map(() => ({ ok: false, error: "stale" })));
    const { consumer, faults } = consumerOf(fake.puller, { visibilitySeconds: 2 });
    const ran = consumer.run(() => new Promise((resolve) => setTimeout(resolve, 10_000)));
    await vi.advanceTimersByTimeAsync(20_000);
    consumer.stop();
    await ran;
    expect(fake.settles.map(({ action }) => action.kind)).toEqual(["extend", "ack"]);
    expect(faults).toMatchObject([{ kind: "settle" }, { kind: "settle" }]);
  });

  it("survives an acknowledgement that fails: the message comes again", async () => {
    const fake = fakePuller([pulled("a")], [pulled("b")]);
    fake.settleWith(async () => {
      throw lost;
    });
    const { consumer, faults } = consumerOf(fake.puller);
    const handled: string[] = [];
    const ran = consumer.run(({ message }) => handled.push(message.id));
    await vi.advanceTimersByTimeAsync(100);
    consumer.stop();
    await ran;
    expect(handled).toEqual(["a", "b"]);
    expect(faults).toMatchObject([{ kind: "settle", error: lost }, { kind: "settle", error: lost }]);
  });

  it("backs off from faults that pass, and honours what it was told to wait", async () => {
    vi.spyOn(Math, "random").mockReturnValue(1);
    const fake = fakePuller(lost, lost, lost, overloaded, [pulled("a")]);
    const { consumer, faults } = consumerOf(fake.puller);
    const ran = consumer.run(() => undefined);
    await vi.advanceTimersByTimeAsync(60_000);
    consumer.stop();
    await ran;
    expect(faults.map((fault) => fault.kind === "receive" && fault.retryInSeconds)).toEqual([0.5, 1, 2, 9]);
    expect(fake.acked()).toEqual(["receipt of a"]);
  });

  it("ends with what is refused for good, after its handlers have", async () => {
    const fake = fakePuller([pulled("a")], unknownQueue);
    const { consumer } = consumerOf(fake.puller, { concurrency: 2 });
    const ran = consumer.run(() => new Promise((resolve) => setTimeout(resolve, 500)));
    const refused = expect(ran).rejects.toBe(unknownQueue);
    await vi.advanceTimersByTimeAsync(1000);
    await refused;
    expect(fake.acked()).toEqual(["receipt of a"]);
  });

  it("gives back what was fetched and not started when it is stopped", async () => {
    const fake = fakePuller();
    const late = Promise.withResolvers<readonly Pulled[]>();
    const { consumer } = consumerOf({ ...fake.puller, receive: () => late.promise });
    const handled: string[] = [];
    const ran = consumer.run(({ message }) => handled.push(message.id));
    await vi.advanceTimersByTimeAsync(10);
    consumer.stop();
    late.resolve([pulled("a"), pulled("b")]);
    await ran;
    expect(handled).toEqual([]);
    expect(fake.settles).toEqual([{ action: { kind: "nack", delaySeconds: 0 }, receipts: ["receipt of a", "receipt of b"] }]);
  });

  it("stops with its signal, before and during", async () => {
    const fake = fakePuller([pulled("a")]);
    await consumerOf(fake.puller, { signal: AbortSignal.abort() }).consumer.run(() => undefined);
    expect(fake.receives).toEqual([]);
    const stop = new AbortController();
    const ran = consumerOf(fake.puller, { signal: stop.signal }).consumer.run(() => undefined);
    await vi.advanceTimersByTimeAsync(10);
    stop.abort();
    await ran;
    expect(fake.acked()).toEqual(["receipt of a"]);
  });

  it("ends with what onFault or retryDelaySeconds throws, the message not being lost", async () => {
    const bug = new Error("a bug in onFault");
    const throwing: ConsumeOptions[] = [
      { onFault: () => { throw bug; } },
      { retryDelaySeconds: () => { throw bug; } },
    ];
    for (const options of throwing) {
      const fake = fakePuller([pulled("a")]);
      const ran = createConsumer(fake.puller, options).run(() => {
        throw new Error("broken");
      });
      await expect(ran).rejects.toBe(bug);
      expect(fake.acked()).toEqual([]);
    }
  });

  it("does not spin when there is nothing and it may not wait", async () => {
    const fake = fakePuller(...Array.from({ length: 1000 }, () => []));
    const { consumer } = consumerOf(fake.puller, { waitSeconds: 0 });
    const ran = consumer.run(() => undefined);
    await vi.advanceTimersByTimeAsync(10_000);
    consumer.stop();
    await ran;
    expect(fake.receives.length).toBeLessThan(15);
  });

  it("is for once", async () => {
    const { consumer } = consumerOf(fakePuller().puller, { signal: AbortSignal.abort() });
    await consumer.run(() => undefined);
    await expect(consumer.run(() => undefined)).rejects.toThrow("once");
    expect(() => consumer[Symbol.asyncIterator]()).toThrow("once");
  });

  it.each([0, -1, 1.5, Number.NaN])("needs a concurrency that is one, not %s", (concurrency) => {
    expect(() => createConsumer(fakePuller().puller, { concurrency })).toThrow(RangeError);
  });
});

describe("run, for queries", () => {
  async function runOnce(fake: ReturnType<typeof fakePuller>, handler: (delivery: Delivery) => unknown): Promise<readonly ConsumeFault[]> {
    const { consumer, faults } = consumerOf(fake.puller, { retryDelaySeconds: () => 3 });
    const ran = consumer.run(handler);
    await vi.advanceTimersByTimeAsync(10);
    consumer.stop();
    await ran;
    return faults;
  }

  it("answers with what the handler returns, then acknowledges", async () => {
    const fake = fakePuller([pulled("q", QUERY)]);
    expect(await runOnce(fake, () => ({ price: 3 }))).toEqual([]);
    expect(fake.replies).toEqual([["q", { price: 3 }]]);
    expect(fake.acked()).toEqual(["receipt of q"]);
  });

  it.each<[string, Partial<Message>, (delivery: Delivery) => unknown, number]>([
    ["the handler returns nothing", QUERY, () => undefined, 0],
    ["the handler answered by itself", QUERY, async ({ reply }) => [await reply("mine"), "other"], 1],
    ["the message is no query", {}, () => "thanks", 0],
  ])("does not answer when %s", async (_when, fields, handler, replies) => {
    const fake = fakePuller([pulled("q", fields)]);
    await runOnce(fake, handler);
    expect(fake.replies).toHaveLength(replies);
    expect(fake.acked()).toEqual(["receipt of q"]);
  });

  it("has done with a query whose answer came too late", async () => {
    const fake = fakePuller([pulled("q", QUERY)]);
    fake.replyWith(async () => {
      throw new PosternProblem({ code: "gone", status: 410, detail: "too late" });
    });
    expect(await runOnce(fake, () => "late")).toMatchObject([{ kind: "reply", error: { code: "gone" } }]);
    expect(fake.acked()).toEqual(["receipt of q"]);
  });

  it.each([lost, overloaded])("gets a query again whose answer may not have arrived (%s)", async (failure) => {
    const fake = fakePuller([pulled("q", QUERY)]);
    fake.replyWith(async () => {
      throw failure;
    });
    expect(await runOnce(fake, () => "answer")).toMatchObject([{ kind: "handler", error: failure, retryInSeconds: 3 }]);
    expect(fake.nacked()).toEqual(["receipt of q"]);
  });
});

describe("iterating", () => {
  it("yields what is received, and gives back what was not looked at", async () => {
    const fake = fakePuller([pulled("a"), pulled("b"), pulled("c")]);
    const { consumer } = consumerOf(fake.puller);
    for await (const { message, ack } of consumer) {
      if (message.id === "b") break;
      await ack();
    }
    expect(fake.acked()).toEqual(["receipt of a"]);
    expect(fake.nacked()).toEqual(["receipt of c"]);
  });

  it("ends with stop() or the signal, also while it waits", async () => {
    const fake = fakePuller([pulled("a"), pulled("b")]);
    const { consumer } = consumerOf(fake.puller);
    const got: string[] = [];
    for await (const { message } of consumer) {
      got.push(message.id);
      if (got.length === 2) setTimeout(() => consumer.stop(), 5000);
      if (got.length === 2) vi.advanceTimersByTimeAsync(5000).catch(() => undefined);
    }
    expect(got).toEqual(["a", "b"]);
    expect(fake.nacked()).toEqual([]);
  });

  it("skips what became someone else's while others were worked on", async () => {
    const fake = fakePuller([pulled("a"), pulled("b")], [pulled("c")]);
    const { consumer } = consumerOf(fake.puller, { visibilitySeconds: 30 });
    const got: string[] = [];
    for await (const { message } of consumer) {
      got.push(message.id);
      if (message.id === "a") await vi.advanceTimersByTimeAsync(30_000);
      if (message.id === "c") break;
    }
    expect(got).toEqual(["a", "c"]);
  });

  it("throws what is refused for good, and gets over the rest", async () => {
    vi.spyOn(Math, "random").mockReturnValue(0);
    const fake = fakePuller(lost, [pulled("a")], unknownQueue);
    const { consumer, faults } = consumerOf(fake.puller);
    const got: string[] = [];
    const iterated = (async () => {
      for await (const { message } of consumer) got.push(message.id);
    })();
    const refused = expect(iterated).rejects.toBe(unknownQueue);
    await vi.advanceTimersByTimeAsync(1000);
    await refused;
    expect(got).toEqual(["a"]);
    expect(faults).toMatchObject([{ kind: "receive", error: lost }]);
  });

  it("waits for acknowledgements under way before it ends", async () => {
    const fake = fakePuller([pulled("a")]);
    const through = Promise.withResolvers<readonly Settled[]>();
    fake.settleWith(() => through.promise);
    const { consumer } = consumerOf(fake.puller);
    let ended = false;
    const iterated = (async () => {
      for await (const { ack } of consumer) {
        ack().catch(() => undefined);
        break;
      }
      ended = true;
    })();
    await vi.advanceTimersByTimeAsync(10);
    expect(ended).toBe(false);
    through.resolve([{ ok: true }]);
    await iterated;
  });
});

describe("settling", () => {
  const ack: SettleAction = { kind: "ack" };

  it("sends the first at once, and together what comes while it is on its way", async () => {
    const fake = fakePuller();
    const flight = Promise.withResolvers<readonly Settled[]>();
    fake.settleWith((_action, receipts) =>
      receipts.length === 1 ? flight.promise : Promise.resolve([{ ok: true }, { ok: false, error: "stale" }, { ok: true }]),
    );
    const settler = createSettler(fake.puller);
    const first = settler.settle(pulled("0"), ack);
    await vi.advanceTimersByTimeAsync(0);
    const rest = ["1", "2", "3"].map((name) => settler.settle(pulled(name), ack));
    await vi.advanceTimersByTimeAsync(0);
    expect(fake.settles).toHaveLength(1);
    flight.resolve([{ ok: true }]);
    expect(await Promise.all([first, ...rest])).toEqual([{ ok: true }, { ok: true }, { ok: false, error: "stale" }, { ok: true }]);
    expect(fake.settles.map(({ receipts }) => receipts.length)).toEqual([1, 3]);
  });

  it("waits for nobody once a call is full, and mixes neither boxes nor delays", async () => {
    const fake = fakePuller();
    fake.settleWith(() => new Promise(() => undefined));
    const settler = createSettler(fake.puller);
    for (let index = 0; index < 250; index++) void settler.settle(pulled(String(index)), ack);
    for (const delaySeconds of [0, 1]) void settler.settle(pulled("a"), { kind: "nack", delaySeconds });
    void settler.settle({ ...pulled("b"), box: "other" }, ack);
    await vi.advanceTimersByTimeAsync(0);
    expect(fake.settles.map(({ receipts }) => receipts.length)).toEqual([100, 100, 1, 1, 1]);
  });

  it("tells everyone of a call that it failed, and goes on", async () => {
    const fake = fakePuller();
    fake.settleWith(async (_action, receipts) => {
      if (receipts.length > 1) throw lost;
      return [{ ok: true }];
    });
    const settler = createSettler(fake.puller);
    expect(await Promise.allSettled(["a", "b"].map((name) => settler.settle(pulled(name), ack)))).toEqual([
      { status: "rejected", reason: lost },
      { status: "rejected", reason: lost },
    ]);
    expect(await settler.settle(pulled("c"), ack)).toEqual({ ok: true });
    await settler.drained();
  });
});

it("waits longer for a message that failed more often, never 0 and never more than 15 minutes", () => {
  expect([1, 2, 5, 20].map((count) => retryDelaySeconds(count, 1))).toEqual([2, 4, 32, 900]);
  expect([1, 2, 5, 20].map((count) => retryDelaySeconds(count, 0.5))).toEqual([1, 2, 16, 450]);
  expect([1, 20].map((count) => retryDelaySeconds(count, 0))).toEqual([1, 1]);
});
