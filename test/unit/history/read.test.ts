import { describe, expect, it } from "vitest";
import { type AttemptPosition, listAttempts, listAttemptsOf, positionOfAttempt } from "../../../src/storage/history-attempts.ts";
import { findMessage, listMessages, markExpunged, type MessagePosition, positionOf } from "../../../src/storage/history-messages.ts";
import {
  canSendTo, deadStreams, endpointExists, listDead, listDeliveries, listLivingTargets, listReplayable, openStreamsOfEndpoint,
} from "../../../src/storage/history-read.ts";
import { newId } from "../../../src/ids.ts";
import { addEndpoint, attempt, delivery, FAILURE, message, ofQueue, T0, TENANT, write } from "./rows.ts";
import { openDatabase, planOf } from "./sqlite-d1.ts";

const STREAM = `${TENANT}/topics/orders.completed`;
const all = (limit = 100) => ({ after: undefined, limit });
const at = (offset: number) => ({ timeMs: T0 + offset * 1000, stream: STREAM, offset, targets: [] });

describe("messages", () => {
  it("are listed newest first, page by page, also those of one millisecond", async () => {
    const { db } = openDatabase();
    await write(db, { messages: [0, 1, 2, 3, 4].map((offset) => message(offset, { timeMs: T0 + (offset >> 1) })) });
    const seen: number[] = [];
    for (let after: MessagePosition | undefined; ; ) {
      const rows = await listMessages(db, TENANT, {}, { after, limit: 2 });
      seen.push(...rows.map((row) => row.offset));
      const last = rows.at(-1);
      if (last === undefined) break;
      after = positionOf(last);
    }
    expect(seen).toEqual([4, 3, 2, 1, 0]);
  });

  it("of many packs that overlap in time are listed in one order, each once, however long the pages are", async () => {
    const { db } = openDatabase();
    const expected: { timeMs: number; topic: string; offset: number }[] = [];
    for (const [index, topic] of ["a", "b", "c"].entries()) {
      const next = { offset: 0, timeMs: T0 + index * 130 };
      for (let pack = 0; pack < 12; pack++) {
        const size = 1 + ((pack * 7 + index) % 5);
        const messages = Array.from({ length: size }, () => message(next.offset++, { timeMs: (next.timeMs += 97 * (1 + index)) }));
        await write(db, { topic, messages });
        expected.push(...messages.map(({ timeMs, offset }) => ({ timeMs, topic, offset })));
      }
    }
    expected.sort((left, right) => right.timeMs - left.timeMs || (left.topic < right.topic ? 1 : left.topic > right.topic ? -1 : right.offset - left.offset));
    for (const limit of [1, 7, 50, 250]) {
      const seen: typeof expected = [];
      for (let after: MessagePosition | undefined; ; ) {
        const rows = await listMessages(db, TENANT, {}, { after, limit });
        seen.push(...rows.map(({ timeMs, topic, offset }) => ({ timeMs, topic, offset })));
        const last = rows.at(-1);
        if (last === undefined || rows.length < limit) break;
        after = positionOf(last);
      }
      expect(seen).toEqual(expected);
    }
    const period = { sinceMs: T0 + 500, untilMs: T0 + 1500 };
    const within = expected.filter(({ timeMs }) => timeMs >= period.sinceMs && timeMs < period.untilMs);
    expect((await listMessages(db, TENANT, period, all())).map((row) => row.timeMs)).toEqual(within.map((one) => one.timeMs));
  });

  it("that two packs hold for a moment are listed and found once", async () => {
    const { db } = openDatabase();
    const messages = [0, 1, 2].map((offset) => message(offset, { id: newId("msg", T0), timeMs: T0 + offset }));
    await write(db, { messages });
    await write(db, { messages: messages.slice(1) });
    expect((await listMessages(db, TENANT, {}, all())).map((row) => row.offset)).toEqual([2, 1, 0]);
    const of = { messageId: messages[1]?.id ?? "", topic: undefined };
    await write(db, { deliveries: [delivery(1, "ep_1", { messageId: of.messageId, messageTimeMs: T0 + 1 })] });
    expect(await listDeliveries(db, TENANT, of, all())).toHaveLength(1);
  });

  it("are found by the time in an id of ours without a row for it, and by a row where it was committed much later", async () => {
    const { db, sqlite } = openDatabase();
    const [early, late] = [newId("msg", T0), newId("msg", T0)];
    await write(db, { messages: [message(0, { id: early, timeMs: T0 + 2_900 }), message(1, { id: newId("msg", T0), timeMs: T0 + 2_901, attributes: { early } })] });
    await write(db, { ...ofQueue("jobs"), messages: [message(0, { id: late, timeMs: T0 + 3_001 })] });
    expect(sqlite.prepare("SELECT id FROM message_ids").all()).toEqual([{ id: late }]);
    expect(await findMessage(db, TENANT, early, undefined)).toMatchObject({ id: early, offset: 0 });
    expect(await findMessage(db, TENANT, late, undefined)).toMatchObject({ id: late, topic: "jobs" });
    expect(await findMessage(db, TENANT, early, "jobs")).toBeNull();
    expect(await findMessage(db, TENANT, newId("msg", T0), undefined)).toBeNull();
  });

  it("are found by an id of ours among more messages with it than are looked at, that of a topic first", async () => {
    const { db } = openDatabase();
    const id = newId("msg", T0);
    const atMs = (afterMs: number) => ({ messages: [message(0, { id, timeMs: T0 + afterMs })] });
    for (let queue = 0; queue < 260; queue++) for (const afterMs of [queue, 2_000 + queue]) await write(db, { ...ofQueue(`q${queue}.${afterMs}`), ...atMs(afterMs) });
    await write(db, { topic: "orders", ...atMs(1_000) });
    expect((await findMessage(db, TENANT, id, undefined))?.topic).toBe("orders");
    expect((await findMessage(db, TENANT, id, "q7.7"))?.timeMs).toBe(T0 + 7);
  });

  it("are filtered by topic and by a period that holds its start but not its end", async () => {
    const { db } = openDatabase();
    await write(db, { messages: [0, 1, 2, 3].map((offset) => message(offset)) });
    await write(db, { topic: "other", messages: [message(1)] });
    const period = { topic: "orders.completed", sinceMs: T0 + 1000, untilMs: T0 + 3000 };
    expect((await listMessages(db, TENANT, period, all())).map((row) => row.offset)).toEqual([2, 1]);
    const after = [T0 + 2000, STREAM, 2] as const;
    expect((await listMessages(db, TENANT, period, { after, limit: 9 })).map((row) => row.offset)).toEqual([1]);
  });

  it("of one id in several topics: the newest is found, or that of the topic asked for", async () => {
    const { db } = openDatabase();
    await write(db, { topic: "new", messages: [message(7, { id: "o-1" })] });
    await write(db, { topic: "old", messages: [message(3, { id: "o-1" })] });
    expect((await findMessage(db, TENANT, "o-1", undefined))?.topic).toBe("new");
    expect((await findMessage(db, TENANT, "o-1", "old"))?.offset).toBe(3);
    expect(await findMessage(db, TENANT, "o-1", "none")).toBeNull();
  });

  it("of one id in a topic and, newer, in a queue: the topic's is found, or that of the queue asked for", async () => {
    const { db } = openDatabase();
    await write(db, { topic: "zoo", messages: [message(1, { id: "o-1" })] });
    await write(db, { ...ofQueue("jobs"), messages: [message(7, { id: "o-1" }), message(2, { id: "only" }), message(3, { id: "only" })] });
    await write(db, { stream: `${TENANT}/nodes/topics`, topic: "topics", messages: [message(9, { id: "o-1" })] });
    expect((await findMessage(db, TENANT, "o-1", undefined))?.topic).toBe("zoo");
    expect((await findMessage(db, TENANT, "o-1", "jobs"))?.offset).toBe(7);
    expect((await findMessage(db, TENANT, "only", undefined))?.offset).toBe(3);
  });

  it("stay marked as expunged when their batch is written again", async () => {
    const { db } = openDatabase();
    await write(db, { messages: [message(0)] });
    await db.batch([markExpunged(db, TENANT, at(0), T0 + 5)]);
    await db.batch([markExpunged(db, TENANT, at(0), T0 + 9)]);
    await write(db, { messages: [message(0), message(1)], replaces: true });
    expect((await findMessage(db, TENANT, "msg_0", undefined))?.expungedAtMs).toBe(T0 + 5);
    expect((await listMessages(db, TENANT, {}, all())).map((row) => row.expungedAtMs)).toEqual([null, T0 + 5]);
  });

  it("I7: of another tenant are neither listed nor found, with the same id, topic and time", async () => {
    const { db } = openDatabase();
    await write(db, { tenantId: "ten_b", messages: [message(0)], deliveries: [delivery(0, "ep_1")], attempts: [attempt(0, "ep_1")] });
    expect(await listMessages(db, TENANT, {}, all())).toEqual([]);
    expect(await findMessage(db, TENANT, "msg_0", undefined)).toBeNull();
    expect(await listAttempts(db, TENANT, "ep_1", {}, all())).toEqual([]);
    expect(await listDeliveries(db, TENANT, { messageId: "msg_0", topic: undefined }, all())).toEqual([]);
    const theirs = { ...at(0), stream: "ten_b/topics/orders.completed" };
    expect(await listLivingTargets(db, TENANT, theirs, { after: "", limit: 9 })).toEqual([]);
    expect(await canSendTo(db, TENANT, theirs, "ep_1")).toBe(false);
  });
});

