import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import type { AttemptRecord, Verdict } from "../../../src/delivery/outcome.ts";
import { newId } from "../../../src/ids.ts";
import { listAttempts, listAttemptsOf } from "../../../src/storage/history-attempts.ts";
import { findMessage, listMessages } from "../../../src/storage/history-messages.ts";
import { listDeliveries, openStreamsOfEndpoint } from "../../../src/storage/history-read.ts";
import { writeHistory } from "../../../src/storage/history-write.ts";
import { HistoryWriter } from "../../../src/streams/history-writer.ts";
import { Outbox, SWEEP_GRACE_MS } from "../../../src/streams/outbox.ts";
import { createTables } from "../../../src/streams/schema.ts";
import { MAX_LOGGED_TARGETS, SegmentLog } from "../../../src/streams/segment-log.ts";
import { UntoldEnds } from "../../../src/streams/untold-ends.ts";
import { openSql } from "../replay/object-sql.ts";
import { T0, TENANT } from "./rows.ts";
import { openDatabase } from "./sqlite-d1.ts";

const STREAM = `${TENANT}/topics/orders`;
const NEWEST = { after: undefined, limit: 10_000 };
const DELIVERED: Verdict = { status: "delivered" };
const FAILED: AttemptRecord = { startedAtMs: 0, durationMs: 3, statusCode: 500, error: { code: "status", detail: "answered 500" }, responseBody: "no" };

beforeEach(() => void vi.useFakeTimers({ toFake: ["Date", "setTimeout", "clearTimeout"], now: T0 }));
afterEach(() => void vi.useRealTimers());

/** A stream's log, outbox and history over disks that outlive it, as the stream's object puts them together. */
class TestStream {
  readonly log: SegmentLog;
  readonly outbox: Outbox;
  readonly untold: UntoldEnds;
  readonly history: HistoryWriter;
  readonly ids: string[] = [];
  readonly #disk: Disk;
  #isDead = false;

