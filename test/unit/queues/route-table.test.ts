import { describe, expect, it } from "vitest";
import type { NewMessage } from "../../../src/messages/message.ts";
import { RouteTable } from "../../../src/messages/route-table.ts";
import { parsePattern, topicKey } from "../../../src/messages/topic.ts";
import { upsertQueue } from "../../../src/storage/queues.ts";
import { insertMembership, insertSubscriptions, type KeyedPattern } from "../../../src/storage/subscriptions.ts";
import { openDatabase } from "../history/sqlite-d1.ts";
import { addEndpoint, TENANT } from "../history/rows.ts";

type Subscribed = { readonly endpointId: string; readonly topic: string | null; readonly queue?: string; readonly filter?: unknown };

function keyed(text: string): KeyedPattern {
  const parsed = parsePattern(text);
  if (!parsed.ok) throw new Error(parsed.detail);
  return { topic: text, topicKey: topicKey(parsed.pattern) };
}

/** A database with these queues (bound to their patterns) and subscriptions. */
async function given(
  queues: Readonly<Record<string, readonly string[]>>,
  subscriptions: readonly Subscribed[],
  tenantId = TENANT,
): Promise<D1Database> {
  const { db } = openDatabase();
  await db.prepare("INSERT INTO tenants (id, name, created_at) VALUES (?, 'a', 0)").bind(tenantId).run();
  for (const [name, topics] of Object.entries(queues)) {
    await db.batch(upsertQueue(db, tenantId, name, { topics: topics.map(keyed) }, 1));
  }
  for (const endpointId of new Set(subscriptions.map((subscribed) => subscribed.endpointId))) await addEndpoint(db, endpointId, tenantId);
  for (const [index, { endpointId, topic, queue = null, filter }] of subscriptions.entries()) {
    const id = `sub_${index}`;
    const selection = { filter: filter === undefined ? null : JSON.stringify(filter), filterScope: "attributes", queue } as const;
    await db.batch([
      topic === null
        ? insertMembership(db, tenantId, endpointId, { id, queue: String(queue) }, 1)
        : insertSubscriptions(db, tenantId, endpointId, [{ id, ...keyed(topic) }], selection, 1),
    ]);
  }
  return db;
}

function message(attributes: Record<string, string> = {}): NewMessage {
  return { id: "msg_1", deduplicate: false, contentType: "text/plain", attributes, traceparent: "", body: new Uint8Array() };
}

async function targetsOf(db: D1Database, topic: string, attributes: Record<string, string> = {}, tenantId = TENANT): Promise<string[]> {
  const [targets] = await new RouteTable().endpointsFor(db, tenantId, topic, [message(attributes)], 1, () => undefined);
  return [...(targets?.endpointIds ?? [])].sort();
}

describe("the targets of a topic", () => {
  it("are the endpoints that subscribe without a queue, and each bound queue", async () => {
    const db = await given({ billing: ["orders.*"], audit: ["**"], other: ["users.**"] }, [{ endpointId: "ep_1", topic: "orders.created" }]);
    expect(await targetsOf(db, "orders.created")).toEqual(["ep_1", "queue:audit", "queue:billing"]);
    expect(await targetsOf(db, "orders")).toEqual(["queue:audit"]);
    expect(await targetsOf(db, "users.a.b")).toEqual(["queue:audit", "queue:other"]);
  });

  it("hold a queue once, however many of its members and patterns match", async () => {
    const db = await given({ billing: ["orders.created", "orders.**", "**"] }, [
      { endpointId: "ep_1", topic: "orders.created", queue: "billing" },
      { endpointId: "ep_2", topic: "orders.*", queue: "billing" },
      { endpointId: "ep_2", topic: "**", queue: "billing" },
    ]);
    expect(await targetsOf(db, "orders.created")).toEqual(["queue:billing"]);
  });

  it("hold no member of a queue by itself, unless it also subscribes without one", async () => {
    const db = await given({ billing: [] }, [
      { endpointId: "ep_1", topic: "orders.created", queue: "billing" },
      { endpointId: "ep_2", topic: "orders.created", queue: "billing" },
      { endpointId: "ep_2", topic: "orders.*" },
    ]);
    expect(await targetsOf(db, "orders.created")).toEqual(["ep_2", "queue:billing"]);
  });

  it("hold a queue when the filter of any of its members' subscriptions lets the message pass", async () => {
    const db = await given({ billing: [] }, [
      { endpointId: "ep_1", topic: "orders.created", queue: "billing", filter: { country: ["DE"] } },
      { endpointId: "ep_2", topic: "orders.*", queue: "billing", filter: { country: ["FR"] } },
    ]);
    expect(await targetsOf(db, "orders.created", { country: "FR" })).toEqual(["queue:billing"]);
    expect(await targetsOf(db, "orders.created", { country: "IT" })).toEqual([]);
  });

  it("hold a queue that is bound by itself whatever the filters of its members", async () => {
    const db = await given({ billing: ["orders.created"] }, [
      { endpointId: "ep_1", topic: "orders.created", queue: "billing", filter: { country: ["DE"] } },
    ]);
    expect(await targetsOf(db, "orders.created", { country: "IT" })).toEqual(["queue:billing"]);
  });

  it("leave out a queue that has members for its commands alone", async () => {
    const db = await given({ billing: [] }, [{ endpointId: "ep_1", topic: null, queue: "billing" }]);
    expect(await targetsOf(db, "orders.created")).toEqual([]);
  });

  it("I7: are those of the tenant", async () => {
    const db = await given({ billing: ["**"] }, [{ endpointId: "ep_1", topic: "**" }]);
    expect(await targetsOf(db, "orders.created", {}, "ten_b")).toEqual([]);
  });
});