describe("deliveries", () => {
  it("of a message find their own attempts only", async () => {
    const { db } = openDatabase();
    await write(db, {
      messages: [message(0), message(1)],
      deliveries: [delivery(0, "ep_1"), delivery(0, "ep_2"), delivery(0, "node"), delivery(1, "ep_1")],
      attempts: [
        attempt(0, "ep_1"), attempt(0, "ep_2", FAILURE), attempt(0, "node", {}, "ep_1"), attempt(1, "ep_1", { startedAtMs: T0 + 10 }),
      ],
    });
    const rows = await listDeliveries(db, TENANT, { messageId: "msg_0", topic: undefined }, all());
    expect(rows.map((row) => row.target)).toEqual(["node", "ep_2", "ep_1"]);
    // four attempts began in one millisecond, three of them at one endpoint
    const of = async (from: number) => (await listAttemptsOf(db, TENANT, rows.slice(from))).map((made) => [made.offset, made.endpointId, made.target]);
    expect(await of(0)).toEqual([[0, "ep_1", "ep_1"], [0, "ep_2", "ep_2"], [0, "ep_1", "node"]]);
    expect(await of(1)).toEqual([[0, "ep_1", "ep_1"], [0, "ep_2", "ep_2"]]);
    expect(await listAttemptsOf(db, TENANT, [])).toEqual([]);
  });

  it("without a row of their own were made at once: to all that the message was for, with the attempts of that time", async () => {
    const { db } = openDatabase();
    const mine = { endpointIds: ["ep_1", "ep_2", "queue:jobs"], orderedIds: ["ep_3"], matched: 4 };
    await write(db, {
      messages: [message(0, mine), message(1, mine)],
      deliveries: [delivery(0, "ep_2", { status: "open", nextAttemptAtMs: T0 + 9000 })],
      attempts: [
        attempt(0, "ep_1", { durationMs: 7 }), attempt(0, "ep_2", FAILURE), attempt(0, "ep_3"),
        // not these: another message's, and one long after
        attempt(1, "ep_1", { startedAtMs: T0 + 20 }), attempt(0, "ep_1", { startedAtMs: T0 + 60_000 }),
      ],
    });
    const rows = await listDeliveries(db, TENANT, { messageId: "msg_0", topic: undefined }, all());
    expect(rows.map((row) => [row.target, row.status])).toEqual([
      ["queue:jobs", "delivered"], ["ep_3", "delivered"], ["ep_2", "open"], ["ep_1", "delivered"],
    ]);
    const made = await listAttemptsOf(db, TENANT, rows);
    expect(made.map((one) => [one.target, one.timeMs, one.statusCode])).toEqual([
      ["ep_1", T0 + 10, 200], ["ep_2", T0 + 10, 500], ["ep_3", T0 + 10, 200],
    ]);
    const pages: string[] = [];
    for (let after: readonly [number, string, number, string] | undefined; ; ) {
      const [row] = await listDeliveries(db, TENANT, { messageId: "msg_0", topic: undefined }, { after, limit: 1 });
      if (row === undefined) break;
      pages.push(row.target);
      after = [row.messageTimeMs, row.stream, row.offset, row.target];
    }
    expect(pages).toEqual(rows.map((row) => row.target));
  });

  it("of a queue find the attempt at the member that took it", async () => {
    const { db } = openDatabase();
    await write(db, {
      ...ofQueue("jobs"),
      messages: [message(0, { endpointIds: ["member"], matched: 1 })],
      takers: ["ep_7", "ep_8"],
      attempts: [attempt(0, "member", {}, "ep_8"), attempt(0, "ep_7", {})],
    });
    const rows = await listDeliveries(db, TENANT, { messageId: "msg_0", topic: undefined }, all());
    expect(rows).toMatchObject([{ target: "member", status: "delivered" }]);
    expect((await listAttemptsOf(db, TENANT, rows)).map((one) => [one.endpointId, one.target])).toEqual([["ep_8", "member"]]);
  });

  it("of all messages of one id are paged, those of the newest first, each once", async () => {
    const { db } = openDatabase();
    const mine = { id: "o-1", timeMs: T0 } as const;
    const to = (offset: number, target: string, messageTimeMs = T0) => delivery(offset, target, { messageId: "o-1", messageTimeMs });
    await write(db, { messages: [message(0, mine)], deliveries: ["ep_1", "ep_2", "queue:jobs"].map((target) => to(0, target)) });
    await write(db, { topic: "none", messages: [message(4, mine)] });
    await write(db, { ...ofQueue("jobs"), messages: [message(5, { id: "o-1", timeMs: T0 + 1 })], deliveries: [to(5, "member", T0 + 1)] });
    await write(db, { topic: "other", messages: [message(0, mine)], deliveries: ["ep_1", "ep_3"].map((target) => to(0, target)) });
    await write(db, { tenantId: "ten_b", messages: [message(0, mine)], deliveries: [to(0, "ep_1")] });
    const whole = [
      "queues/jobs member", "topics/other ep_3", "topics/other ep_1",
      "topics/orders.completed queue:jobs", "topics/orders.completed ep_2", "topics/orders.completed ep_1",
    ].map((line) => `${TENANT}/${line}`);
    for (const limit of [1, 2, 4, 9]) {
      const seen: string[] = [];
      for (let after; ; ) {
        const rows = await listDeliveries(db, TENANT, { messageId: "o-1", topic: undefined }, { after, limit });
        expect(rows.length).toBeLessThanOrEqual(limit);
        seen.push(...rows.map((row) => `${row.stream} ${row.target}`));
        const last = rows.at(-1);
        if (last === undefined) break;
        after = [last.messageTimeMs, last.stream, last.offset, last.target] as const;
      }
      expect(seen).toEqual(whole);
    }
    const ofTopic = await listDeliveries(db, TENANT, { messageId: "o-1", topic: "other" }, all());
    expect(ofTopic.map((row) => row.target)).toEqual(["ep_3", "ep_1"]);
  });

  it("that are dead are listed by endpoint, topic and time of the message, and no others", async () => {
    const { db } = openDatabase();
    const dead = { status: "dead", reason: "exhausted" } as const;
    await write(db, { deliveries: [delivery(0, "ep_1", dead), delivery(1, "ep_2", dead), delivery(2, "ep_1", dead), delivery(3, "ep_1")] });
    await write(db, { topic: "other", deliveries: [delivery(4, "ep_1", dead), delivery(5, "ep_1", { status: "open" })] });
    const offsets = async (filter: Parameters<typeof listDead>[2]) => (await listDead(db, TENANT, filter, all())).map((row) => row.offset);
    expect(await offsets({})).toEqual([4, 2, 1, 0]);
    expect(await offsets({ endpointId: "ep_1" })).toEqual([4, 2, 0]);
    expect(await offsets({ topic: "other" })).toEqual([4]);
    expect(await offsets({ sinceMs: T0 + 1000, untilMs: T0 + 4000 })).toEqual([2, 1]);
    const after = [T0 + 2000, STREAM, 2, "ep_1"] as const;
    const rest = await listDead(db, TENANT, { endpointId: "ep_1", untilMs: T0 + 9000 }, { after, limit: 9 });
    expect(rest.map((row) => row.offset)).toEqual([0]);
  });

  it("can be replayed oldest first, where endpoint and bytes are still there", async () => {
    const { db } = openDatabase();
    await addEndpoint(db, "ep_1");
    await addEndpoint(db, "ep_theirs", "ten_b");
    const dead = { status: "dead" } as const;
    await write(db, {
      messages: [message(1)],
      deliveries: [delivery(2, "ep_1", dead), delivery(0, "ep_1", dead), delivery(1, "ep_1", dead), delivery(0, "ep_gone", dead), delivery(0, "ep_theirs", dead)],
    });
    await db.batch([markExpunged(db, TENANT, at(1), T0)]);
    expect(await listReplayable(db, TENANT, {}, 10)).toEqual([
      { stream: STREAM, offset: 0, endpointId: "ep_1" },
      { stream: STREAM, offset: 2, endpointId: "ep_1" },
    ]);
    expect(await listReplayable(db, TENANT, { endpointId: "ep_1" }, 1)).toHaveLength(1);
    expect(await deadStreams(db, TENANT, {}, 9)).toEqual([STREAM]);
    expect(await listReplayable(db, TENANT, {}, 10, new Map([[STREAM, 2]]))).toEqual([{ stream: STREAM, offset: 2, endpointId: "ep_1" }]);
    expect(await listReplayable(db, TENANT, {}, 10, new Map([["ten_a/topics/other", 2]]))).toHaveLength(2);
  });

  it("to what is not an endpoint can always be replayed", async () => {
    const { db } = openDatabase();
    const dead = { status: "dead" } as const;
    await write(db, { deliveries: [delivery(0, "queue:jobs", dead), delivery(1, "ep_gone", dead)] });
    await write(db, { ...ofQueue("jobs"), deliveries: [delivery(2, "member", dead)] });
    await write(db, { stream: `${TENANT}/nodes/till`, topic: "till", deliveries: [delivery(3, "node", dead)] });
    const targets = async (filter: Parameters<typeof listReplayable>[2]) => (await listReplayable(db, TENANT, filter, 9)).map((found) => found.endpointId);
    expect(await targets({})).toEqual(["queue:jobs", "member", "node"]);
    expect(await targets({ endpointId: "member", topic: "jobs" })).toEqual(["member"]);
  });

  it("of a message go again to the endpoints that still exist, and to what is none", async () => {
    const { db } = openDatabase();
    for (const id of ["ep_1", "ep_2"]) await addEndpoint(db, id);
    await write(db, { deliveries: ["ep_2", "ep_gone"].map((id) => delivery(0, id)) });
    const of = { ...at(0), targets: ["ep_lost", "queue:jobs", "ep_1", "ep_2"] };
    expect(await listLivingTargets(db, TENANT, of, { after: "", limit: 9 })).toEqual(["ep_1", "ep_2", "queue:jobs"]);
    expect(await listLivingTargets(db, TENANT, of, { after: "ep_1", limit: 1 })).toEqual(["ep_2"]);
  });

  it("of a message can go to any endpoint of the tenant, and to no other target but its own", async () => {
    const { db } = openDatabase();
    await addEndpoint(db, "ep_new");
    await write(db, { deliveries: [delivery(0, "ep_gone"), delivery(0, "queue:jobs"), delivery(1, "queue:other")] });
    const of = { ...at(0), targets: ["queue:more", "ep_lost"] };
    const targets = ["ep_new", "ep_gone", "queue:jobs", "queue:more", "queue:other", "member", "ep_lost"];
    const allowed = targets.map((target) => canSendTo(db, TENANT, of, target));
    expect(await Promise.all(allowed)).toEqual([true, false, true, true, false, false, false]);
  });

  it("that are open name the streams an endpoint waits for, each once", async () => {
    const { db } = openDatabase();
    const open = { status: "open", reason: "paused" } as const;
    await write(db, { deliveries: [delivery(0, "ep_1", open), delivery(1, "ep_1", open), delivery(2, "ep_2", open)] });
    await write(db, { topic: "other", deliveries: [delivery(0, "ep_1", open)] });
    await write(db, { topic: "done", deliveries: [delivery(0, "ep_1"), delivery(1, "ep_1", { status: "dead" })] });
    await write(db, { tenantId: "ten_b", deliveries: [delivery(0, "ep_1", open)] });
    expect((await openStreamsOfEndpoint(db, TENANT, "ep_1")).sort()).toEqual([STREAM, `${TENANT}/topics/other`]);
  });
});

