import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { receiveLater, receiveNow, type Receiver, type Taken } from "../../../src/http/pull-receive.ts";
import { boxNamed, FakeMailbox, UNREACHABLE } from "./fake-mailbox.ts";

let mailbox: FakeMailbox;
let background: Promise<void>[];

beforeEach(() => {
  mailbox = new FakeMailbox();
  background = [];
  vi.spyOn(console, "warn").mockImplementation(() => undefined);
});

afterEach(() => {
  vi.restoreAllMocks();
});

function receiver(boxes: readonly string[], max = 10, random = 0): Receiver {
  return {
    mailbox,
    boxes: boxes.map((id) => boxNamed(id)),
    max,
    visibilitySeconds: 30,
    expunged: async () => new Set(),
  random: () => random,
    background: (work) => void background.push(work),
  };
}

function fill(box: string, count: number): void {
  mailbox.held.set(box, Array.from({ length: count }, (_, index) => `${box}${index}`));
}

function countsOf(taken: readonly Taken[]): Record<string, number> {
  return Object.fromEntries([...Map.groupBy(taken, ({ box }) => box.id)].map(([id, own]) => [id, own.length]));
}

async function now(receiving: Receiver): Promise<readonly Taken[]> {
  const received = await receiveNow(receiving);
  if (!received.ok) throw new Error(received.detail);
  return received.taken;
}

describe("a look into several boxes", () => {
  it("gives each its share of the maximum when all have enough", async () => {
    for (const box of ["a", "b", "c"]) fill(box, 50);
    expect(countsOf(await now(receiver(["a", "b", "c"])))).toEqual({ a: 4, b: 3, c: 3 });
  });

  it("gives what some leave over to those that have more", async () => {
    fill("a", 50);
    fill("b", 1);
    expect(countsOf(await now(receiver(["a", "b", "c"])))).toEqual({ a: 9, b: 1 });
  });

  it("never takes more than the maximum, and begins elsewhere each time", async () => {
    for (const box of ["a", "b", "c"]) fill(box, 50);
    expect(countsOf(await now(receiver(["a", "b", "c"], 1, 0)))).toEqual({ a: 1 });
    expect(countsOf(await now(receiver(["a", "b", "c"], 1, 0.4)))).toEqual({ b: 1 });
    expect(countsOf(await now(receiver(["a", "b", "c"], 1, 0.99)))).toEqual({ c: 1 });
  });

  it("finds the one message in the last of more boxes than the maximum", async () => {
    fill("e", 1);
    expect(countsOf(await now(receiver(["a", "b", "c", "d", "e"], 2)))).toEqual({ e: 1 });
  });

  it("asks each empty box once and ends", async () => {
    expect(await now(receiver(["a", "b", "c"]))).toEqual([]);
    expect(mailbox.asked.map(({ box }) => box)).toEqual(["a", "b", "c"]);
  });

  it("answers with what it has when one box can not be reached, and with the fault when there is nothing else", async () => {
    mailbox.faulty.add("a");
    fill("b", 2);
    expect(countsOf(await now(receiver(["a", "b"])))).toEqual({ b: 2 });
    expect(await receiveNow(receiver(["a", "b"]))).toEqual(UNREACHABLE);
  });
});

describe("waiting for several boxes", () => {
  it("answers with the first message of any, and waits for no other", async () => {
    const waiting = receiveLater(receiver(["a", "b"]), 20, new AbortController().signal);
    await vi.waitUntil(() => mailbox.waiting.length === 2);
    mailbox.waiting[1]!.answer(["b0"]);
    expect(countsOf(await waiting)).toEqual({ b: 1 });
    expect(mailbox.waiting[0]!.options.signal?.aborted).toBe(true);
    await Promise.all(background);
    expect(mailbox.settled).toEqual([]);
  });

  it("puts back what another box brings after that", async () => {
    const boxes = receiver(["a", "b"]);
    const stubborn = vi.spyOn(AbortController.prototype, "abort").mockImplementation(() => undefined);
    const waiting = receiveLater(boxes, 20, new AbortController().signal);
    await vi.waitUntil(() => mailbox.waiting.length === 2);
    mailbox.waiting[0]!.answer(["a0"]);
    expect(countsOf(await waiting)).toEqual({ a: 1 });
    mailbox.waiting[1]!.answer(["b0", "b1"]);
    await Promise.all(background);
    expect(stubborn).toHaveBeenCalled();
    expect(mailbox.settled).toEqual([{ verb: "nack", box: "b", handles: ["b0", "b1"], seconds: 0 }]);
  });

  it("puts back what is more than the maximum when two answer at once", async () => {
    const waiting = receiveLater(receiver(["a", "b"], 1), 20, new AbortController().signal);
    await vi.waitUntil(() => mailbox.waiting.length === 2);
    mailbox.waiting[0]!.answer(["a0"]);
    mailbox.waiting[1]!.answer(["b0"]);
    expect(countsOf(await waiting)).toEqual({ a: 1 });
    await Promise.all(background);
    expect(mailbox.settled).toEqual([{ verb: "nack", box: "b", handles: ["b0"], seconds: 0 }]);
  });

  it("ends with nothing as soon as the asker is gone, and stops every receive", async () => {
    const gone = new AbortController();
    const waiting = receiveLater(receiver(["a", "b"]), 20, gone.signal);
    await vi.waitUntil(() => mailbox.waiting.length === 2);
    gone.abort();
    expect(await waiting).toEqual([]);
    expect(mailbox.waiting.every(({ options }) => options.signal?.aborted)).toBe(true);
  });

  it("keeps five connections at most, and comes to every box in turn", async () => {
    const boxes = ["a", "b", "c", "d", "e", "f", "g"];
    const waiting = receiveLater(receiver(boxes), 20, new AbortController().signal);
    await vi.waitUntil(() => mailbox.waiting.length === 5);
    expect(mailbox.waiting.map(({ box, options }) => [box.id, options.waitSeconds])).toEqual(
      ["a", "b", "c", "d", "e"].map((id) => [id, 1]),
    );
    for (const { answer } of mailbox.waiting.splice(0)) answer([]);
    await vi.waitUntil(() => mailbox.waiting.length === 5);
    expect(mailbox.waiting.map(({ box }) => box.id)).toEqual(["f", "g", "a", "b", "c"]);
    mailbox.waiting[1]!.answer(["g0"]);
    expect(countsOf(await waiting)).toEqual({ g: 1 });
  });

  it("leaves out a box that can not be reached, and ends when none is left", async () => {
    mailbox.faulty.add("a");
    const waiting = receiveLater(receiver(["a", "b"]), 20, new AbortController().signal);
    await vi.waitUntil(() => mailbox.waiting.length === 1);
    mailbox.waiting[0]!.answer(["b0"]);
    expect(countsOf(await waiting)).toEqual({ b: 1 });
    mailbox.faulty.add("b");
    expect(await receiveLater(receiver(["a", "b"]), 20, new AbortController().signal)).toEqual([]);
  });
});
