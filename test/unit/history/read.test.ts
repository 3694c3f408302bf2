import { describe, expect, it } from "vitest";
import {
  canSendTo, deadStreams, endpointExists, findMessage, listAttempts, listAttemptsOf, listDead, listDeliveries, listLivingTargets,
  listMessages, listReplayable, markExpunged, openStreamsOfEndpoint,
} from "../../../src/storage/history-read.ts";
import { addEndpoint, attempt, delivery, FAILURE, message, ofQueue, T0, TENANT, write } from "./rows.ts";
import { openDatabase, planOf } from "./sqlite-d1.ts";

const STREAM = `${TENANT}/topics/orders.completed`;
const all = (limit = 100) => ({ after: undefined, limit });

describe("messages", () => {
  it("are listed newest first, page by page, also those of one millisecond", async () => {
    const { db } = openDatabase();
    await write(db, { messages: [0, 1, 2, 3, 4].map((offset) => message(offset, { timeMs: T0 + (offset >> 1) })) });
    const seen: number[] = [];
    for (let after; ; ) {
      const rows = await listMessages(db, TENANT, {}, { after, limit: 2 });
      seen.push(...rows.map((row) => row.offset));
      const last = rows.at(-1);
      if (last === undefined) break;
      after = [last.timeMs, last.stream, last.offset] as const;
    }
    expect(seen).toEqual([4, 3, 2, 1, 0]);
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
    await db.batch([markExpunged(db, TENANT, { timeMs: T0, stream: STREAM, offset: 0 }, T0 + 5)]);
    await db.batch([markExpunged(db, TENANT, { timeMs: T0, stream: STREAM, offset: 0 }, T0 + 9)]);
    await write(db, { messages: [message(0)] });
    expect((await findMessage(db, TENANT, "msg_0", undefined))?.expungedAtMs).toBe(T0 + 5);
  });

  it("I7: of another tenant are neither listed nor found, with the same id, topic and time", async () => {
    const { db } = openDatabase();
    await write(db, { tenantId: "ten_b", messages: [message(0)], deliveries: [delivery(0, "ep_1")], attempts: [attempt(0, "ep_1")] });
    expect(await listMessages(db, TENANT, {}, all())).toEqual([]);
    expect(await findMessage(db, TENANT, "msg_0", undefined)).toBeNull();
    expect(await listAttempts(db, TENANT, "ep_1", {}, all())).toEqual([]);
    expect(await listDeliveries(db, TENANT, { messageId: "msg_0", topic: undefined }, all())).toEqual([]);
    const theirs = { timeMs: T0, stream: "ten_b/topics/orders.completed", offset: 0 };
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
        attempt(0, "ep_1"), attempt(0, "ep_2", FAILURE), attempt(0, "node", { id: "att_y" }, "ep_1"),
        attempt(1, "ep_1", { id: "att_x", startedAtMs: T0 + 10 }),
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
    await db.batch([markExpunged(db, TENANT, { timeMs: T0 + 1000, stream: STREAM, offset: 1 }, T0)]);
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
    await write(db, { deliveries: ["ep_1", "ep_2", "ep_gone", "queue:jobs"].map((id) => delivery(0, id)) });
    const of = { timeMs: T0, stream: STREAM, offset: 0 };
    expect(await listLivingTargets(db, TENANT, of, { after: "", limit: 9 })).toEqual(["ep_1", "ep_2", "queue:jobs"]);
    expect(await listLivingTargets(db, TENANT, of, { after: "ep_1", limit: 1 })).toEqual(["ep_2"]);
  });

  it("of a message can go to any endpoint of the tenant, and to no other target but its own", async () => {
    const { db } = openDatabase();
    await addEndpoint(db, "ep_new");
    await write(db, { deliveries: [delivery(0, "ep_gone"), delivery(0, "queue:jobs"), delivery(1, "queue:other")] });
    const of = { timeMs: T0, stream: STREAM, offset: 0 };
    const allowed = ["ep_new", "ep_gone", "queue:jobs", "queue:other", "member"].map((target) => canSendTo(db, TENANT, of, target));
    expect(await Promise.all(allowed)).toEqual([true, false, true, false, false]);
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
    const after = [newest?.timeMs ?? 0, newest?.id ?? ""] as const;
    expect((await listAttempts(db, TENANT, "ep_1", { outcome: "failed", untilMs: T0 + 9e6 }, { after, limit: 9 })).map((row) => row.offset)).toEqual([1]);
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
  const of = { timeMs: T0, stream: STREAM, offset: 0 };
  const period = { sinceMs: T0, untilMs: T0 + 9 };
  const row = { ...of, target: "ep_1", attemptKeys: [{ timeMs: T0, endpointId: "ep_1" }] };
  const cases: [string, (db: D1Database) => Promise<unknown>, RegExp][] = [
    ["a message by id", (db) => findMessage(db, TENANT, "x", undefined), /messages_by_id \(tenant_id=\? AND id=\?\)/],
    ["all messages", (db) => listMessages(db, TENANT, period, page), /PRIMARY KEY \(tenant_id=\? AND time>\? AND time<\?\)/],
    ["the next page of messages", (db) => listMessages(db, TENANT, period, { ...page, after: [T0, STREAM, 0] }), /PRIMARY KEY \(tenant_id=\? AND time>\? AND \(time,stream,offset\)<\(\?,\?,\?\)\)/],
    ["messages of a topic", (db) => listMessages(db, TENANT, { ...period, topic: "t" }, page), /messages_by_topic \(tenant_id=\? AND topic=\? AND time>\? AND time<\?\)/],
    ["the next page of a topic", (db) => listMessages(db, TENANT, { topic: "t" }, { ...page, after: [T0, STREAM, 0] }), /messages_by_topic \(tenant_id=\? AND topic=\? AND \(time,stream,offset\)<\(\?,\?,\?\)\)/],
    ["deliveries of an id", (db) => listDeliveries(db, TENANT, id, page), /messages_by_id \(tenant_id=\? AND id=\?\)[^]*SEARCH d USING PRIMARY KEY \(tenant_id=\? AND message_time=\? AND stream=\? AND offset=\? AND endpoint_id=\?\)/],
    ["the next page of an id's deliveries", (db) => listDeliveries(db, TENANT, id, { ...page, after: [T0, STREAM, 0, "ep_1"] }), /messages_by_id \(tenant_id=\? AND id=\? AND \(time,stream,offset\)<\(\?,\?,\?\)\)[^]*SEARCH t USING PRIMARY KEY \(tenant_id=\? AND message_time=\? AND stream=\? AND offset=\? AND endpoint_id<\?\)/],
    ["dead deliveries", (db) => listDead(db, TENANT, period, page), /deliveries_dead \(tenant_id=\? AND message_time>\? AND message_time<\?\)/],
    ["the next page of the dead", (db) => listDead(db, TENANT, {}, { ...page, after: [T0, STREAM, 0, "ep_1"] }), /deliveries_dead \(tenant_id=\? AND \(message_time,stream,offset,endpoint_id\)<\(\?,\?,\?,\?\)\)/],
    ["dead deliveries of an endpoint", (db) => listDead(db, TENANT, { ...period, endpointId: "ep_1" }, page), /deliveries_unfinished \(tenant_id=\? AND status=\? AND endpoint_id=\? AND message_time>\? AND message_time<\?\)/],
    ["what can be replayed", (db) => listReplayable(db, TENANT, period, 9), /deliveries_dead \(tenant_id=\? AND message_time>\? AND message_time<\?\)/],
    ["the streams of the dead", (db) => deadStreams(db, TENANT, period, 9), /deliveries_dead \(tenant_id=\? AND message_time>\? AND message_time<\?\)/],
    ["living targets", (db) => listLivingTargets(db, TENANT, of, { after: "", limit: 9 }), /PRIMARY KEY \(tenant_id=\? AND message_time=\? AND stream=\? AND offset=\? AND endpoint_id>\?\)/],
    ["a target", (db) => canSendTo(db, TENANT, of, "ep_1"), /PRIMARY KEY \(tenant_id=\? AND message_time=\? AND stream=\? AND offset=\? AND endpoint_id=\?\)/],
    ["attempts of deliveries", (db) => listAttemptsOf(db, TENANT, [{ ...row, messageId: "", messageTimeMs: T0, topic: "", status: "open", reason: null, nextAttemptAtMs: null, updatedAtMs: 0 }]), /PRIMARY KEY \(tenant_id=\? AND endpoint_id=\? AND time=\?\)/],
    ["attempts at an endpoint", (db) => listAttempts(db, TENANT, "ep_1", period, page), /PRIMARY KEY \(tenant_id=\? AND endpoint_id=\? AND time>\? AND time<\?\)/],
    ["failed attempts", (db) => listAttempts(db, TENANT, "ep_1", { outcome: "failed" }, { ...page, after: [T0, "att_1"] }), /attempts_failed \(tenant_id=\? AND endpoint_id=\? AND \(time,id\)<\(\?,\?\)\)/],
    ["open streams of an endpoint", (db) => openStreamsOfEndpoint(db, TENANT, "ep_1"), /deliveries_unfinished \(tenant_id=\? AND status=\? AND endpoint_id=\?\)/],
  ];
  // an id is that of few messages; of an id's deliveries a page of each message is sorted, whatever the message has
  const SORTED = new Set(["a message by id", "deliveries of an id", "the next page of an id's deliveries", "attempts of deliveries"]);
  it.each(cases)("%s: seeks, and sorts nothing but what it returns", async (name, query, seek) => {
    const { db, sqlite, statements } = openDatabase();
    await query(db);
    const plan = planOf(sqlite, statements.at(-1) ?? "");
    expect(plan.join("\n")).toMatch(seek);
    expect(plan.filter((step) => /SCAN (?!k VIRTUAL)/.test(step))).toEqual([]);
    if (!SORTED.has(name)) expect(plan.filter((step) => step.includes("ORDER BY"))).toEqual([]);
  });
});
