import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { type LongPoll, longPoll } from "../../../src/mailbox/long-poll.ts";
import type { MailboxFault, ReceivedMessage } from "../../../src/mailbox/mailbox.ts";

const MESSAGE: ReceivedMessage = {
  id: "msg_1",
  topic: "a",
  offset: 0,
  timeMs: 0,
  contentType: "text/plain",
  attributes: {},
  body: new Uint8Array(),
  receiveCount: 1,
  handle: "handle",
};

/** A poll whose slices take as long as they are told, and find something in the `findsIn`th. */
function poll(options: { waitSeconds: number; findsIn?: number; signal?: AbortSignal; onSlice?: (slice: number) => void }) {
  const slices: number[] = [];
  const released: ReceivedMessage[] = [];
  const polled: LongPoll = {
    waitSeconds: options.waitSeconds,
    ...(options.signal === undefined ? {} : { signal: options.signal }),
    sliceSeconds: 5,
    shortestSliceSeconds: 0.5,
    take: async (waitSeconds) => {
      slices.push(waitSeconds);
      options.onSlice?.(slices.length);
      if (slices.length === options.findsIn) return { ok: true, messages: [MESSAGE] };
      vi.setSystemTime(Date.now() + waitSeconds * 1000);
      return { ok: true, messages: [] };
    },
    release: async (messages) => void released.push(...messages),
  };
  return { result: longPoll(polled), slices, released };
}

describe("a long poll", () => {
  beforeEach(() => void vi.useFakeTimers({ toFake: ["Date"], now: 0 }));
  afterEach(() => void vi.useRealTimers());

  it("asks once, without waiting, when it is not to wait", async () => {
    const { result, slices } = poll({ waitSeconds: 0 });
    expect([await result, slices]).toEqual([{ ok: true, messages: [] }, [0]]);
  });

  it("waits in slices until its time is over", async () => {
    const { result, slices } = poll({ waitSeconds: 12 });
    expect([await result, slices]).toEqual([{ ok: true, messages: [] }, [5, 5, 2]]);
  });

  it("ends with the first messages", async () => {
    const { result, slices } = poll({ waitSeconds: 20, findsIn: 2 });
    expect([await result, slices]).toEqual([{ ok: true, messages: [MESSAGE] }, [5, 5]]);
  });

  it("asks for nothing when the asker is gone already", async () => {
    const { result, slices } = poll({ waitSeconds: 20, signal: AbortSignal.abort() });
    expect([await result, slices]).toEqual([{ ok: true, messages: [] }, []]);
  });

  it("begins no other slice when the asker has gone, and releases what the last one took", async () => {
    const empty = new AbortController();
    const idle = poll({ waitSeconds: 20, signal: empty.signal, onSlice: (slice) => slice === 2 && empty.abort() });
    expect([await idle.result, idle.slices, idle.released]).toEqual([{ ok: true, messages: [] }, [5, 5], []]);
    const late = new AbortController();
    const swallowed = poll({ waitSeconds: 20, findsIn: 2, signal: late.signal, onSlice: (slice) => slice === 2 && late.abort() });
    expect([await swallowed.result, swallowed.released]).toEqual([{ ok: true, messages: [] }, [MESSAGE]]);
  });

  it("ends with a fault", async () => {
    const fault: MailboxFault = { ok: false, code: "unreachable", detail: "gone" };
    const polled = { waitSeconds: 20, sliceSeconds: 5, shortestSliceSeconds: 0.5, take: async () => fault, release: async () => undefined };
    expect(await longPoll(polled)).toEqual(fault);
  });

  it("ends when slices come back at once and empty, over and over", async () => {
    let slices = 0;
    const take = async () => (slices++, { ok: true as const, messages: [] });
    await longPoll({ waitSeconds: 20, sliceSeconds: 5, shortestSliceSeconds: 0.5, take, release: async () => undefined });
    expect(slices).toBe(100);
  });
});