describe("attempts at an endpoint", () => {
  it("are listed newest first and filtered by outcome, topic and time", async () => {
    const { db } = openDatabase();
    await write(db, {
      deliveries: [0, 1, 2].map((offset) => delivery(offset, "ep_1")),
      attempts: [attempt(0, "ep_1"), attempt(1, "ep_1", FAILURE), attempt(2, "ep_1")],
    });
    await write(db, { topic: "other", deliveries: [delivery(3, "ep_1")], attempts: [attempt(3, "ep_1", FAILURE)] });
    const offsets = async (filter: Parameters<typeof listAttempts>[3], limit = 9) =>
      (await listAttempts(db, TENANT, "ep_1", filter, { after: undefined, limit })).map((row) => row.offset);
    expect(await offsets({})).toEqual([3, 2, 1, 0]);
    expect(await offsets({ outcome: "failed" })).toEqual([3, 1]);
    expect(await offsets({ outcome: "succeeded" })).toEqual([2, 0]);
    expect(await offsets({ topic: "other" })).toEqual([3]);
    expect(await offsets({ sinceMs: T0 + 1010, untilMs: T0 + 2010 })).toEqual([1]);
    const [newest] = await listAttempts(db, TENANT, "ep_1", { outcome: "failed" }, all());
    const after = newest === undefined ? undefined : positionOfAttempt(newest);
    expect((await listAttempts(db, TENANT, "ep_1", { outcome: "failed", untilMs: T0 + 9e6 }, { after, limit: 9 })).map((row) => row.offset)).toEqual([1]);
  });
});

