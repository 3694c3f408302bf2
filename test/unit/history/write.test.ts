import { describe, expect, it } from "vitest";
import { attemptId, deliveryId, streamKey } from "../../../src/delivery/delivery-id.ts";
import { listAttempts, listAttemptsOf } from "../../../src/storage/history-attempts.ts";
import { findMessage, listMessages } from "../../../src/storage/history-messages.ts";
import { listDeliveries } from "../../../src/storage/history-read.ts";
import { newId } from "../../../src/ids.ts";
import { AttemptPacker } from "../../../src/storage/attempt-pack.ts";
import { writeHistory } from "../../../src/storage/history-write.ts";
import { attempt, batch, delivery, FAILURE, message, ofQueue, T0, TENANT, write } from "./rows.ts";
import { openDatabase } from "./sqlite-d1.ts";

const ID = { messageId: "msg_0", topic: undefined };
const NEWEST = { after: undefined, limit: 10 };

describe("writeHistory", () => {
  it("keeps everything a stream reports of a message, a delivery and an attempt", async () => {
    const { db } = openDatabase();
    await write(db, {
      messages: [message(0, { event: { source: "shop", subject: "o/1" }, attributes: { "naïve": "\u0000 \"q\"" }, matched: 3000, endpointIds: ["ep_1"] })],
      deliveries: [delivery(0, "ep_1", { status: "open", reason: "paused", nextAttemptAtMs: T0 + 5000 })],
      attempts: [attempt(0, "ep_1", { ...FAILURE, responseBody: "naïve 💥 \u0000 end" })],
    });
    expect(await findMessage(db, TENANT, "msg_0", undefined)).toEqual({
      id: "msg_0",
      stream: `${TENANT}/topics/orders.completed`,
      topic: "orders.completed",
      offset: 0,
      timeMs: T0,
      contentType: "application/json",
      size: 17,
      attributes: { "naïve": "\u0000 \"q\"" },
      event: { source: "shop", subject: "o/1" },
      matched: 3000,
      expungedAtMs: null,
      targets: ["ep_1"],
      takers: [],
    });
    const [row] = await listDeliveries(db, TENANT, ID, NEWEST);
    expect(row).toMatchObject({ status: "open", reason: "paused", nextAttemptAtMs: T0 + 5000, attemptKeys: [{ timeMs: T0 + 10, endpointId: "ep_1" }] });
    const [made] = await listAttempts(db, TENANT, "ep_1", {}, NEWEST);
    expect(made).toMatchObject({ statusCode: 500, error: "status: answered 500", responseBody: "naïve 💥 \u0000 end" });
  });

  it("changes nothing when a batch is written again", async () => {
    const { db, sqlite } = openDatabase();
    const once = { messages: [message(0)], deliveries: [delivery(0, "ep_1")], attempts: [attempt(0, "ep_1")] };
    const tables = ["message_packs", "message_ids", "deliveries", "attempt_packs"];
    const dump = () => tables.map((table) => sqlite.prepare(`SELECT * FROM ${table}`).all());
    const same = batch(once);
    await writeHistory(db, same);
    const first = dump();
    await writeHistory(db, same);
    expect(dump()).toEqual(first);
    expect(first.map((rows) => rows.length)).toEqual([1, 1, 1, 1]);
  });

  it("puts what a stream tells again after a restart in the place of what it told before, cut elsewhere", async () => {
    const { db, sqlite } = openDatabase();
    const messages = Array.from({ length: 9 }, (_, offset) => message(offset, { timeMs: T0 + offset * 100 }));
    await write(db, { messages: messages.slice(0, 2) });
    for (const [from, to] of [[2, 4], [4, 6], [6, 9]]) await write(db, { messages: messages.slice(from, to) });
    await write(db, { topic: "other", messages: [message(3, { timeMs: T0 + 300 })] });
    await write(db, { messages: messages.slice(2, 5), replaces: true });
    const packs = () => sqlite.prepare("SELECT topic, first_offset AS o, count AS n FROM message_packs ORDER BY topic, o").all().map((row) => Object.values(row));
    // what began within is gone until the next batch, which tells the rest
    expect(packs()).toEqual([["orders.completed", 0, 2], ["orders.completed", 2, 3], ["orders.completed", 6, 3], ["other", 3, 1]]);
    await write(db, { messages: messages.slice(5), replaces: true });
    expect(packs()).toEqual([["orders.completed", 0, 2], ["orders.completed", 2, 3], ["orders.completed", 5, 4], ["other", 3, 1]]);
    expect((await listMessages(db, TENANT, { topic: "orders.completed" }, { after: undefined, limit: 99 })).map((row) => row.offset)).toEqual([8, 7, 6, 5, 4, 3, 2, 1, 0]);
  });

  it("takes a newer record of a delivery and leaves it when an older one comes late", async () => {
    const { db } = openDatabase();
    await write(db, { messages: [message(0)], deliveries: [delivery(0, "ep_1", { status: "open", updatedAtMs: T0 + 1 })] });
    await write(db, { deliveries: [delivery(0, "ep_1", { status: "dead", reason: "gave up", updatedAtMs: T0 + 3 })] });
    await write(db, { deliveries: [delivery(0, "ep_1", { status: "open", nextAttemptAtMs: 9, updatedAtMs: T0 + 2 })] });
    const [row] = await listDeliveries(db, TENANT, ID, NEWEST);
    expect(row).toMatchObject({ status: "dead", reason: "gave up", nextAttemptAtMs: null, updatedAtMs: T0 + 3 });
  });

  it("takes an end of what was open though the clock was set back in between, and no older end of another", async () => {
    const { db } = openDatabase();
    await write(db, { messages: [message(0)], deliveries: [delivery(0, "ep_1", { status: "open", updatedAtMs: T0 + 20_000 })] });
    await write(db, { deliveries: [delivery(0, "ep_1", { status: "dead", reason: "gave up", updatedAtMs: T0 + 3 })] });
    await write(db, { deliveries: [delivery(0, "ep_1", { status: "delivered", updatedAtMs: T0 + 1 })] });
    const [row] = await listDeliveries(db, TENANT, ID, NEWEST);
    expect(row).toMatchObject({ status: "dead", reason: "gave up", nextAttemptAtMs: null });
  });

  it("opens a dead delivery again when its stream says so later", async () => {
    const { db } = openDatabase();
    await write(db, { messages: [message(0)], deliveries: [delivery(0, "ep_1", { status: "dead", reason: "gave up", updatedAtMs: T0 + 3 })] });
    await write(db, { deliveries: [delivery(0, "ep_1", { status: "open", nextAttemptAtMs: 9, updatedAtMs: T0 + 3 })] });
    const [row] = await listDeliveries(db, TENANT, ID, NEWEST);
    expect(row).toMatchObject({ status: "open", reason: null, nextAttemptAtMs: 9 });
  });

  it("gathers the attempts of a delivery over batches, each once, whatever order they come in", async () => {
    const { db } = openDatabase();
    const second = attempt(0, "ep_1", { startedAtMs: T0 + 6000 });
    const first = attempt(0, "ep_1", { startedAtMs: T0 + 500, ...FAILURE });
    await write(db, { messages: [message(0)], deliveries: [delivery(0, "ep_1", { updatedAtMs: T0 + 6050 })], attempts: [second] });
    await write(db, { deliveries: [delivery(0, "ep_1", { status: "open", updatedAtMs: T0 + 550 })], attempts: [first] });
    await write(db, { deliveries: [delivery(0, "ep_1", { updatedAtMs: T0 + 6050 })], attempts: [second] });
    const rows = await listDeliveries(db, TENANT, ID, NEWEST);
    expect(rows[0]).toMatchObject({ status: "delivered", attemptKeys: [{ timeMs: T0 + 500 }, { timeMs: T0 + 6000 }] });
    const attempts = await listAttemptsOf(db, TENANT, rows);
    expect(attempts.map((made) => made.error)).toEqual(["status: answered 500", null]);
  });

  it("lists an attempt at the endpoint that was attempted, and under the delivery whose target it was made for", async () => {
    const { db } = openDatabase();
    const first = attempt(0, "member", { startedAtMs: T0 + 900, ...FAILURE }, "ep_1");
    const second = attempt(0, "member", { startedAtMs: T0 + 6000 }, "ep_2");
    const nobody = attempt(0, "member", { startedAtMs: T0 + 3000, ...FAILURE });
    await write(db, { ...ofQueue("jobs"), messages: [message(0)], deliveries: [delivery(0, "member", { updatedAtMs: T0 + 6050 })], attempts: [second] });
    const late = { ...ofQueue("jobs"), deliveries: [delivery(0, "member", { status: "open" as const })], attempts: [nobody, first] };
    await write(db, late);
    const rows = await listDeliveries(db, TENANT, ID, NEWEST);
    expect(rows).toMatchObject([{ target: "member", status: "delivered" }]);
    expect(rows[0]?.attemptKeys).toEqual([
      { timeMs: T0 + 900, endpointId: "ep_1" },
      { timeMs: T0 + 3000, endpointId: "member" },
      { timeMs: T0 + 6000, endpointId: "ep_2" },
    ]);
    const made = await listAttemptsOf(db, TENANT, rows);
    expect(made.map(({ endpointId, target }) => [endpointId, target])).toEqual([["ep_1", "member"], ["member", "member"], ["ep_2", "member"]]);
    expect(await listAttempts(db, TENANT, "ep_2", {}, NEWEST)).toEqual(made.slice(2));
  });

  it("writes the same for an endpoint whether or not its attempt repeats who was attempted", async () => {
    const { db, sqlite } = openDatabase();
    const packs = () => sqlite.prepare("SELECT endpoint_id, attempts FROM attempt_packs ORDER BY number").all();
    await write(db, { deliveries: [delivery(0, "ep_1")], attempts: [attempt(0, "ep_1", {}, "ep_1")] });
    await write(db, { attempts: [attempt(0, "ep_1")] });
    expect(packs()[0]).toEqual(packs()[1]);
    expect(sqlite.prepare("SELECT attempt_times FROM deliveries").get()).toEqual({ attempt_times: `[${T0 + 10}]` });
  });

  it("keeps an attempt whose delivery is not in the batch, and the rest of the batch", async () => {
    const { db } = openDatabase();
    await write(db, { messages: [message(0)], attempts: [attempt(0, "ep_1")] });
    expect(await listAttempts(db, TENANT, "ep_1", {}, NEWEST)).toHaveLength(1);
    expect(await findMessage(db, TENANT, "msg_0", undefined)).not.toBeNull();
  });

  it("writes a second of messages with one statement a table, and nothing for an empty batch", async () => {
    const { db, statements } = openDatabase();
    const offsets = Array.from({ length: 1000 }, (_, index) => index + 1);
    await write(db, {
      messages: offsets.map((offset) => message(offset, { id: newId("msg", T0), timeMs: T0 + offset })),
      attempts: offsets.map((offset) => attempt(offset, "ep_1", { startedAtMs: T0 + offset })),
    });
    expect(statements).toHaveLength(2);
    await write(db, {});
    expect(statements).toHaveLength(2);
  });

  it("is a row for many messages and a row for many attempts: two of messages with their topic, one for each endpoint", async () => {
    const { db, sqlite } = openDatabase();
    const offsets = Array.from({ length: 300 }, (_, index) => index + 1);
    await write(db, {
      messages: offsets.map((offset) => message(offset, { id: newId("msg", T0), timeMs: T0 + offset, endpointIds: ["ep_1", "ep_2"], matched: 2 })),
      attempts: offsets.flatMap((offset) => ["ep_1", "ep_2"].map((id) => attempt(offset, id, { startedAtMs: T0 + offset }))),
    });
    const rows = (table: string) => sqlite.prepare(`SELECT count(*) AS n FROM ${table}`).get()?.["n"];
    expect(["message_packs", "message_ids", "deliveries", "attempt_packs"].map(rows)).toEqual([1, 0, 0, 2]);
    const { bytes } = sqlite.prepare("SELECT sum(length(messages)) AS bytes FROM message_packs").get() ?? {};
    // the id, its attributes and a dozen bytes: neither times nor targets are repeated
    expect(Number(bytes) / offsets.length).toBeLessThan(70);
  });

  it("remembers a stream with its first message, once, and numbers those of a tenant by themselves", async () => {
    const { db, sqlite } = openDatabase();
    for (const tenant of ["ten_a", "ten_b"]) {
      sqlite.prepare("INSERT INTO tenants (id, name, created_at) VALUES (?, '', 0)").run(tenant);
    }
    const first = { messages: [message(0), message(1)] };
    await write(db, { ...first, topic: "a" });
    await write(db, { ...first, topic: "a" });
    await write(db, { ...first, tenantId: "ten_b", stream: "ten_b/topics/a", topic: "a" });
    await write(db, { ...first, topic: "b" });
    await write(db, { ...first, tenantId: "ten_gone", stream: "ten_gone/topics/a", topic: "a" });
    await write(db, { messages: [message(1)], topic: "later" });
    const rows = sqlite.prepare("SELECT tenant_id, number, kind, name, created_at FROM streams ORDER BY tenant_id, number").all();
    expect(rows.map((row) => Object.values(row))).toEqual([
      ["ten_a", 1, "topics", "a", T0], ["ten_a", 2, "topics", "b", T0], ["ten_b", 1, "topics", "a", T0],
    ]);
  });

  it("keeps every bound value under D1's 2 MB and every statement at 100 of them, three bytes a character included", async () => {
    const { db, sqlite } = openDatabase();
    const sizes: number[] = [];
    const counts: number[] = [];
    const prepare = db.prepare.bind(db);
    db.prepare = (sql) => {
      const statement = prepare(sql);
      const bind = statement.bind.bind(statement);
      statement.bind = (...values) => {
        sizes.push(...values.map((value) => Buffer.byteLength(String(value))));
        counts.push(values.length);
        return bind(...values);
      };
      return statement;
    };
    const offsets = Array.from({ length: 1000 }, (_, offset) => offset);
    await write(db, {
      messages: offsets.map((offset) => message(offset, { attributes: { long: "€".repeat(5000) }, event: { subject: "€".repeat(400_000 * Number(offset === 7)) } })),
      deliveries: offsets.map((offset) => delivery(offset, "ep_1", { reason: "€".repeat(1000) })),
      attempts: offsets.map((offset) => attempt(offset, "ep_1", { responseBody: "€".repeat(1365) })),
    });
    expect(Math.max(...sizes)).toBeLessThan(2_000_000);
    expect(Math.max(...counts)).toBeLessThanOrEqual(100);
    expect(sqlite.prepare("SELECT sum(count) AS n FROM attempt_packs").get()).toEqual({ n: 1000 });
    expect(sqlite.prepare("SELECT sum(count) AS n FROM message_packs").get()).toEqual({ n: 1000 });
  });

  it("leaves out what a message has beside its bytes where that alone would be too much for a row", async () => {
    const { db } = openDatabase();
    const event = { subject: "€".repeat(600_000) };
    await write(db, { messages: [message(0, { event, attributes: { a: "1" }, matched: 9 })] });
    expect(await findMessage(db, TENANT, "msg_0", undefined)).toMatchObject({ size: 17, attributes: {}, event: null, matched: 9 });
  });

  it("leaves out attempts beyond what memory is for while D1 does not answer, and counts those it has", () => {
    const packer = new AttemptPacker();
    for (let offset = 0; offset < 60_000; offset++) packer.add(attempt(offset, "ep_1", { startedAtMs: T0 + offset }));
    const packs = packer.take(() => 1);
    expect(packs.reduce((sum, { count }) => sum + count, 0)).toBe(50_000);
    expect(packer.isEmpty).toBe(true);
    for (let offset = 0; offset < 9000; offset++) packer.add(attempt(offset, "ep_1", { responseBody: "x".repeat(4096) }));
    expect(packer.take(() => 1).reduce((sum, { count }) => sum + count, 0)).toBeLessThan(2_000);
  });

  it("stores half a surrogate pair as the replacement character", async () => {
    const { db } = openDatabase();
    await write(db, { deliveries: [delivery(0, "ep_1")], attempts: [attempt(0, "ep_1", { responseBody: "cut \ud83d" })] });
    const [made] = await listAttempts(db, TENANT, "ep_1", {}, NEWEST);
    expect(made?.responseBody).toBe("cut \ufffd");
  });
});

describe("deliveryId", () => {
  it("is made of stream, offset and endpoint, and the same every time", async () => {
    const key = await streamKey("default/topics/orders.completed");
    expect(key).toMatch(/^[a-z2-7]{10}$/);
    expect(await streamKey("default/topics/orders.completed")).toBe(key);
    expect(await streamKey("default/topics/orders.complete")).not.toBe(key);
    expect(deliveryId(key, 46655, "ep_abc")).toBe(`dlv_${key}_zzz_abc`);
    expect(attemptId(`dlv_${key}_zzz_abc`, 46656)).toBe(`att_${key}_zzz_abc_1000`);
  });

  it("agrees with RFC 4648 base 32 of the digest", async () => {
    // printf %s abc | sha256sum = ba7816bf8f01cfea…; base32 of ba7816bf8f01cf = XJ4BNP4PAH...
    expect(await streamKey("abc")).toBe("xj4bnp4pah");
  });
});
