import { beforeEach, describe, expect, it, vi } from "vitest";
import type { BoxRef, Mailbox, MailboxFault } from "../../../src/mailbox/mailbox.ts";
import { purgeOwned, purgeTenants, type PurgeWorld } from "../../../src/registry/purge-tenants.ts";
import { rememberOwnStream } from "../../../src/storage/purges.ts";
import { rememberStream } from "../../../src/storage/streams.ts";
import { endTenantStatements } from "../../../src/storage/tenants.ts";
import { openDatabase } from "../history/sqlite-d1.ts";

const MINUTE_MS = 60_000;
const HOUR_MS = 60 * MINUTE_MS;
const DELETED_AT_MS = Date.parse("2026-11-17T09:30:00Z");

let removed: string[];
/** Of the tenant, by id. */
let subscriptions: string[];
const halfRemoved = "acme/half";
let fault: MailboxFault | null;
let nowMs: number;
let world: PurgeWorld & { readonly sqlite: ReturnType<typeof openDatabase>["sqlite"] };

beforeEach(() => {
  vi.spyOn(console, "warn").mockReturnValue(undefined);
  const { db, sqlite } = openDatabase();
  [removed, fault, nowMs] = [[], null, DELETED_AT_MS];
  const remembering = (kind: string) => ({
    getByName: (name: string) => ({ destroy: async () => { removed.push(`${kind} ${name}`); } }),
  }) as unknown as DurableObjectNamespace;
  const mailbox = {
    remove: async ({ tenantId, kind, id }: BoxRef) => {
      if (fault !== null) return fault;
      removed.push(`box ${tenantId}/${kind}/${id}`);
      return { ok: true };
    },
  } as unknown as Mailbox;
  subscriptions = [];
  const subscriptionObjects = {
    getByName: (name: string) => ({
      remove: async () => {
        if (name === halfRemoved) return { ok: false, code: "not-found" };
        removed.push(`subscription ${name}`);
        subscriptions = subscriptions.filter((id) => !name.endsWith(`/${id}`));
        return { ok: true };
      },
    }),
  } as unknown as DurableObjectNamespace;
  const directories = {
    getByName: (name: string) => ({
      subscriptions: async () => subscriptions.slice(0, 2),
      removeSubscription: async (id: string) => { subscriptions = subscriptions.filter((other) => other !== id); },
      destroy: async () => { removed.push(`directory ${name}`); },
    }),
  } as unknown as DurableObjectNamespace;
  world = {
    env: {
      DB: db,
      STREAMS: remembering("stream") as typeof world.env.STREAMS,
      DURABLE_STREAMS: remembering("own") as typeof world.env.DURABLE_STREAMS,
      STREAM_SUBSCRIPTIONS: subscriptionObjects as typeof world.env.STREAM_SUBSCRIPTIONS,
      STREAM_DIRECTORIES: directories as typeof world.env.STREAM_DIRECTORIES,
    },
    mailbox, now: () => nowMs, sqlite,
  };
  sqlite.exec(`
    INSERT INTO tenants (id, name, created_at) VALUES ('acme', 'Acme', 0), ('other', 'Other', 0);
    INSERT INTO endpoints (id, tenant_id, kind, node, timeout_seconds, retry_schedule, created_at, updated_at)
      VALUES ('ep_1', 'acme', 'pull', 'till.7', 15, '[]', 0, 0), ('ep_2', 'other', 'pull', NULL, 15, '[]', 0, 0);
    INSERT INTO queues (tenant_id, name, created_at, updated_at) VALUES ('acme', 'work', 0, 0), ('other', 'work', 0, 0);
    INSERT INTO topics (tenant_id, name, retention_seconds, updated_at) VALUES ('acme', 'quiet', 1, 0);
  `);
  return () => vi.restoreAllMocks();
});

async function deleteTenant(): Promise<void> {
  const { DB: db } = world.env;
  await db.batch([rememberStream(db, { tenantId: "acme", kind: "topics", name: "orders" }, 0), rememberStream(db, { tenantId: "other", kind: "topics", name: "orders" }, 0)]);
  await rememberOwnStream(db, "acme", "own/one", 0);
  await db.batch(endTenantStatements(db, "acme", nowMs));
}

