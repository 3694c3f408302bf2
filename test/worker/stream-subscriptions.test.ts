import { applyD1Migrations, type D1Migration, evictDurableObject, runDurableObjectAlarm, runInDurableObject } from "cloudflare:test";
import { env, exports } from "cloudflare:workers";
import { beforeAll, beforeEach, describe, expect, it, vi } from "vitest";
import { z } from "zod";
import { durableStreamStub } from "../../src/streams/protocol/stub.ts";
import { directoryStub } from "../../src/streams/subscriptions/stub.ts";

const bindings = z
  .object({ POSTERN_ADMIN_TOKEN: z.string(), TEST_MIGRATIONS: z.array(z.custom<D1Migration>()) })
  .parse(env);

type Answer = { readonly status: number; readonly json: any };
type Wake = {
  readonly url: string;
  readonly wake_id: string;
  readonly generation: number;
  readonly callback_token: string;
  readonly streams: readonly { path: string; acked_offset: string; tail_offset: string; has_pending: boolean; link_type: string }[];
};

const WAIT = { timeout: 10_000, interval: 20 };
const DONE = { status: 200, body: '{"done":true}' };
const LATER = { status: 202, body: "" };

let wakes: Wake[] = [];
let answer: { status: number; body: string } | "never" = LATER;
let count = 0;

async function call(method: string, path: string, options: { body?: unknown; token?: string; tenant?: string } = {}): Promise<Answer> {
  const { body, token = bindings.POSTERN_ADMIN_TOKEN, tenant } = options;
  const response = await exports.default.fetch(
    new Request(`https://postern.test/v1/stream/${path}`, {
      method,
      headers: {
        authorization: `Bearer ${token}`,
        ...(tenant === undefined ? {} : { "postern-tenant": tenant }),
        ...(body === undefined ? {} : { "content-type": "application/json" }),
      },
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
    }),
  );
  const text = await response.text();
  return { status: response.status, json: text === "" ? undefined : JSON.parse(text) };
}

const offset = (position: number) => `0000000000000000_${String(position).padStart(16, "0")}`;
const newName = (kind: string) => `${kind}-${count++}`;
const sub = (id: string) => `__ds/subscriptions/${id}`;

async function make(path: string, items: readonly unknown[] = []): Promise<void> {
  expect((await call("PUT", path, { body: items })).status).toBe(201);
}

async function append(path: string, ...items: readonly unknown[]): Promise<void> {
  expect((await call("POST", path, { body: items })).status).toBe(204);
}

async function webhook(fields: Record<string, unknown>, id = newName("sub")): Promise<string> {
  const body = { type: "webhook", webhook: { url: `https://hooks.example.com/${id}` }, ...fields };
  expect(await call("PUT", sub(id), { body })).toMatchObject({ status: 201 });
  return id;
}

async function pulled(fields: Record<string, unknown>): Promise<{ id: string; wakeStream: string }> {
  const id = newName("pool");
  const wakeStream = `wake/${id}`;
  await make(wakeStream);
  expect((await call("PUT", sub(id), { body: { type: "pull-wake", wake_stream: wakeStream, ...fields } })).status).toBe(201);
  return { id, wakeStream };
}

const wakesOf = (id: string) => wakes.filter(({ url }) => url.endsWith(`/${id}`));

async function nthWake(id: string, number: number): Promise<Wake> {
  await vi.waitUntil(() => wakesOf(id).length >= number, WAIT);
  return wakesOf(id)[number - 1] as Wake;
}

function callback(id: string, wake: Wake, fields: Record<string, unknown> = {}): Promise<Answer> {
  const { wake_id, generation, callback_token: token } = wake;
  return call("POST", `${sub(id)}/callback`, { token, body: { wake_id, generation, ...fields } });
}

const stub = (id: string, tenant = "default") => env.STREAM_SUBSCRIPTIONS.getByName(`${tenant}/${id}`);
const cursors = async (id: string) => {
  const { streams } = (await call("GET", sub(id))).json;
  return Object.fromEntries(streams.map((one: any) => [one.path, [one.acked_offset, one.tail_offset].map((text) => Number(text.slice(17)))]));
};

