import { afterEach, describe, expect, it, vi } from "vitest";
import { createMemoryBus } from "../../../src/client/index.ts";
import { busContract } from "./bus-contract.ts";

busContract("a bus in memory", async () => {
  const bus = createMemoryBus();
  return {
    bus,
    createQueue: async (name, options) => bus.createQueue(name, options),
    createEndpoint: async (options) => bus.createEndpoint(options).id,
  };
});

describe("a bus in memory, for tests", () => {
  afterEach(() => {
    vi.useRealTimers();
  });

  it("says when its handlers have done everything", async () => {
    const bus = createMemoryBus();
    const got: string[] = [];
    bus.createEndpoint({
      topics: ["orders.*"],
      handler: async (message) => {
        await new Promise((resolve) => setTimeout(resolve, 5));
        got.push(message.text());
        if (message.topic === "orders.created") await bus.publish("orders.billed", "second");
      },
    });
    await bus.publish("orders.created", "first");
    expect(got).toEqual([]);
    await bus.idle();
    expect(got).toEqual(["first", "second"]);
  });

  it("tries a handler that throws again, by the schedule, and shows what it gave up", async () => {
    vi.useFakeTimers();
    const bus = createMemoryBus();
    const attemptsMs: number[] = [];
    const broken = new Error("broken");
    const { id: endpointId } = bus.createEndpoint({
      topics: ["a"],
      retrySchedule: [1, 60],
      handler: () => {
        attemptsMs.push(Date.now());
        throw broken;
      },
    });
    const { id } = await bus.publish("a", "x");
    await vi.runAllTimersAsync();
    await bus.idle();
    expect(attemptsMs.map((ms) => ms - (attemptsMs[0] ?? 0))).toEqual([0, 1000, 61_000]);
    expect(bus.deadLetters()).toEqual([{ target: { kind: "endpoint", id: endpointId }, messageId: id, error: broken }]);
  });

  it("keeps to the visibility time under fake timers", async () => {
    vi.useFakeTimers();
    const bus = createMemoryBus();
    bus.createQueue("q");
    await bus.command("q/do", "x");
    const counts: number[] = [];
    for await (const { message } of bus.consume({ queue: "q" }, { visibilitySeconds: 600 })) {
      counts.push(message.receiveCount);
      if (counts.length === 2) break;
      vi.advanceTimersByTimeAsync(600_000).catch(() => undefined);
    }
    expect(counts).toEqual([1, 2]);
  });

  it("shows what was received too often among the dead letters", async () => {
    const bus = createMemoryBus();
    bus.createQueue("q", { maxReceives: 1 });
    const { id } = await bus.command("q/do", "x");
    for await (const { nack } of bus.consume({ queue: "q" })) {
      await nack();
      break;
    }
    for await (const delivery of bus.consume({ queue: "q" }, { waitSeconds: 0, signal: AbortSignal.timeout(20) })) {
      throw new Error(`it came again: ${delivery.message.receiveCount}`);
    }
    expect(bus.deadLetters()).toEqual([{ target: { kind: "queue", name: "q" }, messageId: id }]);
  });

  it("delivers nothing more to an endpoint that is deleted", async () => {
    const bus = createMemoryBus();
    const got: string[] = [];
    const { id } = bus.createEndpoint({ topics: ["**"], queue: "q", handler: (message) => void got.push(message.text()) });
    bus.deleteEndpoint(id);
    await bus.publish("a", "event");
    await bus.command("q/do", "command");
    await bus.idle();
    expect(got).toEqual([]);
    expect(() => bus.deleteEndpoint(id)).toThrow("not-found");
    for await (const { message } of bus.consume({ queue: "q" })) {
      expect(message.text()).toBe("command");
      break;
    }
  });

  it("gives every consumer bytes of their own", async () => {
    const bus = createMemoryBus();
    const seen: string[] = [];
    for (let index = 0; index < 2; index++) {
      bus.createEndpoint({
        topics: ["a"],
        handler: (message) => {
          seen.push(message.text());
          message.bytes.fill(0);
        },
      });
    }
    await bus.publish("a", "x");
    await bus.idle();
    expect(seen).toEqual(["x", "x"]);
  });

  it("takes an idempotency key for an id", async () => {
    const bus = createMemoryBus();
    const first = await bus.publish("a", "x", { idempotencyKey: "key" });
    expect(await bus.publish("a", "x", { idempotencyKey: "key" })).toEqual(first);
    const batch = [{ topic: "a", data: 1 }, { topic: "a", data: 2 }];
    const results = await bus.batch(batch, { idempotencyKey: "other" });
    expect(await bus.batch(batch, { idempotencyKey: "other" })).toEqual(results);
    expect(results.map(({ offset }) => offset)).toEqual([1, 2]);
  });

  it("refuses a node that is taken, patterns that are none, and to pull from a handler's endpoint", async () => {
    const bus = createMemoryBus();
    const { id } = bus.createEndpoint({ node: "till", handler: () => undefined });
    expect(() => bus.createEndpoint({ node: "till" })).toThrow("conflict");
    expect(() => bus.createEndpoint({ topics: ["a.**.b"] })).toThrow("malformed-target");
    expect(() => bus.createQueue("a/b")).toThrow("malformed-target");
    await expect(bus.consume({ endpoint: id }).run(() => undefined)).rejects.toMatchObject({ code: "conflict" });
    await expect(bus.consume({ queues: [] }).run(() => undefined)).rejects.toMatchObject({ code: "invalid-request" });
  });

  it("leaves no timer behind", async () => {
    vi.useFakeTimers();
    const bus = createMemoryBus();
    bus.createEndpoint({ queue: "q", handler: () => "answer" });
    await bus.query("q/ask", "x");
    expect(vi.getTimerCount()).toBe(0);
  });
});
