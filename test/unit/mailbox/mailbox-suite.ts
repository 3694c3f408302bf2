import { describe, expect, it } from "vitest";
import type { ContentLoader } from "../../../src/mailbox/claim-check.ts";
import type { BoxMessage, BoxRef, HandleResult, Mailbox, MailboxFault, ReceivedMessage, ReceiveOptions } from "../../../src/mailbox/mailbox.ts";

const TENANT = "default";
const OK: HandleResult = { ok: true };
const STALE: HandleResult = { ok: false, reason: "stale" };
const INVALID: HandleResult = { ok: false, reason: "invalid" };
/** Anything that waits for a visibility timeout of a second, on a busy machine. */
const TIMEOUT_MS = 20_000;

let lastBox = 0;

export function newBox(fields: Partial<BoxRef> = {}): BoxRef {
  const id = `box${++lastBox}-${crypto.randomUUID().slice(0, 8)}`;
  return { tenantId: TENANT, kind: "queue", id, ordered: false, maxReceives: 5, retentionSeconds: 3_600, ...fields };
}

export function newMessage(offset: number, fields: Partial<BoxMessage> = {}): BoxMessage {
  return {
    id: `msg_${offset}`,
    topic: "orders.completed",
    stream: `${TENANT}/topics/orders.completed`,
    offset,
    timeMs: Date.UTC(2026, 10, 17, 12, 0, 0, offset),
    contentType: "application/json",
    attributes: { region: "eu" },
    body: bytes(`{"n":${offset}}`),
    ...fields,
  };
}

export const bytes = (text: string): Uint8Array => new TextEncoder().encode(text);

export const noContent: ContentLoader = async () => ({ ok: false, code: "not-found" });

export async function send(mailbox: Mailbox, box: BoxRef, messages: readonly BoxMessage[]): Promise<void> {
  expect(await mailbox.send(box, messages)).toEqual(messages.map(() => OK));
}

export async function receive(mailbox: Mailbox, box: BoxRef, options: Partial<ReceiveOptions> = {}): Promise<readonly ReceivedMessage[]> {
  const received = await mailbox.receive(box, { max: 10, waitSeconds: 0, visibilitySeconds: 30, ...options });
  if (!received.ok) throw new Error(`${received.code}: ${received.detail}`);
  return received.messages;
}

async function receiveOne(mailbox: Mailbox, box: BoxRef, options: Partial<ReceiveOptions> = {}): Promise<ReceivedMessage> {
  const [message] = await receive(mailbox, box, { max: 1, ...options });
  if (message === undefined) throw new Error("nothing was received");
  return message;
}

const handlesOf = (messages: readonly ReceivedMessage[]): string[] => messages.map(({ handle }) => handle);
const offsetsOf = (messages: readonly ReceivedMessage[]): number[] => messages.map(({ offset }) => offset);
const pause = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));

/** Receives until the box is empty and nothing comes back any more. */
async function drain(mailbox: Mailbox, box: BoxRef, waitSeconds: number): Promise<ReceivedMessage[]> {
  const all: ReceivedMessage[] = [];
  for (;;) {
    const messages = await receive(mailbox, box, { waitSeconds });
    if (messages.length === 0) return all;
    all.push(...messages);
    const acked = await mailbox.ack(box, handlesOf(messages));
    expect(acked).toEqual(messages.map(() => OK));
  }
}

