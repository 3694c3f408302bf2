import { runInDurableObject } from "cloudflare:test";
import { env } from "cloudflare:workers";
import { expect, it } from "vitest";
import { Outbox } from "../../src/streams/outbox.ts";
import { createTables } from "../../src/streams/schema.ts";

const MINUTE_MS = 60_000;

it("hands out what the sweep found a second time, when the attempt that followed the first was lost as well", async () => {
  await runInDurableObject(env.STREAMS.getByName("default/topics/swept-twice"), (_object, { storage }) => {
    createTables(storage.sql);
    const delivery = { offset: 0, endpointId: "ep_1", messageId: "msg_1", messageTimeMs: 0 };
    const handedOut = Array.from({ length: 4 }, (_, round) => {
      const nowMs = (round + 1) * 10 * MINUTE_MS;
      const outbox = new Outbox(storage.sql); // a process of its own: the one before was killed during its attempt
      if (round === 0) outbox.reopen(delivery, nowMs - MINUTE_MS);
      return outbox.claim(outbox.sweep(nowMs, 10), nowMs).length;
    });
    expect(handedOut).toEqual([1, 1, 1, 1]);
  });
});
