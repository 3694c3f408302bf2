import { describe, expect, it } from "vitest";
import {
  endpointExists, findMessage, listAttempts, listAttemptsOf, listDead, listDeliveries, listLivingRecipients, listMessages,
  listReplayable, markExpunged, openStreamsOfEndpoint,
} from "../../../src/storage/history-read.ts";
import { addEndpoint, attempt, delivery, FAILURE, message, T0, TENANT, write } from "./rows.ts";
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
    const theirs = { timeMs: T0, stream: "ten_b/topics/orders.completed", offset: 0 };
    expect(await listDeliveries(db, TENANT, theirs, { afterEndpointId: undefined, limit: 9 })).toEqual([]);
  });
});

describe("deliveries", () => {
  it("of a message are paged by endpoint and find their own attempts only", async () => {
    const { db } = openDatabase();
    await write(db, {
      deliveries: [delivery(0, "ep_1"), delivery(0, "ep_2"), delivery(1, "ep_1")],
      attempts: [attempt(0, "ep_1"), attempt(0, "ep_2", FAILURE), attempt(1, "ep_1", { id: "att_x", startedAtMs: T0 + 10 })],
    });
    const of = { timeMs: T0, stream: STREAM, offset: 0 };
    const rows = await listDeliveries(db, TENANT, of, { afterEndpointId: undefined, limit: 9 });
    expect(rows.map((row) => row.endpointId)).toEqual(["ep_2", "ep_1"]);
    expect(await listDeliveries(db, TENANT, of, { afterEndpointId: "ep_2", limit: 9 })).toEqual(rows.slice(1));
    // the attempt at message 1 began in the same millisecond at the same endpoint
    const attempts = await listAttemptsOf(db, TENANT, rows);
    expect(attempts.map((made) => [made.offset, made.endpointId])).toEqual([[0, "ep_1"], [0, "ep_2"]]);
    expect(await listAttemptsOf(db, TENANT, [])).toEqual([]);
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
  });

  it("of a message go again to the endpoints that still exist", async () => {
    const { db } = openDatabase();
    for (const id of ["ep_1", "ep_2"]) await addEndpoint(db, id);
    await write(db, { deliveries: ["ep_1", "ep_2", "ep_gone"].map((id) => delivery(0, id)) });
    const of = { timeMs: T0, stream: STREAM, offset: 0 };
    expect(await listLivingRecipients(db, TENANT, of, { afterId: "", limit: 9 })).toEqual(["ep_1", "ep_2"]);
    expect(await listLivingRecipients(db, TENANT, of, { afterId: "ep_1", limit: 9 })).toEqual(["ep_2"]);
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
  const of = { timeMs: T0, stream: STREAM, offset: 0 };
  const period = { sinceMs: T0, untilMs: T0 + 9 };
  const row = { ...of, endpointId: "ep_1", attemptTimesMs: [T0] };
  const cases: [string, (db: D1Database) => Promise<unknown>, RegExp][] = [
    ["a message by id", (db) => findMessage(db, TENANT, "x", undefined), /messages_by_id \(tenant_id=\? AND id=\?\)/],
    ["all messages", (db) => listMessages(db, TENANT, period, page), /PRIMARY KEY \(tenant_id=\? AND time>\? AND time<\?\)/],
    ["the next page of messages", (db) => listMessages(db, TENANT, period, { ...page, after: [T0, STREAM, 0] }), /PRIMARY KEY \(tenant_id=\? AND time>\? AND \(time,stream,offset\)<\(\?,\?,\?\)\)/],
    ["messages of a topic", (db) => listMessages(db, TENANT, { ...period, topic: "t" }, page), /messages_by_topic \(tenant_id=\? AND topic=\? AND time>\? AND time<\?\)/],
    ["the next page of a topic", (db) => listMessages(db, TENANT, { topic: "t" }, { ...page, after: [T0, STREAM, 0] }), /messages_by_topic \(tenant_id=\? AND topic=\? AND \(time,stream,offset\)<\(\?,\?,\?\)\)/],
    ["deliveries of a message", (db) => listDeliveries(db, TENANT, of, { afterEndpointId: "ep_1", limit: 9 }), /PRIMARY KEY \(tenant_id=\? AND message_time=\? AND stream=\? AND offset=\? AND endpoint_id<\?\)/],
    ["dead deliveries", (db) => listDead(db, TENANT, period, page), /deliveries_dead \(tenant_id=\? AND message_time>\? AND message_time<\?\)/],
    ["the next page of the dead", (db) => listDead(db, TENANT, {}, { ...page, after: [T0, STREAM, 0, "ep_1"] }), /deliveries_dead \(tenant_id=\? AND \(message_time,stream,offset,endpoint_id\)<\(\?,\?,\?,\?\)\)/],
    ["dead deliveries of an endpoint", (db) => listDead(db, TENANT, { ...period, endpointId: "ep_1" }, page), /deliveries_unfinished \(tenant_id=\? AND status=\? AND endpoint_id=\? AND message_time>\? AND message_time<\?\)/],
    ["what can be replayed", (db) => listReplayable(db, TENANT, period, 9), /deliveries_dead \(tenant_id=\? AND message_time>\? AND message_time<\?\)/],
    ["living recipients", (db) => listLivingRecipients(db, TENANT, of, { afterId: "", limit: 9 }), /PRIMARY KEY \(tenant_id=\? AND message_time=\? AND stream=\? AND offset=\? AND endpoint_id>\?\)/],
    ["attempts of deliveries", (db) => listAttemptsOf(db, TENANT, [{ ...row, messageId: "", messageTimeMs: T0, topic: "", status: "open", reason: null, nextAttemptAtMs: null, updatedAtMs: 0 }]), /PRIMARY KEY \(tenant_id=\? AND endpoint_id=\? AND time=\?\)/],
    ["attempts at an endpoint", (db) => listAttempts(db, TENANT, "ep_1", period, page), /PRIMARY KEY \(tenant_id=\? AND endpoint_id=\? AND time>\? AND time<\?\)/],
    ["failed attempts", (db) => listAttempts(db, TENANT, "ep_1", { outcome: "failed" }, { ...page, after: [T0, "att_1"] }), /attempts_failed \(tenant_id=\? AND endpoint_id=\? AND \(time,id\)<\(\?,\?\)\)/],
    ["open streams of an endpoint", (db) => openStreamsOfEndpoint(db, TENANT, "ep_1"), /deliveries_unfinished \(tenant_id=\? AND status=\? AND endpoint_id=\?\)/],
  ];
  it.each(cases)("%s: seeks, and sorts nothing but what it returns", async (name, query, seek) => {
    const { db, sqlite, statements } = openDatabase();
    await query(db);
    const plan = planOf(sqlite, statements.at(-1) ?? "");
    expect(plan.join("\n")).toMatch(seek);
    expect(plan.filter((step) => /SCAN (?!k VIRTUAL)/.test(step))).toEqual([]);
    if (name !== "attempts of deliveries") expect(plan.filter((step) => step.includes("FOR ORDER BY"))).toEqual([]);
  });
});