describe("attempts in many packs", () => {
  it("are listed in one order, each once, however long the pages are", async () => {
    const { db } = openDatabase();
    const expected: number[] = [];
    for (let pack = 0; pack < 20; pack++) {
      // streams write in turns, and some attempts of a batch began long before the others
      const times = Array.from({ length: 1 + (pack % 4) }, (_, index) => T0 + pack * 170 - (index % 2) * 3_333 + index);
      await write(db, { topic: `t${pack % 3}`, attempts: times.map((startedAtMs, index) => attempt(pack * 10 + index, "ep_1", { startedAtMs })) });
      expected.push(...times);
    }
    expected.sort((left, right) => right - left);
    for (const limit of [1, 6, 250]) {
      const seen: number[] = [];
      for (let after: AttemptPosition | undefined; ; ) {
        const rows = await listAttempts(db, TENANT, "ep_1", {}, { after, limit });
        seen.push(...rows.map((row) => row.timeMs));
        const last = rows.at(-1);
        if (last === undefined || rows.length < limit) break;
        after = positionOfAttempt(last);
      }
      expect(seen).toEqual(expected);
    }
  });
});

describe("endpointExists", () => {
  it("is false for another tenant's endpoint, as for none", async () => {
    const { db } = openDatabase();
    await addEndpoint(db, "ep_1", "ten_b");
    expect(await endpointExists(db, TENANT, "ep_1")).toBe(false);
    expect(await endpointExists(db, TENANT, "ep_2")).toBe(false);
    expect(await endpointExists(db, "ten_b", "ep_1")).toBe(true);
  });
});