beforeAll(async () => {
  await applyD1Migrations(env.DB, bindings.TEST_MIGRATIONS);
  vi.spyOn(globalThis, "fetch").mockImplementation(async (input, init) => {
    wakes.push({ url: String(input), ...JSON.parse(String(init?.body)) });
    if (answer === "never") return new Promise<Response>((_resolve, reject) => init?.signal?.addEventListener("abort", () => reject(new Error("aborted"))));
    return new Response(answer.body, { status: answer.status });
  });
});

beforeEach(() => {
  wakes = [];
  answer = LATER;
});

describe("what a subscription is about", () => {
  it("is streams that exist, from their end on, and those that come later, from their beginning", async () => {
    const dir = newName("dir");
    await make(`${dir}/old`, [1, 2, 3]);
    await make(`${dir}/other/old`, [1]);
    const id = await webhook({ pattern: `${dir}/*` });
    expect(await cursors(id)).toEqual({ [`${dir}/old`]: [3, 3] });
    await make(`${dir}/new`, ["first"]);
    const wake = await nthWake(id, 1);
    expect(wake.streams).toEqual([
      { path: `${dir}/new`, link_type: "glob", acked_offset: offset(0), tail_offset: offset(1), has_pending: true },
      { path: `${dir}/old`, link_type: "glob", acked_offset: offset(3), tail_offset: offset(3), has_pending: false },
    ]);
    expect(wake.generation).toBe(1);
  });

  it("is linked in pages however many streams there are, each where it ended", async () => {
    const dir = newName("dir");
    const paths = Array.from({ length: 250 }, (_, index) => `${dir}/${String(index).padStart(3, "0")}`);
    const directory = directoryStub(env.STREAM_DIRECTORIES, "default");
    await Promise.all(paths.slice(10).map((path) => directory.addStream(path)));
    await Promise.all(paths.slice(0, 10).map((path, index) => make(path, Array(index).fill(0))));
    await make(paths[249] ?? "", [1]);
    const id = await webhook({ pattern: `${dir}/**` });
    const { json } = await call("GET", sub(id));
    expect([json.stream_count, json.streams.length]).toEqual([250, 250]);
    expect(json.streams.slice(0, 10).map((one: any) => one.acked_offset)).toEqual(Array.from({ length: 10 }, (_, index) => offset(index)));
    expect(json.streams.filter((one: any) => one.has_pending)).toEqual([]);
    await append(paths[249] ?? "", "x");
    expect((await nthWake(id, 1)).streams[0]).toMatchObject({ path: paths[249], acked_offset: offset(1), has_pending: true });
  });

  it("is also streams that are not there yet, and such as come back: those begin anew", async () => {
    const path = `${newName("dir")}/one`;
    answer = DONE;
    const id = await webhook({ streams: [path] });
    expect(await cursors(id)).toEqual({ [path]: [0, 0] });
    await make(path, [1, 2]);
    await vi.waitUntil(async () => (await cursors(id))[path]?.[0] === 2, WAIT);
    expect((await call("DELETE", path)).status).toBe(204);
    await runDurableObjectAlarm(env.DURABLE_STREAMS.getByName(`default/${path}`));
    await vi.waitUntil(async () => (await cursors(id))[path]?.[1] === 0, WAIT);
    await make(path, [1]);
    await vi.waitUntil(async () => (await cursors(id))[path]?.[0] === 1, WAIT);
    expect(wakesOf(id).map(({ streams }) => [streams[0]?.acked_offset, streams[0]?.tail_offset])).toEqual([[offset(0), offset(2)], [offset(0), offset(1)]]);
  });

  it("loses a stream of its pattern with that stream, and finds the next one at its path", async () => {
    const dir = newName("dir");
    await make(`${dir}/a`, [1]);
    const id = await webhook({ pattern: `${dir}/*` });
    await call("DELETE", `${dir}/a`);
    await runDurableObjectAlarm(env.DURABLE_STREAMS.getByName(`default/${dir}/a`));
    await vi.waitUntil(async () => Object.keys(await cursors(id)).length === 0, WAIT);
    await make(`${dir}/a`, [1, 2, 3, 4, 5]);
    expect((await nthWake(id, 1)).streams[0]).toMatchObject({ acked_offset: offset(0), tail_offset: offset(5) });
  });

  it("gains and loses single streams; one that the pattern covers too stays", async () => {
    const dir = newName("dir");
    await make(`${dir}/a b`, [1]);
    await make(`${dir}/deep/c`, [1, 2]);
    const id = await webhook({ pattern: `${dir}/*` });
    expect((await call("POST", `${sub(id)}/streams`, { body: { streams: [`${dir}/a b`, `${dir}/deep/c`, `${dir}/deep/c`] } })).status).toBe(204);
    const types = async () => Object.fromEntries((await call("GET", sub(id))).json.streams.map((one: any) => [one.path, one.link_type]));
    expect(await types()).toEqual({ [`${dir}/a%20b`]: "explicit", [`${dir}/deep/c`]: "explicit" });
    for (const path of [encodeURIComponent(`${dir}/a%20b`), `${dir}/deep/c`, `${dir}/never/there`]) {
      expect((await call("DELETE", `${sub(id)}/streams/${path}`)).status).toBe(204);
    }
    expect(await types()).toEqual({ [`${dir}/a%20b`]: "glob" });
    await append(`${dir}/deep/c`, 3);
    await append(`${dir}/a b`, 2);
    expect((await nthWake(id, 1)).streams.map(({ path }) => path)).toEqual([`${dir}/a%20b`]);
  });

  it("is never the stream its own wakes are written to", async () => {
    const dir = newName("dir");
    await make(`${dir}/wakes`);
    const id = newName("pool");
    const body = { type: "pull-wake", pattern: `${dir}/**`, wake_stream: `${dir}/wakes` };
    expect((await call("PUT", sub(id), { body })).status).toBe(201);
    await make(`${dir}/work`, [1]);
    await vi.waitUntil(async () => (await call("GET", `${dir}/wakes`)).json.length === 1, WAIT);
    expect(Object.keys(await cursors(id))).toEqual([`${dir}/work`]);
    expect((await call("POST", `${sub(id)}/streams`, { body: { streams: [`${dir}/wakes`] } })).status).toBe(400);
    expect((await call("PUT", sub(newName("pool")), { body: { ...body, pattern: null, streams: [`${dir}/wakes`] } })).status).toBe(400);
  });

  it("is told by the stream's alarm what it could not be told at once, even if the stream's process ended in between", async () => {
    const path = `${newName("dir")}/a`;
    await make(path);
    const id = await webhook({ streams: [path] });
    await runInDurableObject(stub(id), (object) => {
      Object.assign(object, { told: () => Promise.reject(new Error("away")) });
    });
    await append(path, 1);
    const stream = env.DURABLE_STREAMS.getByName(`default/${path}`);
    const alarm = await runInDurableObject(stream, (_object, { storage }) => storage.getAlarm());
    expect(alarm ?? Number.NaN).toBeLessThan(Date.now() + 6_000);
    await Promise.all([evictDurableObject(stub(id)), evictDurableObject(stream)]);
    expect(await cursors(id)).toEqual({ [path]: [0, 0] });
    await runDurableObjectAlarm(stream);
    expect(await cursors(id)).toEqual({ [path]: [0, 1] });
    expect((await nthWake(id, 1)).streams[0]).toMatchObject({ path, has_pending: true });
  });

  it("finds a stream whose directory could not be told of it when it was created", async () => {
    const dir = newName("dir");
    await env.DB.prepare("INSERT INTO tenants (id, name, created_at) VALUES ('ten_away', 'away', 0)").run();
    const tenant = "ten_away";
    const body = { type: "webhook", pattern: `${dir}/*`, webhook: { url: `https://hooks.example.com/${dir}` } };
    expect((await call("PUT", sub(dir), { body, tenant })).status).toBe(201);
    const directory = env.STREAM_DIRECTORIES.getByName(tenant);
    await runInDurableObject(directory, (object) => {
      Object.assign(object, { addStream: () => Promise.reject(new Error("away")) });
    });
    expect((await call("PUT", `${dir}/a`, { body: [1], tenant })).status).toBe(201);
    await evictDurableObject(directory);
    await runDurableObjectAlarm(env.DURABLE_STREAMS.getByName(`${tenant}/${dir}/a`));
    expect((await nthWake(dir, 1)).streams[0]).toMatchObject({ path: `${dir}/a`, acked_offset: offset(0), tail_offset: offset(1) });
  });

  it("misses no append made while streams and subscriptions are created at the same time", async () => {
    const dir = newName("dir");
    answer = DONE;
    const ids = Array.from({ length: 4 }, () => newName("sub"));
    const paths = Array.from({ length: 12 }, (_, index) => `${dir}/${index}`);
    await Promise.all([
      ...paths.map(async (path) => {
        await make(path, [1]);
        await append(path, 2);
      }),
      ...ids.map((id) => webhook({ pattern: `${dir}/*` }, id)),
    ]);
    await Promise.all(paths.map((path) => append(path, 3)));
    for (const id of ids) {
      await vi.waitUntil(async () => Object.values(await cursors(id)).filter(([acked]: any) => acked === 3).length === paths.length, WAIT);
    }
  });
});