const due = (): Record<string, unknown>[] => world.sqlite.prepare("SELECT kind, name, next_at, failures FROM purges ORDER BY kind, name").all();
const ALL = [
  "box acme/endpoint/ep_1", "box acme/queue/work", "directory acme", "own acme/own/one", "stream acme/nodes/till.7", "stream acme/queues/work",
  "stream acme/topics/orders", "stream acme/topics/quiet",
];

describe("what a deleted tenant owned outside of the database", () => {
  it("is removed at once and once more, when what was under way is over, and no other tenant's", async () => {
    await deleteTenant();
    expect(await purgeOwned(world, "other")).toBe(0);
    expect(await purgeOwned(world, "acme")).toBe(8);
    expect(removed.toSorted()).toEqual(ALL);
    nowMs += 5 * MINUTE_MS - 1;
    expect(await purgeOwned(world)).toBe(0);
    nowMs += 1;
    expect(await purgeOwned(world)).toBe(8);
    expect(removed.length).toBe(16);
    expect(due()).toEqual([]);
  });

  it("is all of its stream subscriptions, those removed by half included, and then their directory", async () => {
    subscriptions = ["one", "half", "two", "three"];
    await deleteTenant();
    await purgeOwned(world, "acme");
    expect(subscriptions).toEqual([]);
    expect(removed.filter((what) => /^(?:subscription|directory) /.test(what))).toEqual([
      "subscription acme/one", "subscription acme/two", "subscription acme/three", "directory acme",
    ]);
  });

  it("is tried again, later and later, while it can not be removed; the rest does not wait for it", async () => {
    await deleteTenant();
    fault = { ok: false, code: "unreachable", detail: "No answer." };
    const waits: number[] = [];
    for (let times = 0; times < 9; times++) {
      await purgeOwned(world);
      const [box] = due();
      waits.push((Number(box?.["next_at"]) - nowMs) / MINUTE_MS);
      nowMs = Number(box?.["next_at"]);
    }
    expect(waits).toEqual([1, 2, 4, 8, 16, 32, 60, 60, 60]);
    expect(new Set(removed)).toEqual(new Set(ALL.filter((name) => !name.startsWith("box"))));
    fault = null;
    await purgeOwned(world);
    expect(removed).toEqual(expect.arrayContaining(ALL));
    expect(due()).toEqual([]);
  });
});

describe("the cron", () => {
  it("finds what turned up after the deletion, for a day, and then looks no more", async () => {
    await deleteTenant();
    await purgeTenants(world);
    const { DB: db } = world.env;
    // the history of a message that was on its way, and a row of a request that was
    await db.batch([rememberStream(db, { tenantId: "acme", kind: "topics", name: "late" }, nowMs)]);
    world.sqlite.exec("INSERT INTO queues (tenant_id, name, created_at, updated_at) VALUES ('acme', 'late', 0, 0)");
    nowMs += MINUTE_MS;
    await purgeTenants(world);
    expect(removed).toEqual(expect.arrayContaining(["stream acme/topics/late", "stream acme/queues/late", "box acme/queue/late"]));
    expect(world.sqlite.prepare("SELECT 1 FROM queues WHERE tenant_id = 'acme'").all()).toEqual([]);
    const nextAt = (): unknown => world.sqlite.prepare("SELECT next_purge_at FROM tenants WHERE id = 'acme'").get()?.["next_purge_at"];
    expect(nextAt()).toBe(nowMs + MINUTE_MS);
    nowMs = DELETED_AT_MS + HOUR_MS;
    await purgeTenants(world);
    expect(nextAt()).toBe(nowMs + HOUR_MS);
    nowMs = DELETED_AT_MS + 24 * HOUR_MS;
    await purgeTenants(world);
    expect(nextAt()).toBeNull();
    expect(world.sqlite.prepare("SELECT next_purge_at FROM tenants WHERE id = 'other'").get()).toEqual({ next_purge_at: null });
  });

  it("goes on looking while something could not be removed", async () => {
    await deleteTenant();
    fault = { ok: false, code: "unreachable", detail: "No answer." };
    nowMs = DELETED_AT_MS + 24 * HOUR_MS;
    await purgeTenants(world);
    expect(world.sqlite.prepare("SELECT next_purge_at FROM tenants WHERE id = 'acme'").get()).toEqual({ next_purge_at: nowMs + HOUR_MS });
  });
});
