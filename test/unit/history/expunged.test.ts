import { describe, expect, it } from "vitest";
import { newId } from "../../../src/ids.ts";
import { AttemptPacker, packWithoutResponses } from "../../../src/storage/attempt-pack.ts";
import { clearResponses, findCopy, findQueueTargets, listBoxOwners, type MessageRef } from "../../../src/storage/expunged.ts";
import { listAttempts } from "../../../src/storage/history-attempts.ts";
import { findMessage } from "../../../src/storage/history-messages.ts";
import type { StreamApi } from "../../../src/streams/contract.ts";
import { findInLog } from "../../../src/streams/find-in-log.ts";
import type { LogReadRequest, LogReadResult } from "../../../src/streams/log-reading.ts";
import { addEndpoint, attempt, delivery, FAILURE, message, ofQueue, T0, TENANT, TOPIC, write } from "./rows.ts";
import { openDatabase, planOf } from "./sqlite-d1.ts";

const ALL = { after: undefined, limit: 100 };

async function found(db: D1Database, id: string, topic?: string): Promise<MessageRef> {
  const message = await findMessage(db, TENANT, id, topic);
  if (message === null) throw new Error("there is no such message");
  return message;
}

describe("what was answered to attempts at an expunged message", () => {
  it("is gone from packs that deliveries lead to, of delivered and of failed ones; the attempts and others' answers stay", async () => {
    const { db } = openDatabase();
    const timeMs = T0 + 100;
    const messages = [0, 1].map((offset) => message(offset, { timeMs, endpointIds: ["ep_1", "ep_2"] }));
    const late = { ...FAILURE, startedAtMs: T0 + 60_000 };
    const of = (offset: number, endpointId: string, more = {}) => attempt(offset, endpointId, { startedAtMs: timeMs + 10, responseBody: `told ${offset}`, ...more });
    await write(db, {
      messages,
      deliveries: [0, 1].map((offset) => delivery(offset, "ep_2", { messageTimeMs: timeMs, status: "dead" })),
      attempts: [0, 1].flatMap((offset) => [of(offset, "ep_1"), of(offset, "ep_2", { ...FAILURE, startedAtMs: timeMs + 10 }), of(offset, "ep_2", late)]),
    });
    await clearResponses(db, TENANT, await found(db, "msg_0"));
    const attempts = [...await listAttempts(db, TENANT, "ep_1", {}, ALL), ...await listAttempts(db, TENANT, "ep_2", {}, ALL)];
    expect(attempts.map(({ offset, endpointId, error, responseBody }) => [offset, endpointId, error, responseBody])).toEqual([
      [1, "ep_1", null, "told 1"], [0, "ep_1", null, ""],
      [1, "ep_2", "status: answered 500", "told 1"], [0, "ep_2", "status: answered 500", ""],
      [1, "ep_2", "status: answered 500", "told 1"], [0, "ep_2", "status: answered 500", ""],
    ]);
  });

  it("is gone from what the members of a queue were attempted with", async () => {
    const { db } = openDatabase();
    await write(db, {
      ...ofQueue("jobs"), messages: [message(0, { endpointIds: ["member"] })], takers: ["ep_9"],
      attempts: [attempt(0, "member", { responseBody: "told" }, "ep_9")],
    });
    await clearResponses(db, TENANT, await found(db, "msg_0"));
    expect((await listAttempts(db, TENANT, "ep_9", {}, ALL)).map(({ target, responseBody }) => [target, responseBody])).toEqual([["member", ""]]);
  });

  it("is gone however many it was for", async () => {
    const { db } = openDatabase();
    const endpointIds = Array.from({ length: 1_203 }, (_, index) => `ep_${index}`);
    await write(db, {
      messages: [message(0, { endpointIds })],
      deliveries: endpointIds.slice(600).map((endpointId) => delivery(0, endpointId)),
      attempts: endpointIds.map((endpointId) => attempt(0, endpointId, { responseBody: "told" })),
    });
    await clearResponses(db, TENANT, await found(db, "msg_0"));
    for (const endpointId of ["ep_0", "ep_599", "ep_1202", "ep_500"]) {
      expect((await listAttempts(db, TENANT, endpointId, {}, ALL)).map(({ responseBody }) => responseBody)).toEqual([""]);
    }
  });

  it("is found by seeks", async () => {
    const { db, sqlite, statements } = openDatabase();
    await write(db, { messages: [message(0, { endpointIds: ["ep_1"] })] });
    const of = await found(db, "msg_0");
    statements.length = 0;
    await clearResponses(db, TENANT, of);
    const plan = statements.flatMap((sql) => planOf(sqlite, sql));
    expect(plan.join("\n")).toMatch(/SEARCH p USING PRIMARY KEY \(tenant_id=\? AND endpoint_id=\? AND time=\? AND stream=\? AND number=\?\)/);
    expect(plan.join("\n")).toMatch(/SEARCH a USING PRIMARY KEY \(tenant_id=\? AND endpoint_id=\? AND time>\? AND time<\?\)/);
    expect(plan.filter((step) => /SCAN (?!(k|i|json_each) VIRTUAL)/.test(step))).toEqual([]);
  });

  it("is gone from packs that are not written yet", () => {
    const packer = new AttemptPacker();
    for (const offset of [4, 5]) packer.add(attempt(offset, "ep_1", { responseBody: `told ${offset}`, startedAtMs: T0 }));
    packer.add(attempt(5, "ep_2", { responseBody: "", startedAtMs: T0 }));
    packer.forgetResponses(4);
    packer.forgetResponses(9);
    const packs = packer.take(() => 1);
    expect(packs.map(({ json }) => json).join()).not.toContain("told 4");
    expect(packs.map(({ json }) => json).join()).toContain("told 5");
    expect(packs.map((pack) => packWithoutResponses(pack, 5).json).join()).not.toContain("told");
    expect(packs.map((pack) => [pack.count, JSON.parse(pack.json).length])).toEqual([[2, 2], [1, 1]]);
  });
});

