import { env } from "cloudflare:workers";
import { evictDurableObject, runDurableObjectAlarm, runInDurableObject } from "cloudflare:test";
import { describe, expect, it } from "vitest";
import type { AppendRequest, CreateRequest, ForkRequest } from "../../src/streams/protocol/contract.ts";
import { openDurableStream } from "../../src/streams/protocol/readable-log.ts";
import { durableStreamStub } from "../../src/streams/protocol/stub.ts";

const TYPE = "text/plain";
let count = 0;

const newName = () => `default/test/${count++}`;
const stubOf = (name: string) => env.DURABLE_STREAMS.getByName(name);
const apiOf = (name: string) => durableStreamStub(env.DURABLE_STREAMS, name);
const bytesOf = (text: string) => ({ bytes: new TextEncoder().encode(text), lengths: null });
const forkOf = (source: string, position: number | null = null): ForkRequest => ({ source, position, subOffset: 0 });

async function create(name: string, options: Partial<CreateRequest> = {}): Promise<string> {
  const request = { name, contentType: TYPE, payload: null, closed: false, ttlSeconds: null, expiresAt: null, fork: null, ...options };
  const created = await apiOf(name).create(request);
  return created.ok ? (created.created ? "created" : "same") : created.code;
}

function append(name: string, text: string, options: Partial<AppendRequest> = {}) {
  return apiOf(name).append({ contentType: TYPE, payload: bytesOf(text), seq: null, producer: null, close: false, ...options });
}

async function textOf(name: string): Promise<string> {
  const read = await openDurableStream(env.DURABLE_STREAMS, name).read("start", 0);
  return read.ok ? new TextDecoder().decode(read.stretch.bytes) : read.code;
}

/** How many rows, tables included, the object keeps. */
function kept(name: string): Promise<{ tables: number; chunks: number }> {
  return runInDurableObject(stubOf(name), (_object, { storage: { sql } }) => {
    const tables = sql.exec<{ n: number }>("SELECT count(*) AS n FROM sqlite_master WHERE name IN ('chunks', 'forks')").one().n;
    return { tables, chunks: tables === 0 ? 0 : sql.exec<{ n: number }>("SELECT count(*) AS n FROM chunks").one().n };
  });
}

/** Runs the alarms that are set until there is none. */
async function settle(name: string): Promise<void> {
  while (await runDurableObjectAlarm(stubOf(name))) continue;
}

describe("the object of a stream", () => {
  it("keeps nothing for a path that was only asked about, nor after its stream was deleted", async () => {
    const name = newName();
    expect(await textOf(name)).toBe("not-found");
    expect(await kept(name)).toEqual({ tables: 0, chunks: 0 });
    await create(name, { payload: bytesOf("gone soon") });
    expect(await kept(name)).toEqual({ tables: 2, chunks: 1 });
    await apiOf(name).remove();
    await settle(name);
    expect(await kept(name)).toEqual({ tables: 0, chunks: 0 });
    expect(await create(name)).toBe("created");
    expect(await textOf(name)).toBe("");
  });

  it("shows nothing of a deleted stream in the next one, before its rows are gone and after a restart", async () => {
    const name = newName();
    await create(name, { payload: bytesOf("old") });
    await apiOf(name).remove();
    await create(name);
    await append(name, "new");
    expect(await textOf(name)).toBe("new");
    await evictDurableObject(stubOf(name));
    expect(await textOf(name)).toBe("new");
    await settle(name);
    expect(await kept(name)).toEqual({ tables: 2, chunks: 1 });
    expect(await textOf(name)).toBe("new");
  });

  it("ends when its time has come, by itself", async () => {
    const name = newName();
    await create(name, { expiresAt: new Date(Date.now() + 1_000).toISOString(), payload: bytesOf("x") });
    expect(await textOf(name)).toBe("x");
    await expect.poll(() => textOf(name), { timeout: 5_000 }).toBe("not-found");
    await settle(name);
    expect(await kept(name)).toEqual({ tables: 0, chunks: 0 });
  });

  it("remembers its producers, its sequence and its end when it is restarted", async () => {
    const name = newName();
    const producer = { id: "p", epoch: 2, seq: 0 };
    await create(name);
    await append(name, "once", { producer, seq: "b" });
    await evictDurableObject(stubOf(name));
    expect(await append(name, "once", { producer })).toMatchObject({ ok: true, duplicate: true, tail: 4 });
    expect(await append(name, "x", { seq: "a" })).toEqual({ ok: false, code: "sequence", last: "b" });
    await append(name, "!", { producer: { ...producer, seq: 1 }, close: true });
    await evictDurableObject(stubOf(name));
    expect(await append(name, "!", { producer: { ...producer, seq: 1 }, close: true })).toMatchObject({ ok: true, duplicate: true, closed: true });
    expect(await append(name, "more")).toEqual({ ok: false, code: "closed", tail: 5 });
    expect(await textOf(name)).toBe("once!");
  });

  it("refuses what would make it hold too much", async () => {
    const name = newName();
    await create(name);
    const large = "x".repeat(12 * 1024 * 1024);
    const results = await Promise.all(Array.from({ length: 5 }, () => append(name, large)));
    expect(results.filter((result) => !result.ok)).toContainEqual({ ok: false, code: "overloaded", retryAfterSeconds: 1 });
    const taken = results.filter((result) => result.ok).length;
    expect(await apiOf(name).head()).toMatchObject({ info: { tail: taken * large.length } });
  });
});

describe("a fork", () => {
  it("holds its source until it is deleted itself, and the source's data goes with it", async () => {
    const [source, fork] = [newName(), newName()];
    await create(source, { payload: bytesOf("inherited") });
    expect(await create(fork, { fork: forkOf(source, 4) })).toBe("created");
    await append(fork, "!");
    await apiOf(source).remove();
    expect([await textOf(fork), await textOf(source), await create(source)]).toEqual(["inhe!", "deleted", "deleted"]);
    await apiOf(fork).remove();
    await settle(fork);
    await settle(source);
    expect([await kept(source), await kept(fork)]).toEqual(Array(2).fill({ tables: 0, chunks: 0 }));
  });

  it("that never came to be leaves no reference on its source", async () => {
    const [source, fork] = [newName(), newName()];
    await create(source, { payload: bytesOf("x") });
    // as if the process had ended between taking the reference and creating the fork
    await create(fork);
    await apiOf(source).addFork({ forkId: "lost", position: null, subOffset: 0, contentType: null });
    await runInDurableObject(stubOf(fork), async (_object, { storage }) => {
      storage.sql.exec("INSERT INTO fork_debts (fork_id, source) VALUES ('lost', ?)", source);
      await storage.setAlarm(Date.now() + 60_000);
    });
    await runDurableObjectAlarm(stubOf(fork));
    await apiOf(source).remove();
    expect(await textOf(source)).toBe("not-found");
  });

  it("made twice at the same time is one, and its source is free once it is gone", async () => {
    const [source, fork] = [newName(), newName()];
    await create(source, { payload: bytesOf("x") });
    const made = await Promise.all([create(fork, { fork: forkOf(source) }), create(fork, { fork: forkOf(source) })]);
    expect(made.sort()).toEqual(["created", "same"]);
    await apiOf(fork).remove();
    await settle(fork);
    await apiOf(source).remove();
    expect(await textOf(source)).toBe("not-found");
  });
});