describe("a wake by webhook", () => {
  it("is over with `done`, and what came meanwhile makes the next one", async () => {
    const path = `${newName("dir")}/a`;
    const id = await webhook({ streams: [path] });
    await make(path, [1]);
    const first = await nthWake(id, 1);
    await append(path, 2, 3);
    await vi.waitUntil(async () => (await cursors(id))[path]?.[1] === 3, WAIT);
    expect(wakesOf(id)).toHaveLength(1);
    expect(await callback(id, first, { acks: [{ stream: path, offset: offset(1) }] })).toEqual({ status: 200, json: { ok: true, next_wake: false } });
    expect(await callback(id, first, { done: true })).toEqual({ status: 200, json: { ok: true, next_wake: true } });
    const second = await nthWake(id, 2);
    expect([second.generation, second.streams[0]?.acked_offset]).toEqual([2, offset(1)]);
    expect(second.wake_id).not.toBe(first.wake_id);
    expect((await callback(id, first, { done: true })).json.error).toEqual({ code: "FENCED" });
    answer = DONE;
    await callback(id, second, { acks: [{ stream: path, offset: offset(3) }], done: true });
    expect(await cursors(id)).toEqual({ [path]: [3, 3] });
  });

  it("is tried again under the same generation, also by an object that was started anew, and shows that it fails", async () => {
    const path = `${newName("dir")}/a`;
    answer = { status: 500, body: "" };
    const id = await webhook({ streams: [path] });
    await make(path, [1]);
    await vi.waitUntil(async () => (await call("GET", sub(id))).json.status === "failed", WAIT);
    const shown = (await call("GET", sub(id))).json;
    expect(shown.last_error).toBe("The webhook answered 500.");
    expect(Date.parse(shown.next_attempt_at) - Date.now()).toBeLessThan(1_300);
    await evictDurableObject(stub(id));
    expect((await call("GET", sub(id))).json.next_attempt_at).toBe(shown.next_attempt_at);
    answer = DONE;
    const second = await nthWake(id, 2);
    expect([second.generation, second.wake_id]).toEqual([1, wakesOf(id)[0]?.wake_id]);
    await vi.waitUntil(async () => (await call("GET", sub(id))).json.status === "active", WAIT);
    expect(await cursors(id)).toEqual({ [path]: [1, 1] });
  });

  it("that was under way when the object ended is made again", async () => {
    const path = `${newName("dir")}/a`;
    answer = "never";
    const id = await webhook({ streams: [path] });
    await make(path, [1]);
    await nthWake(id, 1);
    await runInDurableObject(stub(id), (_object, state) => state.abort("as by a kill")).catch(() => undefined);
    answer = DONE;
    await runDurableObjectAlarm(stub(id));
    expect((await nthWake(id, 2)).wake_id).toBe(wakesOf(id)[0]?.wake_id);
    await vi.waitUntil(async () => (await cursors(id))[path]?.[0] === 1, WAIT);
  });

  it("makes room for another when its lease ends without a sign of life, and not before", async () => {
    const path = `${newName("dir")}/a`;
    const id = await webhook({ streams: [path], lease_ttl_ms: 1_000 });
    await make(path, [1]);
    const first = await nthWake(id, 1);
    const startedAt = Date.now();
    for (let beat = 0; beat < 3; beat++) {
      await new Promise((resolve) => setTimeout(resolve, 500));
      expect((await callback(id, first)).status).toBe(200);
    }
    const second = await nthWake(id, 2);
    expect(Date.now() - startedAt).toBeGreaterThan(2_400);
    expect(second.generation).toBe(2);
    expect((await callback(id, first)).json.error.code).toBe("FENCED");
  });

  it("goes to no address that is not allowed any more", async () => {
    const path = `${newName("dir")}/a`;
    const id = await webhook({ streams: [path] });
    await runInDurableObject(stub(id), (_object, { storage }) => {
      const record = storage.kv.get<any>("subscription");
      storage.kv.put("subscription", { ...record, config: { ...record.config, channel: { type: "webhook", url: "https://10.0.0.1/x" } } });
    });
    await evictDurableObject(stub(id));
    await make(path, [1]);
    await vi.waitUntil(async () => /not public/.test((await call("GET", sub(id))).json.last_error ?? ""), WAIT);
    expect(wakes.filter(({ url }) => url.includes("10.0.0.1"))).toEqual([]);
  });

  it("comes for no tenant that was deleted", async () => {
    await env.DB.prepare("INSERT INTO tenants (id, name, created_at) VALUES ('ten_gone', 'gone', 0)").run();
    const body = { type: "webhook", streams: ["gone/a"], webhook: { url: "https://hooks.example.com/gone" } };
    expect((await call("PUT", sub("gone"), { body, tenant: "ten_gone" })).status).toBe(201);
    expect((await call("PUT", "gone/a", { body: [], tenant: "ten_gone" })).status).toBe(201);
    await env.DB.prepare("UPDATE tenants SET deleted_at = 1 WHERE id = 'ten_gone'").run();
    const appended = await durableStreamStub(env.DURABLE_STREAMS, "ten_gone/gone/a").append({
      contentType: "application/json", payload: { bytes: new TextEncoder().encode("1"), lengths: Uint32Array.of(1) }, seq: null, producer: null, close: false,
    });
    expect(appended.ok).toBe(true);
    await vi.waitUntil(() => runInDurableObject(stub("gone", "ten_gone"), (_object, { storage }) => storage.kv.get("subscription") === undefined), WAIT);
    expect(wakesOf("gone")).toEqual([]);
  });
});