  constructor(disk: Disk) {
    this.#disk = disk;
    createTables(disk.sql);
    this.log = new SegmentLog(disk.sql);
    this.outbox = new Outbox(disk.sql);
    this.untold = new UntoldEnds(disk.sql);
    const { settledBefore, historyBefore } = this.log.checkpoint;
    this.history = new HistoryWriter(
      {
        stream: () => STREAM,
        write: async (batch) => {
          disk.writes++;
          if (disk.isAway || this.#isDead) throw new Error("D1 is away");
          await writeHistory(disk.database.db, batch);
        },
        inBackground: (promise) => void promise,
        onWritten: () => undefined,
        settledBefore: () => {
          this.outbox.spill(Date.now());
          return this.outbox.settledBefore(this.log.nextOffset);
        },
        keepsSuccesses: () => disk.keepsSuccesses,
        log: this.log,
        outbox: this.outbox,
        untold: this.untold,
      },
      Math.min(settledBefore, historyBefore),
    );
    for (const entry of this.log.entriesFrom(settledBefore, 10_000)) this.outbox.addRows(entry, entry.endpointIds, Date.now() - SWEEP_GRACE_MS);
  }

  /** Commits one message; its offset. */
  publish(endpointIds: readonly string[], { orderedIds = [], id = newId("msg", Date.now()) }: { orderedIds?: readonly string[]; id?: string } = {}): number {
    const traceparent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    const message = { id, deduplicate: false, contentType: "text/plain", attributes: {}, traceparent, body: new Uint8Array(3) };
    const [entry] = this.log.append([{ message, endpointIds, orderedIds }], Date.now(), this.log.checkpoint);
    if (entry === undefined) throw new Error("nothing was appended");
    this.ids[entry.offset] = id;
    this.outbox.addOrdered(entry, orderedIds, undefined, Date.now());
    if (endpointIds.length > MAX_LOGGED_TARGETS) this.outbox.addRows(entry, endpointIds, Date.now());
    else this.outbox.add(entry, Date.now());
    this.history.schedule();
    return entry.offset;
  }

  settle(offset: number, endpointId: string, verdict: Verdict, more: Partial<AttemptRecord> | null = {}, by?: string): void {
    const delivery = this.outbox.settle({ offset, endpointId }, verdict, Date.now());
    if (delivery === null) throw new Error("it was closed");
    const succeeded = { startedAtMs: Date.now(), durationMs: 4, statusCode: 200, error: null, responseBody: "" };
    const attempt = more === null ? {} : { attempt: { ...succeeded, ...more } };
    this.history.settled(delivery, { verdict, ...attempt, ...(by === undefined ? {} : { by }) }, Date.now());
    this.history.schedule();
  }

  fail(offset: number, endpointId: string): void {
    const verdict = { status: "open", nextAttemptAtMs: Date.now() + 5_000, counted: true } as const;
    this.settle(offset, endpointId, verdict, { ...FAILED, startedAtMs: Date.now() });
  }

  checkpoint(): void {
    const historyBefore = Math.min(this.history.writtenBefore, this.log.nextOffset);
    this.log.saveCheckpoint({ settledBefore: this.outbox.settledBefore(this.log.nextOffset), historyBefore });
  }

  /** Takes the memory away; what is on its way to D1 does not arrive. */
  kill(): TestStream {
    this.#isDead = true;
    const next = new TestStream(this.#disk);
    next.ids.push(...this.ids);
    return next;
  }

  /** What history says of a message's deliveries. */
  async deliveries(offset: number): Promise<(string | number)[][]> {
    const { db } = this.#disk.database;
    const rows = await listDeliveries(db, TENANT, { messageId: this.ids[offset] ?? "", topic: undefined }, NEWEST);
    const attempts = Map.groupBy(await listAttemptsOf(db, TENANT, rows), ({ target }) => target);
    return rows.map(({ target, status }) => [target, status, attempts.get(target)?.length ?? 0]);
  }
}

type Disk = { readonly sql: SqlStorage; readonly database: ReturnType<typeof openDatabase>; isAway: boolean; keepsSuccesses: boolean; writes: number };

function open(): { stream: TestStream; disk: Disk; count: (table: string) => number } {
  const disk = { sql: openSql(), database: openDatabase(), isAway: false, keepsSuccesses: true, writes: 0 };
  const count = (table: string) => Number(disk.database.sqlite.prepare(`SELECT count(*) AS n FROM ${table}`).get()?.["n"]);
  return { stream: new TestStream(disk), disk, count };
}

const later = (ms: number) => vi.advanceTimersByTimeAsync(ms);

describe("what is delivered at once", () => {
  it("is told as one pack of messages and one of attempts, and no row more", async () => {
    const { stream, disk, count } = open();
    for (let offset = 0; offset < 20; offset++) stream.settle(stream.publish(["ep_1"]), "ep_1", DELIVERED);
    expect(disk.writes).toBe(0);
    await later(400);
    expect(disk.writes).toBe(1);
    expect(["message_packs", "message_ids", "deliveries", "attempt_packs"].map(count)).toEqual([1, 0, 0, 1]);
    expect(await stream.deliveries(7)).toEqual([["ep_1", "delivered", 1]]);
    expect(stream.history.isIdle).toBe(true);
    expect(stream.history.writtenBefore).toBe(20);
  });

  it("is told once its first attempts have ended, and those before it", async () => {
    const { stream, disk } = open();
    stream.publish(["ep_1", "ep_2"]);
    stream.settle(stream.publish(["ep_1"]), "ep_1", DELIVERED);
    stream.settle(0, "ep_1", DELIVERED);
    await later(600);
    expect(await listMessages(disk.database.db, TENANT, {}, NEWEST)).toEqual([]);
    stream.settle(0, "ep_2", DELIVERED);
    await later(400);
    expect(await stream.deliveries(0)).toEqual([["ep_2", "delivered", 1], ["ep_1", "delivered", 1]]);
    expect(await stream.deliveries(1)).toEqual([["ep_1", "delivered", 1]]);
  });

  it("names the member of a queue that took it", async () => {
    const { stream } = open();
    const offset = stream.publish(["member"]);
    stream.settle(offset, "member", DELIVERED, {}, "ep_3");
    await later(400);
    expect(await stream.deliveries(offset)).toEqual([["member", "delivered", 1]]);
  });

  it("without a request, into a mailbox or a queue, is delivered as well", async () => {
    const { stream } = open();
    const offset = stream.publish(["queue:jobs"]);
    stream.settle(offset, "queue:jobs", DELIVERED, null);
    await later(400);
    expect(await stream.deliveries(offset)).toEqual([["queue:jobs", "delivered", 0]]);
  });

  it("in the lane of an ordered endpoint has no row of its own either", async () => {
    const { stream, count } = open();
    for (let offset = 0; offset < 3; offset++) stream.publish([], { orderedIds: ["ep_1"] });
    for (let offset = 0; offset < 3; offset++) stream.settle(offset, "ep_1", DELIVERED);
    await later(400);
    expect(await stream.deliveries(2)).toEqual([["ep_1", "delivered", 1]]);
    expect([count("deliveries"), stream.untold.isEmpty]).toEqual([0, true]);
  });
});

describe("what takes long or fails", () => {
  it("is told as open after a second, and as delivered when it is", async () => {
    const { stream, disk } = open();
    const offset = stream.publish(["ep_1", "ep_2"]);
    stream.settle(offset, "ep_2", DELIVERED);
    await later(1_250);
    expect(await stream.deliveries(offset)).toEqual([["ep_2", "delivered", 1], ["ep_1", "open", 0]]);
    expect(await openStreamsOfEndpoint(disk.database.db, TENANT, "ep_1")).toEqual([STREAM]);
    stream.settle(offset, "ep_1", DELIVERED, { startedAtMs: T0 + 1 });
    await later(400);
    expect(await stream.deliveries(offset)).toEqual([["ep_2", "delivered", 1], ["ep_1", "delivered", 1]]);
    expect([stream.untold.isEmpty, stream.history.isIdle]).toEqual([true, true]);
  });

  it("is told with every attempt, and why it is dead", async () => {
    const { stream, disk } = open();
    const offset = stream.publish(["ep_1"]);
    stream.fail(offset, "ep_1");
    await later(400);
    expect(await stream.deliveries(offset)).toEqual([["ep_1", "open", 1]]);
    await later(5_000);
    stream.settle(offset, "ep_1", { status: "dead", reason: "gave up" }, { ...FAILED, startedAtMs: Date.now() });
    await later(400);
    expect(await stream.deliveries(offset)).toEqual([["ep_1", "dead", 2]]);
    const [row] = await listDeliveries(disk.database.db, TENANT, { messageId: stream.ids[0] ?? "", topic: undefined }, NEWEST);
    expect(row?.reason).toBe("gave up");
  });

  it("is told why it waits, also when the message is told after that", async () => {
    const { stream, disk } = open();
    const offset = stream.publish(["ep_1", "ep_slow"]);
    stream.settle(offset, "ep_1", { status: "held", reason: "paused" }, null);
    await later(400);
    stream.settle(offset, "ep_slow", DELIVERED);
    await later(400);
    const rows = await listDeliveries(disk.database.db, TENANT, { messageId: stream.ids[0] ?? "", topic: undefined }, NEWEST);
    expect(rows.map(({ target, status, reason, nextAttemptAtMs }) => [target, status, reason, nextAttemptAtMs])).toEqual([
      ["ep_slow", "delivered", null, null], ["ep_1", "open", "paused", null],
    ]);
  });

  it("is needed until its end is told, though its message was told long before", async () => {
    const { stream, disk } = open();
    for (const offset of [0, 1, 2]) if (stream.publish(["ep_1"]) !== 1) stream.settle(offset, "ep_1", DELIVERED);
    stream.fail(1, "ep_1");
    await later(1_000);
    expect(stream.history.toldBefore).toBe(3);
    disk.isAway = true;
    stream.settle(1, "ep_1", { status: "dead", reason: "gave up" });
    expect([stream.history.writtenBefore, stream.history.toldBefore]).toEqual([3, 1]);
    await later(1_000);
    expect(stream.history.toldBefore).toBe(1);
    stream.checkpoint();
    expect(stream.kill().history.toldBefore).toBe(1);
    disk.isAway = false;
  });

  it("in an ordered lane is not forgotten when it was put off before its message was told", async () => {
    const { stream } = open();
    stream.publish(["ep_slow"]); // holds the messages back
    const offset = stream.publish([], { orderedIds: ["ep_1"] });
    stream.settle(offset, "ep_1", { status: "open", nextAttemptAtMs: Date.now() + 500, counted: false }, null);
    await later(400);
    expect(stream.history.writtenBefore).toBe(0);
    stream.settle(offset, "ep_1", DELIVERED);
    stream.settle(0, "ep_slow", DELIVERED);
    await later(400);
    expect(await stream.deliveries(offset)).toEqual([["ep_1", "delivered", 1]]);
  });

  it("is told when it is sent again, and when that came to its end", async () => {
    const { stream } = open();
    const offset = stream.publish(["ep_1"]);
    stream.settle(offset, "ep_1", DELIVERED);
    await later(60_000);
    for (const endpointId of ["ep_1", "ep_new"]) {
      const delivery = { offset, endpointId, messageId: stream.ids[offset] ?? "", messageTimeMs: T0 };
      stream.outbox.reopen(delivery, Date.now());
      stream.history.opened(delivery, Date.now(), Date.now());
    }
    await stream.history.flush();
    expect(await stream.deliveries(offset)).toEqual([["ep_new", "open", 0], ["ep_1", "open", 1]]);
    for (const endpointId of ["ep_1", "ep_new"]) stream.settle(offset, endpointId, DELIVERED);
    await stream.history.flush();
    expect(await stream.deliveries(offset)).toEqual([["ep_new", "delivered", 1], ["ep_1", "delivered", 2]]);
  });

  it("of a fan-out of thousands is told when there is something to tell of it", async () => {
    const { stream, count } = open();
    const targets = Array.from({ length: MAX_LOGGED_TARGETS + 1 }, (_, index) => `ep_${index}`);
    const offset = stream.publish(targets);
    await later(400);
    expect([count("message_packs"), count("deliveries")]).toEqual([1, 0]);
    stream.settle(offset, "ep_7", DELIVERED);
    stream.fail(offset, "ep_8");
    await later(400);
    expect(await stream.deliveries(offset)).toEqual([["ep_8", "open", 1], ["ep_7", "delivered", 1]]);
  });
});

describe("after a kill", () => {
  it("is told from the disk what was not, as it stands", async () => {
    const { stream } = open();
    const offset = stream.publish(["ep_1", "ep_2", "ep_3", "ep_4"]);
    stream.settle(offset, "ep_1", DELIVERED);
    stream.fail(offset, "ep_2");
    stream.settle(offset, "ep_3", { status: "dead", reason: "gave up" });
    stream.settle(offset, "ep_4", { status: "cancelled", reason: "The endpoint was deleted." }, null);
    stream.checkpoint();
    const next = stream.kill();
    next.history.schedule();
    await later(400);
    expect(await next.deliveries(offset)).toEqual([["ep_4", "cancelled", 0], ["ep_3", "dead", 0], ["ep_2", "open", 0], ["ep_1", "delivered", 0]]);
  });

  it("leaves nothing open for good that ended with the memory", async () => {
    const { stream } = open();
    const offset = stream.publish(["ep_1", "ep_2"]);
    for (const endpointId of ["ep_1", "ep_2"]) stream.fail(offset, endpointId);
    await later(400);
    stream.checkpoint();
    stream.settle(offset, "ep_1", DELIVERED);
    stream.settle(offset, "ep_2", { status: "dead", reason: "gave up" });
    const next = stream.kill();
    await next.history.flush();
    expect(await next.deliveries(offset)).toEqual([["ep_2", "dead", 1], ["ep_1", "delivered", 1]]);
    expect(next.untold.isEmpty).toBe(true);
  });

  it("has each message once, though D1 took it and the disk does not know", async () => {
    const { stream, disk } = open();
    stream.checkpoint();
    for (let round = 0; round < 3; round++) {
      for (let index = 0; index < 5; index++) stream.settle(stream.publish(["ep_1"]), "ep_1", DELIVERED);
      await stream.history.flush();
    }
    expect(stream.history.writtenBefore).toBe(15);
    const next = stream.kill();
    // what a restart finds open is attempted again
    for (let offset = 0; offset < 14; offset++) next.settle(offset, "ep_1", DELIVERED);
    const offset = next.publish(["ep_1"]);
    next.settle(offset, "ep_1", DELIVERED);
    await next.history.flush();
    const listed = await listMessages(disk.database.db, TENANT, {}, NEWEST);
    expect(listed.map((message) => message.offset)).toEqual(Array.from({ length: 16 }, (_, index) => 15 - index));
    expect(disk.database.sqlite.prepare("SELECT sum(count) AS n FROM message_packs").get()).toEqual({ n: 16 });
    expect((await next.deliveries(14)).map(([, status]) => status)).toEqual(["open"]);
    expect((await next.deliveries(3)).map(([, status]) => status)).toEqual(["delivered"]);
  });
});

describe("while D1 is away", () => {
  it("keeps the batch as it is, and tells what came meanwhile after it", async () => {
    const { stream, disk, count } = open();
    disk.isAway = true;
    stream.settle(stream.publish(["ep_1"]), "ep_1", DELIVERED);
    stream.fail(stream.publish(["ep_1"]), "ep_1");
    await later(5_000);
    expect(disk.writes).toBeGreaterThan(2);
    expect(disk.writes).toBeLessThan(8);
    stream.settle(1, "ep_1", DELIVERED);
    stream.settle(stream.publish(["ep_1"]), "ep_1", DELIVERED);
    disk.isAway = false;
    await stream.history.flush();
    expect((await Promise.all([0, 1, 2].map((offset) => stream.deliveries(offset)))).flat()).toEqual([
      ["ep_1", "delivered", 1], ["ep_1", "delivered", 2], ["ep_1", "delivered", 1],
    ]);
    expect(count("message_packs")).toBe(2);
    expect(stream.history.isIdle).toBe(true);
  });

  it("does not write later what was answered to a message that was expunged meanwhile", async () => {
    const { stream, disk } = open();
    disk.isAway = true;
    const answered = (offset: number) => stream.settle(offset, "ep_1", DELIVERED, { responseBody: `told ${offset}` });
    answered(stream.publish(["ep_1"]));
    await later(400);
    answered(stream.publish(["ep_1"]));
    answered(stream.publish(["ep_1"]));
    for (const offset of [0, 1]) stream.history.forgetResponses(offset);
    disk.isAway = false;
    await stream.history.flush();
    const attempts = await listAttempts(disk.database.db, TENANT, "ep_1", {}, { after: undefined, limit: 9 });
    expect(attempts.map(({ offset, responseBody }) => [offset, responseBody])).toEqual([[2, "told 2"], [1, ""], [0, ""]]);
  });

  it("forgets nothing that finds no room in memory: it is told from the disk", { timeout: 30_000 }, async () => {
    const { stream, disk, count } = open();
    disk.isAway = true;
    const targets = Array.from({ length: 1_000 }, (_, index) => `ep_${index}`);
    for (let offset = 0; offset < 52; offset++) {
      stream.publish(targets);
      for (const endpointId of targets) stream.settle(offset, endpointId, { status: "dead", reason: "gave up" }, null);
    }
    disk.isAway = false;
    for (let round = 0; round < 200 && !stream.history.isIdle; round++) await stream.history.flush();
    expect(stream.history.isIdle).toBe(true);
    expect(count("deliveries")).toBe(52_000);
    expect(disk.database.sqlite.prepare("SELECT DISTINCT status, reason FROM deliveries").all()).toEqual([{ status: "dead", reason: "gave up" }]);
    expect(await findMessage(disk.database.db, TENANT, stream.ids[51] ?? "", undefined)).toMatchObject({ offset: 51 });
  });
});

describe("history of failures only", () => {
  function openThinned() {
    const opened = open();
    opened.disk.keepsSuccesses = false;
    return opened;
  }

  it("costs nothing for what is delivered at once but that the stream is known", async () => {
    const { stream, disk, count } = openThinned();
    disk.database.sqlite.prepare("INSERT INTO tenants (id, name, created_at) VALUES (?, '', 0)").run(TENANT);
    for (let round = 0; round < 5; round++) {
      for (let index = 0; index < 50; index++) stream.settle(stream.publish(["ep_1"]), "ep_1", DELIVERED);
      await later(1_000);
    }
    expect(disk.writes).toBe(1);
    expect(["streams", "message_packs", "deliveries", "attempt_packs"].map(count)).toEqual([1, 0, 0, 0]);
    expect(stream.history.writtenBefore).toBe(250);
    expect(stream.history.isIdle).toBe(true);
  });

  it("has what failed, with its message and its other deliveries, and what came of it", async () => {
    const { stream, disk, count } = openThinned();
    stream.settle(stream.publish(["ep_1"]), "ep_1", DELIVERED);
    const offset = stream.publish(["ep_1", "ep_2"], { id: "order-7" });
    stream.fail(offset, "ep_2");
    await later(400);
    // the other one is not known to be delivered yet
    expect(count("message_packs")).toBe(0);
    stream.settle(offset, "ep_1", DELIVERED);
    await later(400);
    expect(await stream.deliveries(offset)).toEqual([["ep_2", "open", 1], ["ep_1", "delivered", 0]]);
    await later(5_000);
    stream.settle(offset, "ep_2", DELIVERED);
    await later(400);
    expect(await stream.deliveries(offset)).toEqual([["ep_2", "delivered", 2], ["ep_1", "delivered", 0]]);
    expect((await listMessages(disk.database.db, TENANT, {}, NEWEST)).map((message) => message.id)).toEqual(["order-7"]);
    expect(await listAttempts(disk.database.db, TENANT, "ep_1", {}, NEWEST)).toEqual([]);
  });

  it("has the message of a delivery that is opened again, though it was delivered before", async () => {
    const { stream } = openThinned();
    const offset = stream.publish(["ep_1"]);
    stream.settle(offset, "ep_1", DELIVERED);
    await later(1_000);
    const delivery = { offset, endpointId: "ep_2", messageId: stream.ids[offset] ?? "", messageTimeMs: T0 };
    stream.outbox.reopen(delivery, Date.now());
    stream.history.opened(delivery, Date.now(), Date.now());
    await stream.history.flush();
    expect(await stream.deliveries(offset)).toEqual([["ep_2", "open", 0], ["ep_1", "delivered", 0]]);
  });
});