describe("query plans", () => {
  const page = { after: undefined, limit: 9 };
  const id = { messageId: "x", topic: undefined };
  const ours = newId("msg", T0);
  const of = at(0);
  const period = { sinceMs: T0, untilMs: T0 + 9 };
  const row = { ...of, target: "ep_1", takers: [], attemptKeys: [{ timeMs: T0, endpointId: "ep_1" }] };
  const cases: [string, (db: D1Database) => Promise<unknown>, RegExp][] = [
    ["a message by id", (db) => findMessage(db, TENANT, "x", undefined), /SEARCH i USING PRIMARY KEY \(tenant_id=\? AND id=\?\)[^]*SEARCH p USING PRIMARY KEY \(tenant_id=\? AND time>\? AND time<\?\)/],
    ["a message by an id of ours", (db) => findMessage(db, TENANT, ours, undefined), /SEARCH p USING PRIMARY KEY \(tenant_id=\? AND time>\? AND time<\?\)/],
    ["a message by an id of ours in a topic", (db) => findMessage(db, TENANT, ours, "t"), /message_packs_by_topic \(tenant_id=\? AND topic=\? AND time>\? AND time<\?\)/],
    ["all messages", (db) => listMessages(db, TENANT, period, page), /PRIMARY KEY \(tenant_id=\? AND time>\? AND time<\?\)/],
    ["the next page of messages", (db) => listMessages(db, TENANT, period, { ...page, after: [T0, STREAM, 0] }), /PRIMARY KEY \(tenant_id=\? AND time>\? AND time<\?\)/],
    ["messages of a topic", (db) => listMessages(db, TENANT, { ...period, topic: "t" }, page), /message_packs_by_topic \(tenant_id=\? AND topic=\? AND time>\? AND time<\?\)/],
    ["the next page of a topic", (db) => listMessages(db, TENANT, { topic: "t" }, { ...page, after: [T0, STREAM, 0] }), /message_packs_by_topic \(tenant_id=\? AND topic=\? AND time<\?\)/],
    ["the next page of an id's deliveries", (db) => listDeliveries(db, TENANT, id, { ...page, after: [T0, STREAM, 0, "ep_1"] }), /SEARCH i USING PRIMARY KEY \(tenant_id=\? AND id=\? AND \(time,stream,offset\)<\(\?,\?,\?\)\)/],
    ["dead deliveries", (db) => listDead(db, TENANT, period, page), /deliveries_dead \(tenant_id=\? AND message_time>\? AND message_time<\?\)/],
    ["the next page of the dead", (db) => listDead(db, TENANT, {}, { ...page, after: [T0, STREAM, 0, "ep_1"] }), /deliveries_dead \(tenant_id=\? AND \(message_time,stream,offset,endpoint_id\)<\(\?,\?,\?,\?\)\)/],
    ["dead deliveries of an endpoint", (db) => listDead(db, TENANT, { ...period, endpointId: "ep_1" }, page), /deliveries_unfinished \(tenant_id=\? AND status=\? AND endpoint_id=\? AND message_time>\? AND message_time<\?\)/],
    ["what can be replayed", (db) => listReplayable(db, TENANT, period, 9), /deliveries_dead \(tenant_id=\? AND message_time>\? AND message_time<\?\)/],
    ["the streams of the dead", (db) => deadStreams(db, TENANT, period, 9), /deliveries_dead \(tenant_id=\? AND message_time>\? AND message_time<\?\)/],
    ["living targets", (db) => listLivingTargets(db, TENANT, of, { after: "", limit: 9 }), /PRIMARY KEY \(tenant_id=\? AND message_time=\? AND stream=\? AND offset=\? AND endpoint_id>\?\)/],
    ["a target", (db) => canSendTo(db, TENANT, of, "ep_1"), /PRIMARY KEY \(tenant_id=\? AND message_time=\? AND stream=\? AND offset=\? AND endpoint_id=\?\)/],
    ["attempts of deliveries", (db) => listAttemptsOf(db, TENANT, [{ ...row, messageId: "", messageTimeMs: T0, topic: "", status: "open", reason: null, nextAttemptAtMs: null, updatedAtMs: 0 }]), /SEARCH a USING PRIMARY KEY \(tenant_id=\? AND endpoint_id=\? AND time>\? AND time<\?\)/],
    ["attempts at an endpoint", (db) => listAttempts(db, TENANT, "ep_1", period, page), /PRIMARY KEY \(tenant_id=\? AND endpoint_id=\? AND time>\? AND time<\?\)/],
    ["failed attempts", (db) => listAttempts(db, TENANT, "ep_1", { outcome: "failed" }, { ...page, after: [T0, STREAM, 0, "ep_1"] }), /attempt_packs_failed \(tenant_id=\? AND endpoint_id=\? AND time<\?\)/],
    ["open streams of an endpoint", (db) => openStreamsOfEndpoint(db, TENANT, "ep_1"), /deliveries_unfinished \(tenant_id=\? AND status=\? AND endpoint_id=\?\)/],
  ];
  /** Sorted is an id's few messages, with those of topics first; a message's few targets; nothing else. */
  const SORTED = new Set(["attempts of deliveries", "a message by id", "a message by an id of ours", "a message by an id of ours in a topic", "living targets"]);
  it.each(cases)("%s: seeks, and sorts nothing but what it returns", async (name, query, seek) => {
    const { db, sqlite, statements } = openDatabase();
    await query(db);
    const plan = statements.flatMap((sql) => planOf(sqlite, sql));
    expect(plan.join("\n")).toMatch(seek);
    // d, i and p are what a subquery has found
    expect(plan.filter((step) => /SCAN (?!(k|i|json_each) VIRTUAL|i\b|\(subquery|d\b|p\b)/.test(step))).toEqual([]);
    if (!SORTED.has(name)) expect(plan.filter((step) => step.includes("ORDER BY"))).toEqual([]);
  });

  it("deliveries of a message: seeks each message's rows", async () => {
    const { db, sqlite, statements } = openDatabase();
    await write(db, { messages: [message(0)] });
    statements.length = 0;
    await listDeliveries(db, TENANT, { messageId: "msg_0", topic: undefined }, { ...page, after: [T0, STREAM, 0, "ep_1"] });
    expect(planOf(sqlite, statements.at(-1) ?? "")).toEqual([
      "SEARCH d USING PRIMARY KEY (tenant_id=? AND message_time=? AND stream=? AND offset=? AND endpoint_id<?)",
    ]);
  });

  it("the page after a pack goes on behind it", async () => {
    const { db, sqlite, statements } = openDatabase();
    await write(db, { messages: Array.from({ length: 40 }, (_, offset) => message(offset, { timeMs: T0 + offset * 2000 })) });
    await listMessages(db, TENANT, {}, all());
    expect(planOf(sqlite, statements.at(-1) ?? "").join("\n")).toMatch(/SEARCH p USING PRIMARY KEY \(tenant_id=\? AND \(time,stream,first_offset\)<\(\?,\?,\?\)\)/);
  });
});