describe("where an expunged message is", () => {
  it("are the queues it was for, whether or not its delivery has a row", async () => {
    const { db } = openDatabase();
    await write(db, {
      messages: [message(0, { endpointIds: ["ep_1", "queue:a", "queue:b"] })],
      deliveries: [delivery(0, "queue:b", { status: "open" }), delivery(0, "queue:late"), delivery(0, "ep_2")],
    });
    expect((await findQueueTargets(db, TENANT, await found(db, "msg_0"))).sort()).toEqual(["a", "b", "late"]);
  });

  it.each([["chosen by its publisher", "msg_0"], ["of ours", newId("msg", T0)]])("are its copies in queues, by an id %s: the first one since", async (_, id) => {
    const { db } = openDatabase();
    await write(db, { messages: [message(0, { id, endpointIds: ["queue:a"] })] });
    for (const [queue, times] of [["a", [-5_000, 30, 90_000]], ["b", [40]]] as const) {
      await write(db, { ...ofQueue(queue), messages: times.map((afterMs, offset) => message(offset, { id, timeMs: T0 + afterMs, endpointIds: ["member"] })) });
    }
    const event = await found(db, id, TOPIC);
    const copyIn = (queue: string) => findCopy(db, TENANT, event, `${TENANT}/queues/${queue}`);
    expect([await copyIn("a"), await copyIn("b"), await copyIn("none")].map((copy) => copy?.timeMs)).toEqual([T0 + 30, T0 + 40, undefined]);
    expect((await copyIn("a"))?.targets).toEqual(["member"]);
  });

  it("are the mailboxes of those it was for, by its pack, a row or the node it went to", async () => {
    const { db, sqlite } = openDatabase();
    for (const id of ["ep_pack", "ep_row", "ep_push", "ep_other", "ep_node"]) await addEndpoint(db, id);
    sqlite.exec("UPDATE endpoints SET kind = 'pull' WHERE id <> 'ep_push'; UPDATE endpoints SET node = 'n1' WHERE id = 'ep_node'");
    await write(db, { messages: [message(0, { endpointIds: ["ep_pack", "ep_push"] })], deliveries: [delivery(0, "ep_row", { status: "dead" })] });
    const ofTopic = await found(db, "msg_0");
    expect((await listBoxOwners(db, TENANT, ofTopic, "")).map(({ id }) => id)).toEqual(["ep_pack", "ep_row"]);
    expect((await listBoxOwners(db, TENANT, ofTopic, "ep_pack")).map(({ id }) => id)).toEqual(["ep_row"]);
    expect((await listBoxOwners(db, TENANT, { ...ofTopic, stream: `${TENANT}/nodes/n1`, offset: 7, targets: ["node"] }, "")).map(({ id }) => id)).toEqual(["ep_node"]);
  });

  it("is in the log of a queue, though history does not have it", async () => {
    const timeMs = T0 + 3;
    const logged = (id: string) => ({ id, contentType: "a/b", size: 0, matched: 1, endpointIds: ["member"] });
    const ids = [["msg_x", "msg_1"], ["msg_2", "msg_x"], ["msg_3"]];
    const asked: LogReadRequest["from"][] = [];
    const readLog = async (_stream: string, { from }: LogReadRequest): Promise<LogReadResult> => {
      asked.push(from);
      const first = typeof from === "number" ? from : 1;
      const segment = Math.floor(first / 2);
      const messages = JSON.stringify((ids[segment] ?? []).map(logged));
      return { ok: true, from: first, tail: 5, segments: [{ firstOffset: segment * 2, timeMs, messages, bodies: new Uint8Array() }] };
    };
    const api = { readLog } as unknown as StreamApi;
    expect(await findInLog(api, "ten_a/queues/jobs", "msg_x", T0)).toEqual({
      id: "msg_x", stream: "ten_a/queues/jobs", topic: "jobs", offset: 3, timeMs, targets: ["member"], takers: [],
    });
    expect(asked).toEqual([{ sinceMs: T0 }, 2]);
    expect(await findInLog(api, "ten_a/queues/jobs", "msg_none", T0)).toBeNull();
  });
});
