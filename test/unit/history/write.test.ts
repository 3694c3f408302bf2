import { describe, expect, it } from "vitest";
import { deliveryId, streamKey } from "../../../src/delivery/delivery-id.ts";
import { findMessage, listAttempts, listAttemptsOf, listDeliveries } from "../../../src/storage/history-read.ts";
import { attempt, delivery, FAILURE, message, ofQueue, T0, TENANT, write } from "./rows.ts";
import { openDatabase } from "./sqlite-d1.ts";

const ID = { messageId: "msg_0", topic: undefined };
const NEWEST = { after: undefined, limit: 10 };

describe("writeHistory", () => {
  it("keeps everything a stream reports of a message, a delivery and an attempt", async () => {
    const { db } = openDatabase();
    await write(db, {
      messages: [message(0, { event: { source: "shop", subject: "o/1" }, attributes: { "naïve": "\u0000 \"q\"" } })],
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
      matched: 1,
      expungedAtMs: null,
    });
    const [row] = await listDeliveries(db, TENANT, ID, NEWEST);
    expect(row).toMatchObject({ status: "open", reason: "paused", nextAttemptAtMs: T0 + 5000, attemptKeys: [{ timeMs: T0 + 10, endpointId: "ep_1" }] });
    const [made] = await listAttempts(db, TENANT, "ep_1", {}, NEWEST);
    expect(made).toMatchObject({ statusCode: 500, error: "status: answered 500", responseBody: "naïve 💥 \u0000 end" });
  });

  it("changes nothing when a batch is written again", async () => {
    const { db, sqlite } = openDatabase();
    const once = { messages: [message(0)], deliveries: [delivery(0, "ep_1")], attempts: [attempt(0, "ep_1")] };
    const dump = () => ["messages", "deliveries", "attempts"].map((table) => sqlite.prepare(`SELECT * FROM ${table}`).all());
    await write(db, once);
    const first = dump();
    await write(db, once);
    expect(dump()).toEqual(first);
    expect(first.map((rows) => rows.length)).toEqual([1, 1, 1]);
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

  it("takes the newest of several records of one delivery in a batch", async () => {
    const { db } = openDatabase();
    await write(db, {
      messages: [message(0)],
      deliveries: [
        delivery(0, "ep_1", { status: "delivered", updatedAtMs: T0 + 9 }),
        delivery(0, "ep_1", { status: "open", updatedAtMs: T0 + 1 }),
      ],
    });
    const [row] = await listDeliveries(db, TENANT, ID, NEWEST);
    expect(row?.status).toBe("delivered");
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

  it("writes the same row for an endpoint whether or not its attempt repeats who was attempted", async () => {
    const { db, sqlite } = openDatabase();
    await write(db, { deliveries: [delivery(0, "ep_1")], attempts: [attempt(0, "ep_1", {}, "ep_1")] });
    expect(sqlite.prepare("SELECT endpoint_id, target FROM attempts").all()).toEqual([{ endpoint_id: "ep_1", target: null }]);
    expect(sqlite.prepare("SELECT attempt_times FROM deliveries").get()).toEqual({ attempt_times: `[${T0 + 10}]` });
  });

  it("keeps an attempt whose delivery is not in the batch, and the rest of the batch", async () => {
    const { db } = openDatabase();
    await write(db, { messages: [message(0)], attempts: [attempt(0, "ep_1")] });
    expect(await listAttempts(db, TENANT, "ep_1", {}, NEWEST)).toHaveLength(1);
    expect(await findMessage(db, TENANT, "msg_0", undefined)).not.toBeNull();
  });

  it("writes a hundred messages with one statement a table, and nothing for an empty batch", async () => {
    const { db, statements } = openDatabase();
    const offsets = Array.from({ length: 100 }, (_, index) => index + 1);
    await write(db, {
      messages: offsets.map((offset) => message(offset)),
      deliveries: offsets.map((offset) => delivery(offset, "ep_1")),
      attempts: offsets.map((offset) => attempt(offset, "ep_1")),
    });
    expect(statements).toHaveLength(3);
    await write(db, {});
    expect(statements).toHaveLength(3);
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

  it("keeps every bound value under D1's 2 MB, three bytes a character included", async () => {
    const { db, sqlite } = openDatabase();
    const sizes: number[] = [];
    const prepare = db.prepare.bind(db);
    db.prepare = (sql) => {
      const statement = prepare(sql);
      const bind = statement.bind.bind(statement);
      statement.bind = (...values) => {
        sizes.push(Buffer.byteLength(String(values[0])));
        return bind(...values);
      };
      return statement;
    };
    const offsets = Array.from({ length: 1000 }, (_, offset) => offset);
    await write(db, {
      deliveries: offsets.map((offset) => delivery(offset, "ep_1")),
      attempts: offsets.map((offset) => attempt(offset, "ep_1", { responseBody: "€".repeat(1365) })),
    });
    expect(Math.max(...sizes)).toBeLessThan(2_000_000);
    expect(sizes.length).toBeGreaterThan(3);
    expect(sqlite.prepare("SELECT count(*) AS n FROM attempts").get()).toEqual({ n: 1000 });
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
  });

  it("agrees with RFC 4648 base 32 of the digest", async () => {
    // printf %s abc | sha256sum = ba7816bf8f01cfea…; base32 of ba7816bf8f01cf = XJ4BNP4PAH...
    expect(await streamKey("abc")).toBe("xj4bnp4pah");
  });
});
