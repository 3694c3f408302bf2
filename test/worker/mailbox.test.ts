import { env } from "cloudflare:workers";
import { evictDurableObject, runDurableObjectAlarm, runInDurableObject } from "cloudflare:test";
import { describe, expect, it } from "vitest";
import type { MailboxObjectApi } from "../../src/mailbox/durable-object-contract.ts";
import { DurableObjectMailbox } from "../../src/mailbox/durable-object-mailbox.ts";
import type { BoxRef } from "../../src/mailbox/mailbox.ts";
import { mailboxSuite, newBox, newMessage, noContent, receive, send } from "../unit/mailbox/mailbox-suite.ts";

const objectOf = (name: string): MailboxObjectApi => env.MAILBOXES.getByName(name);
const stubOf = ({ tenantId, kind, id }: BoxRef) => env.MAILBOXES.getByName(`${tenantId}/${kind}/${id}`);

mailboxSuite("Durable Objects", (loadContent) => new DurableObjectMailbox(objectOf, loadContent));

describe("a mailbox in a Durable Object", () => {
  const mailbox = new DurableObjectMailbox(objectOf, noContent);

  it("keeps messages, holds, counts and dead letters when the object is restarted", async () => {
    const box = newBox({ maxReceives: 2 });
    await send(mailbox, box, [newMessage(0), newMessage(1), newMessage(2)]);
    const [held, returned] = await receive(mailbox, box, { max: 2 });
    await mailbox.nack(box, [returned?.handle ?? ""], 0);
    await evictDurableObject(stubOf(box));
    expect((await receive(mailbox, box)).map(({ offset, receiveCount }) => [offset, receiveCount])).toEqual([[1, 2], [2, 1]]);
    await evictDurableObject(stubOf(box));
    expect(await mailbox.ack(box, [held?.handle ?? ""])).toEqual([{ ok: true }]);
    expect(await mailbox.depth(box)).toMatchObject({ visible: 0, inFlight: 2, dead: 0 });
  });

  it("takes no handle past its time, even when nobody else has received the message", async () => {
    const box = newBox();
    await send(mailbox, box, [newMessage(0)]);
    const [message] = await receive(mailbox, box, { visibilitySeconds: 0 });
    expect(await mailbox.ack(box, [message?.handle ?? ""])).toEqual([{ ok: false, reason: "stale" }]);
    expect(await receive(mailbox, box)).toHaveLength(1);
  });

  it("takes no forged handle: of another message, another receive, another box", async () => {
    const [box, other] = [newBox(), newBox()];
    await send(mailbox, box, [newMessage(0)]);
    await send(mailbox, other, [newMessage(0)]);
    const [held] = await receive(mailbox, box);
    const [foreign] = await receive(mailbox, other);
    const [seq = "", nonce = ""] = (held?.handle ?? "").split(".");
    const forged = [`${Number(seq) + 1}.${nonce}`, `${seq}.${"0".repeat(32)}`, `${seq}.`, `${"9".repeat(15)}.${nonce}`, foreign?.handle ?? ""];
    expect(await mailbox.ack(box, forged)).toEqual(["stale", "stale", "invalid", "stale", "stale"].map((reason) => ({ ok: false, reason })));
    expect(await mailbox.depth(box)).toMatchObject({ inFlight: 1 });
  });

  it("serves those who wait in the order they came", async () => {
    const box = newBox();
    const order: number[] = [];
    const waiting = [0, 1, 2].map(async (index) => {
      const [message] = await receive(mailbox, box, { max: 1, waitSeconds: 10 });
      order.push(index);
      return message?.offset;
    });
    await scheduler.wait(200);
    for (const offset of [0, 1, 2]) await send(mailbox, box, [newMessage(offset)]);
    expect(await Promise.all(waiting)).toEqual([0, 1, 2]);
    expect(order).toEqual([0, 1, 2]);
  });

  it("hands nothing to a waiter that was called and is gone", async () => {
    const box = newBox();
    // asks once and never again, as a request does that was cut off
    const gone = objectOf(`${box.tenantId}/${box.kind}/${box.id}`).take(box, { max: 10, visibilitySeconds: 600, waitMs: 2_000, place: null });
    await scheduler.wait(100);
    const waiting = receive(mailbox, box, { waitSeconds: 10 });
    await scheduler.wait(100);
    await send(mailbox, box, [newMessage(0)]);
    expect((await waiting).map(({ offset, receiveCount }) => [offset, receiveCount])).toEqual([[0, 1]]);
    expect((await gone).messages).toEqual([]);
  });

  it("drops what has waited longer than its retention, and tells the age of the oldest", async () => {
    const box = newBox({ retentionSeconds: 120 });
    await send(mailbox, box, [newMessage(0), newMessage(1)]);
    const [held] = await receive(mailbox, box, { max: 1 });
    await runInDurableObject(stubOf(box), (_instance, state) => {
      state.storage.sql.exec("UPDATE messages SET sent_at = sent_at - 121000");
    });
    await send(mailbox, box, [newMessage(2)]);
    expect(await mailbox.depth(box)).toMatchObject({ visible: 2, inFlight: 1, oldestAgeSeconds: expect.toSatisfy((age) => age >= 121) });
    expect(await runDurableObjectAlarm(stubOf(box))).toBe(true);
    expect((await receive(mailbox, box)).map(({ offset }) => offset)).toEqual([2]);
    expect(await mailbox.ack(box, [held?.handle ?? ""])).toEqual([{ ok: false, reason: "stale" }]);
    // there is a next time for what is left
    expect(await runDurableObjectAlarm(stubOf(box))).toBe(true);
  });

  it("leaves nothing on disk when it is removed, nor when it was only asked", async () => {
    const [removed, asked] = [newBox(), newBox()];
    await send(mailbox, removed, [newMessage(0)]);
    await mailbox.remove(removed);
    await receive(mailbox, asked);
    await mailbox.depth(asked);
    for (const box of [removed, asked]) {
      const tables = await runInDurableObject(stubOf(box), (_instance, state) =>
        state.storage.sql.exec("SELECT name FROM sqlite_master WHERE name IN ('messages', 'leases', 'dead_letters')").toArray(),
      );
      expect(tables).toEqual([]);
      expect(await runDurableObjectAlarm(stubOf(box))).toBe(false);
    }
  });

  it("says what went wrong when its object can not be reached, or has too much to do", async () => {
    const throwing = (error: Error): DurableObjectMailbox =>
      new DurableObjectMailbox(() => {
        throw error;
      }, noContent);
    const box = newBox();
    expect(await throwing(new Error("gone")).depth(box)).toMatchObject({ ok: false, code: "unreachable" });
    expect(await throwing(new Error("gone")).send(box, [newMessage(0), newMessage(1)])).toMatchObject([
      { ok: false, code: "unreachable" },
      { ok: false, code: "unreachable" },
    ]);
    const overloaded = Object.assign(new Error("busy"), { overloaded: true });
    expect(await throwing(overloaded).receive(box, { max: 1, waitSeconds: 5, visibilitySeconds: 1 })).toMatchObject({ ok: false, code: "throttled" });
  });
});