describe("a wake to be pulled", () => {
  const claim = (id: string, worker = "w") => call("POST", `${sub(id)}/claim`, { body: { worker } });
  const settle = (id: string, claimed: Answer, verb: "ack" | "release", fields: Record<string, unknown> = {}) =>
    call("POST", `${sub(id)}/${verb}`, {
      token: claimed.json.token,
      body: { wake_id: claimed.json.wake_id, generation: claimed.json.generation, ...fields },
    });
  const eventsOf = async (wakeStream: string) => (await call("GET", wakeStream)).json;

  it("is written once a generation, claimed once, and written again after a release or a lease that ended", async () => {
    const path = `${newName("dir")}/a`;
    await make(path);
    const { id, wakeStream } = await pulled({ streams: [path], lease_ttl_ms: 1_000 });
    await append(path, 1);
    await append(path, 2);
    await vi.waitUntil(async () => (await eventsOf(wakeStream)).length === 1, WAIT);
    expect(await eventsOf(wakeStream)).toEqual([{ type: "wake", subscription_id: id, stream: path, generation: 1, ts: expect.any(Number) }]);
    const answers = await Promise.all(Array.from({ length: 8 }, (_, index) => claim(id, `w${index}`)));
    expect(answers.map(({ status }) => status).sort()).toEqual([200, ...Array(7).fill(409)]);
    const won = answers.find(({ status }) => status === 200)!;
    expect(won.json.streams[0]).toMatchObject({ acked_offset: offset(0), tail_offset: offset(2) });
    expect((await settle(id, won, "release")).status).toBe(204);
    expect((await settle(id, won, "release")).json.error.code).toBe("FENCED");
    await vi.waitUntil(async () => (await eventsOf(wakeStream)).length === 2, WAIT);
    const second = await claim(id);
    expect(second.json.generation).toBe(2);
    await vi.waitUntil(async () => (await eventsOf(wakeStream)).length === 3, WAIT);
    expect((await settle(id, second, "ack", { done: true })).json.error.code).toBe("FENCED");
    const third = await claim(id);
    expect(await settle(id, third, "ack", { acks: [{ stream: path, offset: offset(2) }], done: true })).toEqual({ status: 200, json: { ok: true, next_wake: false } });
    expect((await claim(id)).json.error).toEqual({ code: "NO_PENDING_WORK" });
  });

  it("waits for its stream to be created, and says so", async () => {
    const path = `${newName("dir")}/a`;
    const id = newName("pool");
    expect((await call("PUT", sub(id), { body: { type: "pull-wake", wake_stream: `wake/${id}`, streams: [path] } })).status).toBe(201);
    await make(path, [1]);
    await vi.waitUntil(async () => /no stream at/.test((await call("GET", sub(id))).json.last_error ?? ""), WAIT);
    await make(`wake/${id}`);
    await vi.waitUntil(async () => (await eventsOf(`wake/${id}`)).length === 1, WAIT);
    expect((await call("GET", sub(id))).json.status).toBe("active");
  });

  it("refuses acks that make no sense, and then moves no cursor at all", async () => {
    const [a, b] = [`${newName("dir")}/a`, `${newName("dir")}/b`];
    await make(a);
    const { id } = await pulled({ streams: [a] });
    await append(a, 1, 2);
    const claimed = await claim(id);
    const good = { stream: a, offset: offset(1) };
    const faults: readonly [unknown, string][] = [
      [{ stream: a, offset: "abc" }, "INVALID_OFFSET"], [{ stream: a, offset: "now" }, "INVALID_OFFSET"], [{ stream: a, offset: offset(3) }, "INVALID_OFFSET"],
      [{ stream: b, offset: offset(0) }, "INVALID_REQUEST"], [{ stream: "topics/x", offset: offset(0) }, "INVALID_REQUEST"], [{ stream: "a//b", offset: offset(0) }, "INVALID_REQUEST"],
    ];
    for (const [fault, code] of faults) {
      const refused = await settle(id, claimed, "ack", { acks: [good, fault], done: true });
      expect([fault, refused.status, refused.json.error.code]).toEqual([fault, 400, code]);
      expect(refused.json.errors[0].pointer).toMatch(/^\/acks\/1\//);
    }
    expect(await cursors(id)).toEqual({ [a]: [0, 2] });
    await settle(id, claimed, "ack", { acks: [{ stream: a, offset: offset(2) }] });
    await settle(id, claimed, "ack", { acks: [good] });
    expect(await cursors(id)).toEqual({ [a]: [2, 2] });
  });
});

describe("who may do what", () => {
  it("is fenced off by a token of another wake, subscription or tenant, and that token is good for nothing else", async () => {
    const path = `${newName("dir")}/a`;
    const [id, other] = [await webhook({ streams: [path] }), await webhook({ streams: [path] })];
    await make(path, [1]);
    const [wake, otherWake] = [await nthWake(id, 1), await nthWake(other, 1)];
    const { wake_id, generation } = wake;
    const ask = (token: string) => call("POST", `${sub(id)}/callback`, { token, body: { wake_id, generation, done: true } });
    expect((await ask(otherWake.callback_token)).status).toBe(403);
    expect((await ask(bindings.POSTERN_ADMIN_TOKEN)).json.error).toEqual({ code: "TOKEN_INVALID" });
    expect((await ask(`${wake.callback_token}A`)).status).toBe(401);
    expect((await call("POST", `${sub(id)}/callback`, { token: wake.callback_token, body: { wake_id, generation: 2 } })).json.error.code).toBe("FENCED");
    expect((await call("POST", `${sub(id)}/callback`, { token: wake.callback_token, body: { wake_id: otherWake.wake_id, generation } })).status).toBe(409);
    for (const [method, where] of [["GET", sub(id)], ["DELETE", sub(id)], ["GET", path], ["PUT", `${path}/x`]] as const) {
      expect((await call(method, where, { token: wake.callback_token })).status).toBe(403);
    }
    expect((await call("GET", path, { token: wake.callback_token, tenant: "ten_other" })).status).toBe(404);
    expect((await callback(id, wake, { done: true })).status).toBe(200);
  });

  it("cannot answer for a subscription that was deleted, nor for one that took its id", async () => {
    const path = `${newName("dir")}/a`;
    const id = await webhook({ streams: [path] });
    await make(path, [1]);
    const wake = await nthWake(id, 1);
    expect((await call("DELETE", sub(id))).status).toBe(204);
    expect(await callback(id, wake, { done: true })).toMatchObject({ status: 404, json: { error: { code: "SUBSCRIPTION_NOT_FOUND" } } });
    for (const method of ["GET", "DELETE"]) expect((await call(method, sub(id))).status).toBe(404);
    await webhook({ streams: [path] }, id);
    await append(path, 2);
    await nthWake(id, 2);
    expect((await callback(id, wake, { done: true })).json.error.code).toBe("FENCED");
    expect(await cursors(id)).toEqual({ [path]: [1, 2] });
  });

  it("is told what is wrong with a subscription", async () => {
    const id = newName("bad");
    const good = { type: "webhook", pattern: "a/*", webhook: { url: "https://example.com/x" } };
    const put = (fields: Record<string, unknown>) => call("PUT", sub(id), { body: { ...good, ...fields } });
    for (const fields of [
      { type: "other" }, { pattern: undefined }, { pattern: null, streams: [] }, { webhook: undefined }, { wake_stream: "w" }, { lease_ttl_ms: 999 },
      { lease_ttl_ms: 600_001 }, { lease_ttl_ms: 1000.5 }, { type: "pull-wake" }, { filter: {} }, { webhook: { url: 1 } }, { streams: "a" }, { description: 1 },
    ]) {
      expect([fields, await put(fields)]).toMatchObject([fields, { status: 422, json: { error: { code: "INVALID_REQUEST" } } }]);
    }
    for (const fields of [{ pattern: "topics/*" }, { pattern: "a/b*" }, { pattern: "" }, { streams: ["queues/x"] }, { streams: ["a//b"] }, { streams: ["__ds/x"] }]) {
      expect([fields, await put(fields)]).toMatchObject([fields, { status: 400 }]);
    }
    for (const url of ["http://10.0.0.1/", "https://127.0.0.1/", "https://localhost/x", "ftp://example.com/", "https://u:p@example.com/", "x", "https://metadata.google.internal/"]) {
      expect([url, (await put({ webhook: { url } })).json]).toMatchObject([url, { status: 400, error: { code: "WEBHOOK_URL_REJECTED" } }]);
    }
    await make(`${id}/text`);
    expect((await exports.default.fetch(new Request(`https://postern.test/v1/stream/${id}/plain`, {
      method: "PUT", headers: { authorization: `Bearer ${bindings.POSTERN_ADMIN_TOKEN}`, "content-type": "text/plain" },
    }))).status).toBe(201);
    expect((await put({ type: "pull-wake", webhook: null, wake_stream: `${id}/plain` })).status).toBe(409);
    expect((await call("PUT", sub("a b"), { body: good })).status).toBe(400);
    expect((await call("GET", sub(id))).status).toBe(404);
    expect((await put({})).status).toBe(201);
    expect((await put({ streams: [] })).status).toBe(200);
    for (const fields of [{ pattern: "b/*" }, { lease_ttl_ms: 1_000 }, { description: "x" }, { streams: ["z"] }, { webhook: { url: "https://example.com/y" } }]) {
      expect(await put(fields)).toMatchObject({ status: 409, json: { error: { code: "SUBSCRIPTION_ALREADY_EXISTS" } } });
    }
    expect((await call("POST", `${sub(id)}/claim`, { body: { worker: "w" } })).status).toBe(409);
    expect((await call("PATCH", sub(id), { body: {} })).status).toBe(405);
  });

  it("has a thousand subscriptions at most, and is audited", async () => {
    await env.DB.prepare("INSERT INTO tenants (id, name, created_at) VALUES ('ten_many', 'many', 0)").run();
    const directory = directoryStub(env.STREAM_DIRECTORIES, "ten_many");
    await Promise.all(Array.from({ length: 999 }, (_, index) => directory.addSubscription(`s${index}`, null)));
    const body = { type: "webhook", streams: ["a"], webhook: { url: "https://example.com/x" } };
    expect((await call("PUT", sub("last"), { body, tenant: "ten_many" })).status).toBe(201);
    expect((await call("PUT", sub("more"), { body, tenant: "ten_many" })).status).toBe(422);
    expect((await call("GET", sub("more"), { tenant: "ten_many" })).status).toBe(404);
    expect((await call("PUT", sub("last"), { body, tenant: "ten_many" })).status).toBe(200);
    expect((await call("DELETE", sub("last"), { tenant: "ten_many" })).status).toBe(204);
    expect((await call("PUT", sub("more"), { body, tenant: "ten_many" })).status).toBe(201);
    const { results } = await env.DB.prepare("SELECT action, target FROM audit WHERE tenant_id = 'ten_many' ").all();
    expect(results.map(({ action, target }) => `${action} ${target}`).sort()).toEqual([
      "stream-subscription.create last", "stream-subscription.create more", "stream-subscription.delete last",
    ]);
  });
});

describe("a tenant that is deleted", () => {
  it("takes along its stream subscriptions and their directory, and nobody is woken any more", async () => {
    const admin = async (method: string, path: string, body?: unknown) =>
      exports.default.fetch(
        new Request(`https://postern.test${path}`, {
          method,
          headers: { authorization: `Bearer ${bindings.POSTERN_ADMIN_TOKEN}`, "content-type": "application/json" },
          ...(body === undefined ? {} : { body: JSON.stringify(body) }),
        }),
      );
    const tenant = newName("leaving");
    expect((await admin("POST", "/v1/tenants", { id: tenant })).status).toBe(201);
    const ids = [newName("sub"), newName("sub")];
    for (const id of ids) {
      const body = { type: "webhook", webhook: { url: `https://hooks.example.com/${id}` }, pattern: "own/**" };
      expect((await call("PUT", sub(id), { body, tenant })).status).toBe(201);
      expect((await call("PUT", sub(id), { body })).status).toBe(201); // of the same id, and somebody else's
    }
    expect((await call("PUT", "own/one", { body: [1], tenant })).status).toBe(201);
    await nthWake(ids[1] ?? "", 1);

    expect((await admin("DELETE", `/v1/tenants/${tenant}`)).status).toBe(204);
    for (const id of ids) {
      const left = await runInDurableObject(stub(id, tenant), async (_object, { storage }) => [storage.sql.exec("SELECT name FROM sqlite_schema WHERE name = 'links'").toArray().length, [...storage.kv.list()].length, await storage.getAlarm()]);
      expect(left).toEqual([0, 0, null]);
      expect((await call("GET", sub(id))).status).toBe(200);
    }
    const listed = () =>
      runInDurableObject(env.STREAM_DIRECTORIES.getByName(tenant), (_object, { storage: { sql } }) => ["streams", "subscriptions"].map((table) => sql.exec(`SELECT * FROM ${table}`).toArray()));
    // the object that was emptied ends a moment later
    expect(await vi.waitUntil(() => listed().catch(() => null), WAIT)).toEqual([[], []]);
  });
});

describe("tokens of a few", () => {
  it("are kept from subscriptions where they are bound to an endpoint, or lack the scope; a portal session with it manages them", async () => {
    const post = async (path: string, body: unknown, token: string | null = bindings.POSTERN_ADMIN_TOKEN): Promise<any> => {
      const headers = { "content-type": "application/json", ...(token === null ? {} : { authorization: `Bearer ${token}` }) };
      const response = await exports.default.fetch(new Request(`https://postern.test/v1/${path}`, { method: "POST", headers, body: JSON.stringify(body) }));
      expect([path, response.status]).toEqual([path, 201]);
      return response.json();
    };
    const endpoint = await post("endpoints", { kind: "pull" });
    const bound = await post("tokens", { name: "bound", scopes: ["consume", "publish"], endpointId: endpoint.id });
    const { code } = await post("portal-codes", { scopes: ["read", "manage"] });
    const session = await post("portal-sessions", { code }, null);
    const { id, wakeStream } = await pulled({ streams: [newName("one")] });
    const asks = (token: string): Promise<[number, string][]> =>
      Promise.all(
        ([
          ["GET", sub(id), undefined], ["POST", `${sub(id)}/claim`, { worker: "w" }], ["POST", `${sub(id)}/streams`, { streams: ["mine"] }],
          ["DELETE", `${sub(id)}/streams/mine`, undefined], ["PUT", sub(id), { type: "pull-wake", wake_stream: wakeStream, streams: ["mine"] }],
          ["POST", `${sub(id)}/ack`, { wake_id: "w", generation: 1, done: true }], ["POST", `${sub(id)}/release`, { wake_id: "w", generation: 1 }],
        ] as const).map(async ([method, path, body]): Promise<[number, string]> => {
          const { status, json } = await call(method, path, { token, ...(body === undefined ? {} : { body }) });
          return [status, json?.type?.split("/").at(-1) ?? ""];
        }),
      );
    expect(new Set((await asks(bound.token)).map(String))).toEqual(new Set(["403,bound-token"]));
    expect((await asks(session.token)).map(([status]) => status)).toEqual([200, 403, 204, 204, 409, 403, 403]);
    expect((await call("DELETE", sub(id), { token: session.token })).status).toBe(204);
  });
});