/** What a mailbox promises, whatever it is made of. `make` is called once for each test. */
export function mailboxSuite(name: string, make: (loadContent: ContentLoader) => Mailbox): void {
  describe(`mailbox: ${name}`, { timeout: TIMEOUT_MS }, () => {
    it("answers when it is asked whether it is there", async () => {
      expect(await make(noContent).check()).toEqual({ ok: true });
    });

    it("hands out what was sent, in order and whole", async () => {
      const mailbox = make(noContent);
      const box = newBox();
      const event = { source: "arn:aws:sns:eu-central-1:123456789012:orders", subject: "An order" };
      const sent = [newMessage(0, { event, attributes: {} }), newMessage(1), newMessage(2)];
      await send(mailbox, box, sent);
      const received = await receive(mailbox, box);
      const { stream: _stream, ...first } = sent[0] ?? newMessage(0);
      expect(received[0]).toEqual({ ...first, receiveCount: 1, handle: expect.any(String) });
      expect(offsetsOf(received)).toEqual([0, 1, 2]);
    });

    it("gives nothing of a box that was never sent to", async () => {
      const mailbox = make(noContent);
      const box = newBox();
      expect(await receive(mailbox, box)).toEqual([]);
      expect(await mailbox.depth(box)).toMatchObject({ ok: true, visible: 0, inFlight: 0, dead: 0 });
      expect(await mailbox.purge(box)).toEqual({ ok: true });
      expect(await mailbox.redrive(box)).toEqual({ ok: true, count: 0 });
    });

    it("keeps any bytes as they are", async () => {
      const mailbox = make(noContent);
      const box = newBox();
      const bodies = [
        new Uint8Array(0),
        Uint8Array.from({ length: 256 }, (_, value) => value),
        bytes("\ufeff{\"a\": 1}\r\n\u0000\u001f\u007f\ufffe\uffff😀€"),
        Uint8Array.from([0xed, 0xa0, 0x80]), // a lone surrogate, which is no UTF-8
        Uint8Array.from([0xc0, 0xaf]), // an overlong form, which is none either
      ];
      await send(mailbox, box, bodies.map((body, offset) => newMessage(offset, { body, contentType: "application/x-😀; a=\"b\"" })));
      const received = await receive(mailbox, box);
      expect(received.map(({ body }) => [...body])).toEqual(bodies.map((body) => [...body]));
      expect(received[0]?.contentType).toBe("application/x-😀; a=\"b\"");
    });

    it("hands out at most what was asked for, and sends more than a call of the service takes", async () => {
      const mailbox = make(noContent);
      const box = newBox();
      await send(mailbox, box, Array.from({ length: 25 }, (_, offset) => newMessage(offset)));
      const first = await receive(mailbox, box, { max: 3 });
      expect(first).toHaveLength(3);
      expect(await mailbox.ack(box, handlesOf(first))).toEqual([OK, OK, OK]);
      const rest: ReceivedMessage[] = [];
      while (rest.length < 22) rest.push(...(await receive(mailbox, box, { waitSeconds: 5 })));
      expect(offsetsOf([...first, ...rest]).sort((a, b) => a - b)).toEqual(Array.from({ length: 25 }, (_, offset) => offset));
      // more handles than one call of the service takes
      expect(await mailbox.ack(box, handlesOf(rest))).toEqual(rest.map(() => OK));
      expect(await receive(mailbox, box)).toEqual([]);
    });

    it("hides what was received until the visibility timeout, and counts", async () => {
      const mailbox = make(noContent);
      const box = newBox();
      await send(mailbox, box, [newMessage(0)]);
      expect(await receiveOne(mailbox, box, { visibilitySeconds: 1 })).toMatchObject({ receiveCount: 1 });
      expect(await receive(mailbox, box)).toEqual([]);
      expect(await receiveOne(mailbox, box, { waitSeconds: 10 })).toMatchObject({ offset: 0, receiveCount: 2 });
    });

    it("deletes nothing with a stale handle", async () => {
      const mailbox = make(noContent);
      const box = newBox();
      await send(mailbox, box, [newMessage(0)]);
      const stale = await receiveOne(mailbox, box, { visibilitySeconds: 1 });
      const current = await receiveOne(mailbox, box, { waitSeconds: 10 });
      expect(await mailbox.ack(box, [stale.handle])).toEqual([STALE]);
      expect(await mailbox.nack(box, [stale.handle], 0)).toEqual([STALE]);
      expect(await mailbox.extend(box, [stale.handle], 1)).toEqual([STALE]);
      expect(await receive(mailbox, box)).toEqual([]);
      expect(await mailbox.ack(box, [current.handle])).toEqual([OK]);
    });

    it("says of each handle what became of it: good, repeated, malformed", async () => {
      const mailbox = make(noContent);
      const box = newBox();
      await send(mailbox, box, [newMessage(0), newMessage(1)]);
      const [first, second] = handlesOf(await receive(mailbox, box));
      if (first === undefined || second === undefined) throw new Error("two messages were sent");
      const odd = ["", "nonsense", `${first.slice(0, 5)}!`];
      expect(await mailbox.ack(box, [first, ...odd, first])).toEqual([OK, INVALID, INVALID, INVALID, STALE]);
      expect(await mailbox.ack(box, [first])).toEqual([STALE]);
      expect(await mailbox.nack(box, [first, ...odd, second], 0)).toEqual([STALE, INVALID, INVALID, INVALID, OK]);
      expect(await mailbox.ack(box, [second])).toEqual([STALE]);
      expect(await mailbox.extend(box, [second, ...odd], 60)).toEqual([STALE, INVALID, INVALID, INVALID]);
      expect(await receiveOne(mailbox, box)).toMatchObject({ offset: 1, receiveCount: 2 });
    });

    it("makes a nacked message visible at once, or after its delay", async () => {
      const mailbox = make(noContent);
      const box = newBox();
      await send(mailbox, box, [newMessage(0)]);
      const first = await receiveOne(mailbox, box);
      expect(await mailbox.nack(box, [first.handle], 0)).toEqual([OK]);
      const second = await receiveOne(mailbox, box);
      expect(await mailbox.nack(box, [second.handle], 1)).toEqual([OK]);
      expect(await receive(mailbox, box)).toEqual([]);
      expect(await receiveOne(mailbox, box, { waitSeconds: 10 })).toMatchObject({ receiveCount: 3 });
    });

    it("hides a message for longer when asked, and its handle stays good", async () => {
      const mailbox = make(noContent);
      const box = newBox();
      await send(mailbox, box, [newMessage(0)]);
      const message = await receiveOne(mailbox, box, { visibilitySeconds: 1 });
      expect(await mailbox.extend(box, [message.handle], 30)).toEqual([OK]);
      // beyond the second it was received for
      expect(await receive(mailbox, box, { waitSeconds: 2 })).toEqual([]);
      expect(await mailbox.ack(box, [message.handle])).toEqual([OK]);
    });

    it("makes a message a dead letter after its last receive, and brings it back", async () => {
      const mailbox = make(noContent);
      const box = newBox({ maxReceives: 2 });
      await send(mailbox, box, [newMessage(0), newMessage(1)]);
      for (const receiveCount of [1, 2]) {
        const messages = await receive(mailbox, box, { visibilitySeconds: 60 });
        expect(messages.map((message) => message.receiveCount)).toEqual([receiveCount, receiveCount]);
        await mailbox.nack(box, handlesOf(messages), 0);
      }
      expect(await receive(mailbox, box)).toEqual([]);
      expect(await mailbox.depth(box)).toMatchObject({ ok: true, visible: 0, inFlight: 0, dead: 2 });
      expect(await mailbox.purge(box)).toEqual({ ok: true });
      expect(await mailbox.redrive(box)).toEqual({ ok: true, count: 2 });
      expect(await mailbox.depth(box)).toMatchObject({ ok: true, dead: 0 });
      const back = await receive(mailbox, box, { waitSeconds: 5 });
      expect(offsetsOf(back)).toEqual([0, 1]);
      expect(await mailbox.ack(box, handlesOf(back))).toEqual([OK, OK]);
    });

    it("counts what is visible, held and dead", async () => {
      const mailbox = make(noContent);
      const box = newBox();
      await send(mailbox, box, [newMessage(0), newMessage(1), newMessage(2)]);
      const [held] = await receive(mailbox, box, { max: 1 });
      expect(await mailbox.depth(box)).toMatchObject({ ok: true, visible: 2, inFlight: 1, dead: 0 });
      await mailbox.ack(box, [held?.handle ?? ""]);
      expect(await mailbox.depth(box)).toMatchObject({ ok: true, visible: 2, inFlight: 0, dead: 0 });
    });

    it("purges what waits and what is held", async () => {
      const mailbox = make(noContent);
      const box = newBox();
      await send(mailbox, box, [newMessage(0), newMessage(1)]);
      const held = await receiveOne(mailbox, box, { visibilitySeconds: 1 });
      expect(await mailbox.purge(box)).toEqual({ ok: true });
      expect(await receive(mailbox, box, { waitSeconds: 2 })).toEqual([]);
      expect(await mailbox.nack(box, [held.handle], 0)).toEqual([STALE]);
      await send(mailbox, box, [newMessage(2)]);
      expect(offsetsOf(await receive(mailbox, box))).toEqual([2]);
    });

    it("removes a box with all that is in it, and makes it anew when it is sent to", async () => {
      const mailbox = make(noContent);
      const box = newBox();
      await send(mailbox, box, [newMessage(0)]);
      const held = await receiveOne(mailbox, box);
      expect(await mailbox.remove(box)).toEqual({ ok: true });
      expect(await mailbox.remove(box)).toEqual({ ok: true });
      expect(await mailbox.ack(box, [held.handle])).toEqual([STALE]);
      expect(await mailbox.depth(box)).toMatchObject({ ok: true, visible: 0, inFlight: 0, dead: 0 });
      await send(mailbox, box, [newMessage(1)]);
      expect(offsetsOf(await receive(mailbox, box))).toEqual([1]);
    });

    it("keeps boxes apart: the same name of another tenant, and an endpoint's and a queue's", async () => {
      const mailbox = make(noContent);
      const box = newBox({ id: "ep_01hzz" });
      const others = [newBox({ id: box.id, tenantId: "other" }), newBox({ id: box.id, kind: "endpoint" })];
      await send(mailbox, box, [newMessage(0)]);
      for (const other of others) expect(await receive(mailbox, other)).toEqual([]);
      const held = await receiveOne(mailbox, box);
      for (const other of others) expect(await mailbox.remove(other)).toEqual({ ok: true });
      expect(await mailbox.ack(box, [held.handle])).toEqual([OK]);
    });

    it("hands out messages of an ordered box one after the other within a group, and groups side by side", async () => {
      const mailbox = make(noContent);
      const box = newBox({ ordered: true, maxReceives: 3 });
      const groups = ["a", "a", "b", undefined, "a"];
      await send(mailbox, box, groups.map((groupKey, offset) => newMessage(offset, groupKey === undefined ? {} : { groupKey })));
      const first = await receive(mailbox, box);
      expect(offsetsOf(first)).toEqual([0, 2, 3]);
      expect(await receive(mailbox, box)).toEqual([]);
      await mailbox.nack(box, [first[0]?.handle ?? ""], 0);
      const again = await receiveOne(mailbox, box);
      expect(again).toMatchObject({ offset: 0, receiveCount: 2 });
      await mailbox.ack(box, [again.handle, ...handlesOf(first.slice(1))]);
      expect(offsetsOf(await drain(mailbox, box, 0))).toEqual([1, 4]);
    });

    it("lets a group go on once its first message is a dead letter", async () => {
      const mailbox = make(noContent);
      const box = newBox({ ordered: true, maxReceives: 1 });
      await send(mailbox, box, [newMessage(0, { groupKey: "a" }), newMessage(1, { groupKey: "a" })]);
      const first = await receiveOne(mailbox, box);
      await mailbox.nack(box, [first.handle], 0);
      expect(offsetsOf(await receive(mailbox, box, { waitSeconds: 5 }))).toEqual([1]);
      expect(await mailbox.depth(box)).toMatchObject({ ok: true, dead: 1 });
    });

    it("leaves large content in its stream and fetches it from there", async () => {
      const large = Uint8Array.from({ length: 300 * 1024 }, (_, index) => index % 251);
      const asked: unknown[] = [];
      const mailbox = make(async (stream, offset) => {
        asked.push([stream, offset]);
        return { ok: true, contentType: "application/octet-stream", body: large };
      });
      const box = newBox();
      await send(mailbox, box, [newMessage(7, { body: large }), newMessage(8)]);
      expect(asked).toEqual([]);
      const [first, second] = await receive(mailbox, box);
      expect(first).toMatchObject({ offset: 7, id: "msg_7", topic: "orders.completed" });
      expect(first?.body.length).toBe(large.length);
      expect(first?.body.every((byte, index) => byte === large[index])).toBe(true);
      expect(second?.body).toEqual(newMessage(8).body);
      expect(asked).toEqual([[newMessage(7).stream, 7]]);
    });

    it("hands out nothing of a stream that does not answer, and keeps the message; what was expunged it drops", async () => {
      let stream: "down" | "expunged" = "down";
      const mailbox = make(async () => {
        if (stream === "down") throw new Error("no answer");
        return { ok: false, code: "expunged" };
      });
      const box = newBox();
      await send(mailbox, box, [newMessage(0, { body: new Uint8Array(300 * 1024) })]);
      expect(await receive(mailbox, box, { visibilitySeconds: 1 })).toEqual([]);
      expect(await mailbox.depth(box)).toMatchObject({ inFlight: 1 });
      stream = "expunged";
      expect(await receive(mailbox, box, { waitSeconds: 3 })).toEqual([]);
      expect(await mailbox.depth(box)).toMatchObject({ visible: 0, inFlight: 0, dead: 0 });
    });

    it("ends a long poll when a message comes, long before its time", async () => {
      const mailbox = make(noContent);
      const box = newBox();
      const waiting = receiveOne(mailbox, box, { waitSeconds: 20 });
      await pause(300);
      const sentAtMs = Date.now();
      await send(mailbox, box, [newMessage(0)]);
      expect(await waiting).toMatchObject({ offset: 0, receiveCount: 1 });
      expect(Date.now() - sentAtMs).toBeLessThan(1_500);
    });

    it("ends a long poll with nothing after its time", async () => {
      const mailbox = make(noContent);
      expect(await receive(mailbox, newBox(), { waitSeconds: 1 })).toEqual([]);
    });

    it("serves all who wait", async () => {
      const mailbox = make(noContent);
      const box = newBox();
      const waiting = Array.from({ length: 4 }, () => receiveOne(mailbox, box, { waitSeconds: 15 }));
      await pause(300);
      await send(mailbox, box, Array.from({ length: 4 }, (_, offset) => newMessage(offset)));
      expect(offsetsOf(await Promise.all(waiting)).sort()).toEqual([0, 1, 2, 3]);
    });

    it("loses nothing to a long poll that was abandoned", async () => {
      const mailbox = make(noContent);
      const box = newBox();
      const asker = new AbortController();
      const abandoned = receive(mailbox, box, { waitSeconds: 20, visibilitySeconds: 600, signal: asker.signal });
      await pause(300);
      asker.abort();
      await send(mailbox, box, [newMessage(0)]);
      expect(await receiveOne(mailbox, box, { waitSeconds: 15 })).toMatchObject({ offset: 0 });
      expect(await abandoned).toEqual([]);
    });

    it("receives nothing for an asker that is gone already", async () => {
      const mailbox = make(noContent);
      const box = newBox();
      await send(mailbox, box, [newMessage(0)]);
      expect(await receive(mailbox, box, { signal: AbortSignal.abort() })).toEqual([]);
      expect(await receiveOne(mailbox, box)).toMatchObject({ receiveCount: 1 });
    });

    it("gives each message to one of many consumers", async () => {
      const mailbox = make(noContent);
      const box = newBox();
      await send(mailbox, box, Array.from({ length: 100 }, (_, offset) => newMessage(offset)));
      const consumers = await Promise.all(Array.from({ length: 4 }, () => drain(mailbox, box, 1)));
      expect(offsetsOf(consumers.flat()).sort((a, b) => a - b)).toEqual(Array.from({ length: 100 }, (_, offset) => offset));
    });
  });
}

/** Every call of the mailbox with some box, for faults that concern all of them. */
export async function everyCall(mailbox: Mailbox, handle: string): Promise<MailboxFault[]> {
  const box = newBox();
  const answers = await Promise.all([
    mailbox.check(),
    mailbox.send(box, [newMessage(0)]).then(([first]) => first),
    mailbox.receive(box, { max: 1, waitSeconds: 0, visibilitySeconds: 1 }),
    mailbox.ack(box, [handle]),
    mailbox.nack(box, [handle], 0),
    mailbox.extend(box, [handle], 1),
    mailbox.depth(box),
    mailbox.purge(box),
    mailbox.redrive(box),
    mailbox.remove(box),
  ]);
  return answers.map((answer) => {
    if (answer === undefined || !("code" in answer)) throw new Error(`no fault: ${JSON.stringify(answer)}`);
    return answer;
  });
}
