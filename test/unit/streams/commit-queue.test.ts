import { describe, expect, it } from "vitest";
import { CommitQueue } from "../../../src/streams/commit-queue.ts";
import type { Append } from "../../../src/streams/contract.ts";

const append = (targets: number, bytes = 1): Append => ({
  message: { id: "msg_1", deduplicate: false, contentType: "text/plain", attributes: {}, traceparent: "00-0-0-01", body: new Uint8Array(bytes) },
  endpointIds: Array.from({ length: targets }, (_, index) => `ep_${index}`),
});

describe("what waits for the next commit", () => {
  it("is taken in order, as far as there is room for its targets, and whole appends only", () => {
    const queue = new CommitQueue();
    for (const targets of [10, 10, 3, 20]) void queue.push([append(targets)]);
    expect(queue.take(25).map(({ appends }) => appends[0]?.endpointIds.length)).toEqual([10, 10, 3]);
    expect(queue.take(25)).toHaveLength(1);
    expect(queue.isEmpty).toBe(true);
  });

  it("is taken one at least, whatever it needs", () => {
    const queue = new CommitQueue();
    void queue.push(Array.from({ length: 500 }, () => append(1)));
    void queue.push([append(0)]);
    expect(queue.take(1)).toHaveLength(1);
    expect(queue.take(1)).toHaveLength(1);
  });

  it("goes on without room where nothing is to be delivered", () => {
    const queue = new CommitQueue();
    for (let count = 0; count < 100; count++) void queue.push([append(0)]);
    expect(queue.take(1)).toHaveLength(100);
  });

  it("is bounded: what is beyond is overloaded at once", async () => {
    const queue = new CommitQueue();
    for (let count = 0; count < 4_000; count++) void queue.push([append(1)]);
    expect(await queue.push([append(1)])).toEqual({ ok: false, code: "overloaded", retryAfterSeconds: 1 });
    const heavy = new CommitQueue();
    for (let count = 0; count < 32; count++) void heavy.push([append(1, 1024 * 1024)]);
    expect(await heavy.push([append(1)])).toMatchObject({ ok: false });
  });
});
