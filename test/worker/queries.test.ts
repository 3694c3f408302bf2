import { applyD1Migrations, type D1Migration, evictDurableObject, runDurableObjectAlarm, runInDurableObject } from "cloudflare:test";
import { env, exports } from "cloudflare:workers";
import { beforeAll, describe, expect, it } from "vitest";
import { z } from "zod";
import { answerQuery } from "../../src/queries/answer-query.ts";
import { ask, type AskWorld } from "../../src/queries/ask.ts";
import { rendezvousName, rendezvousStub } from "../../src/queries/contract.ts";
import { writeHistory } from "../../src/storage/history-write.ts";
import { MessagePacker } from "../../src/storage/message-pack.ts";

/** What the tests' configuration binds beside what the Worker has. */
const bindings = z
  .object({ POSTERN_ADMIN_TOKEN: z.string(), TEST_MIGRATIONS: z.array(z.custom<D1Migration>()) })
  .parse(env);

const LONG_MS = 60_000;
const TIMED_OUT = { ok: false, code: "timed-out" };

let made = 0;
/** A query of its own for each test: its message id, the object it meets its answer in, and what that does with it. */
function newQuery() {
  const messageId = `msg_worker_${made++}`;
  const name = rendezvousName("default", messageId);
  const stub = rendezvousStub(env.RENDEZVOUS, name);
  return {
    messageId,
    object: env.RENDEZVOUS.getByName(name),
    rendezvous: {
      open: (deadlineMs: number) => stub.open(messageId, deadlineMs),
      wait: (waiter: string, untilMs: number) => stub.wait(messageId, waiter, untilMs),
      leave: (waiter: string) => stub.leave(messageId, waiter),
    },
  };
}

function answer(text: string) {
  return { contentType: "text/plain", body: new TextEncoder().encode(text) };
}

function textOf(waited: Awaited<ReturnType<ReturnType<typeof newQuery>["rendezvous"]["wait"]>>): string {
  return waited.ok ? new TextDecoder().decode(waited.answer.body) : waited.code;
}

beforeAll(() => applyD1Migrations(env.DB, bindings.TEST_MIGRATIONS));

describe("the rendezvous of a query", () => {
  it("gives the answer to who waits, and to who comes after it", async () => {
    const { messageId, rendezvous } = newQuery();
    const untilMs = Date.now() + LONG_MS;
    await rendezvous.open(untilMs);
    const waiting = rendezvous.wait("a", untilMs);
    expect(await answerQuery(env, "default", messageId, answer("42"))).toEqual({ ok: true });
    expect(textOf(await waiting)).toBe("42");
    expect(textOf(await rendezvous.wait("b", untilMs))).toBe("42");
  });

  it("passes bytes on as they are", async () => {
    const { messageId, rendezvous } = newQuery();
    const body = crypto.getRandomValues(new Uint8Array(65_536));
    const large = new Uint8Array(1024 * 1024);
    for (let at = 0; at < large.length; at += body.length) large.set(body, at);
    await rendezvous.open(Date.now() + LONG_MS);
    await answerQuery(env, "default", messageId, { contentType: "application/x-odd", body: large });
    const waited = await rendezvous.wait("a", Date.now() + LONG_MS);
    expect(waited).toMatchObject({ ok: true, answer: { contentType: "application/x-odd" } });
    expect(waited.ok && waited.answer.body.every((byte, index) => byte === large[index])).toBe(true);
  });

  it("takes one answer, and says so to the second", async () => {
    const { messageId, rendezvous } = newQuery();
    await rendezvous.open(Date.now() + LONG_MS);
    const results = await Promise.all(["one", "two", "three"].map((text) => answerQuery(env, "default", messageId, answer(text))));
    expect(results.filter(({ ok }) => ok)).toHaveLength(1);
    expect(results.filter((result) => !result.ok && result.code === "answered")).toHaveLength(2);
    expect(textOf(await rendezvous.wait("a", Date.now() + LONG_MS))).toBe(["one", "two", "three"][results.findIndex(({ ok }) => ok)]);
  });

  it("drops what comes after the deadline, and says so, every time", async () => {
    const { messageId, rendezvous } = newQuery();
    const untilMs = Date.now() + 100;
    await rendezvous.open(untilMs);
    expect(await rendezvous.wait("a", untilMs)).toEqual(TIMED_OUT);
    expect(Date.now()).toBeGreaterThanOrEqual(untilMs - 5);
    expect(await answerQuery(env, "default", messageId, answer("late"))).toEqual({ ok: false, code: "late" });
    expect(await answerQuery(env, "default", messageId, answer("later"))).toEqual({ ok: false, code: "late" });
    expect(await rendezvous.wait("a", untilMs)).toEqual(TIMED_OUT);
  });

  it("knows no query that nobody asked, nor another tenant's", async () => {
    const { messageId, rendezvous } = newQuery();
    expect(await answerQuery(env, "default", messageId, answer("x"))).toEqual({ ok: false, code: "not-a-query" });
    expect(await rendezvous.wait("a", Date.now() + LONG_MS)).toEqual(TIMED_OUT);
    await rendezvous.open(Date.now() + LONG_MS);
    expect(await answerQuery(env, "acme", messageId, answer("x"))).toEqual({ ok: false, code: "not-a-query" });
  });

  it("ends the wait of a caller who leaves, after which an answer comes too late", async () => {
    const { messageId, rendezvous } = newQuery();
    const untilMs = Date.now() + LONG_MS;
    await rendezvous.open(untilMs);
    const waits = ["a", "b"].map((waiter) => rendezvous.wait(waiter, untilMs));
    await rendezvous.leave("a");
    expect(await waits[0]).toEqual(TIMED_OUT);
    await rendezvous.leave("b");
    expect(await waits[1]).toEqual(TIMED_OUT);
    expect(await answerQuery(env, "default", messageId, answer("x"))).toEqual({ ok: false, code: "late" });
  });

  it("still answers the one of two callers who stays", async () => {
    const { messageId, rendezvous } = newQuery();
    const untilMs = Date.now() + LONG_MS;
    await rendezvous.open(untilMs);
    const stays = rendezvous.wait("stays", untilMs);
    const leaves = rendezvous.wait("leaves", untilMs);
    await rendezvous.leave("leaves");
    expect(await leaves).toEqual(TIMED_OUT);
    expect(await answerQuery(env, "default", messageId, answer("42"))).toEqual({ ok: true });
    expect(textOf(await stays)).toBe("42");
  });

  it("has new time for an answer when it is asked again after its time was over", async () => {
    const { messageId, rendezvous } = newQuery();
    await rendezvous.open(Date.now() - 1);
    expect(await answerQuery(env, "default", messageId, answer("x"))).toEqual({ ok: false, code: "late" });
    await rendezvous.open(Date.now() + LONG_MS);
    expect(await answerQuery(env, "default", messageId, answer("42"))).toEqual({ ok: true });
    await rendezvous.open(Date.now() + 2 * LONG_MS);
    expect(textOf(await rendezvous.wait("a", Date.now() + LONG_MS))).toBe("42");
  });

  it("survives being evicted before the answer, and after it", async () => {
    const { messageId, object, rendezvous } = newQuery();
    await rendezvous.open(Date.now() + LONG_MS);
    await evictDurableObject(object);
    expect(await answerQuery(env, "default", messageId, answer("42"))).toEqual({ ok: true });
    await evictDurableObject(object);
    expect(await answerQuery(env, "default", messageId, answer("43"))).toEqual({ ok: false, code: "answered" });
    expect(textOf(await rendezvous.wait("a", Date.now() + LONG_MS))).toBe("42");
  });

  it("forgets what is long over, and nothing else", async () => {
    const { messageId, object, rendezvous } = newQuery();
    // of the same object, whichever that is
    let other = newQuery();
    while (other.object.id.toString() !== object.id.toString()) other = newQuery();
    await rendezvous.open(Date.now() - 11 * 60_000);
    await other.rendezvous.open(Date.now() - 9 * 60_000);
    const alarmAtMs = await runInDurableObject(object, (_instance, state) => state.storage.getAlarm());
    expect(alarmAtMs).not.toBeNull();
    expect(await runDurableObjectAlarm(object)).toBe(true);
    expect(await answerQuery(env, "default", messageId, answer("x"))).toEqual({ ok: false, code: "not-a-query" });
    expect(await answerQuery(env, "default", other.messageId, answer("x"))).toEqual({ ok: false, code: "late" });
    expect(await runInDurableObject(object, (_instance, state) => state.storage.getAlarm())).not.toBeNull();
  });

  it("sweeps no more when nothing is left", async () => {
    const name = rendezvousName("ten_quiet", "msg_1");
    await rendezvousStub(env.RENDEZVOUS, name).open("msg_1", Date.now() - 11 * 60_000);
    const object = env.RENDEZVOUS.getByName(name);
    expect(await runDurableObjectAlarm(object)).toBe(true);
    expect(await runDurableObjectAlarm(object)).toBe(false);
    await rendezvousStub(env.RENDEZVOUS, name).open("msg_1", Date.now() + LONG_MS);
    expect(await runInDurableObject(object, (_instance, state) => state.storage.getAlarm())).not.toBeNull();
  });
});

describe("asking", () => {
  const pause = (ms: number) => new Promise<void>((resolve) => setTimeout(resolve, ms));
  const rendezvous = (name: string) => rendezvousStub(env.RENDEZVOUS, name);

  /** A queue's stream whose member does this with what is appended. */
  const worldWith = (work: (messageId: string) => Promise<unknown>): AskWorld => ({
    append: async (_stream, appends) => {
      for (const { message } of appends) await work(message.id);
      return { ok: true, appended: appends.map(({ message: { id } }) => ({ id, offset: 0, timeMs: 0, matched: 1, duplicate: false })) };
    },
    rendezvous,
    now: () => Date.now(),
    pause,
    waitUntil: (promise) => void promise,
  });
  const queryOf = (id: string, waitMs: number) => ({
    id, deduplicate: false, contentType: "text/plain", attributes: {}, traceparent: "", body: new Uint8Array(), method: "run", answerByMs: Date.now() + waitMs,
  });
  const stays = new AbortController().signal;

  it("gets an answer that is there before the append has even answered", async () => {
    const { messageId } = newQuery();
    const world = worldWith((id) => answerQuery(env, "default", id, answer("quick")));
    const asked = await ask(world, "default", "jobs", queryOf(messageId, LONG_MS), stays);
    expect(asked).toMatchObject({ ok: true, answer: answer("quick") });
  });

  it("waits again when the rendezvous restarts under it", async () => {
    const { messageId, object } = newQuery();
    const world = worldWith(async () => undefined);
    const waits: string[] = [];
    const seen: AskWorld = {
      ...world,
      rendezvous: (name) => {
        const stub = rendezvous(name);
        return {
          open: (id, ms) => stub.open(id, ms),
          leave: (id, waiter) => stub.leave(id, waiter),
          answer: (id, given) => stub.answer(id, given),
          wait: (id, waiter, ms) => {
            waits.push(waiter);
            return stub.wait(id, waiter, ms);
          },
        };
      },
    };
    const asking = ask(seen, "default", "jobs", queryOf(messageId, LONG_MS), stays);
    while (waits.length === 0) await pause(5);
    await runInDurableObject(object, (_instance, state) => state.abort("restarted by the test")).catch(() => undefined);
    while (waits.length < 2) await pause(5);
    expect(await answerQuery(env, "default", messageId, answer("42"))).toEqual({ ok: true });
    expect(await asking).toMatchObject({ ok: true, answer: answer("42") });
    expect(new Set(waits).size).toBe(1);
  });

  it("is told when the time is over", async () => {
    const { messageId } = newQuery();
    const world = worldWith(async () => undefined);
    expect(await ask(world, "default", "jobs", queryOf(messageId, 100), stays)).toEqual(TIMED_OUT);
    expect(await answerQuery(env, "default", messageId, answer("late"))).toEqual({ ok: false, code: "late" });
  });

  it("gives two callers at once each their own answer", async () => {
    const world = worldWith((id) => answerQuery(env, "default", id, answer(`for ${id}`)));
    const ids = Array.from({ length: 20 }, () => newQuery().messageId);
    const answers = await Promise.all(ids.map((id) => ask(world, "default", "jobs", queryOf(id, LONG_MS), stays)));
    expect(answers).toMatchObject(ids.map((id) => ({ ok: true, answer: answer(`for ${id}`) })));
  });
});

describe("POST /v1/messages/{id}/reply", () => {
  const reply = (messageId: string, body: BodyInit, tenant = "default") =>
    exports.default.fetch(
      new Request(`https://postern.test/v1/messages/${messageId}/reply`, {
        method: "POST",
        headers: { authorization: `Bearer ${bindings.POSTERN_ADMIN_TOKEN}`, "postern-tenant": tenant, "content-type": "application/json" },
        body,
      }),
    );

  it("takes the answer to the caller once, and tells a second, a late and a stray one what they are", async () => {
    const { messageId, rendezvous } = newQuery();
    await rendezvous.open(Date.now() + LONG_MS);
    const error = '{"error":"no stock","code":"OUT","params":{"sku":7.0}}';
    expect((await reply(messageId, error)).status).toBe(202);
    expect(textOf(await rendezvous.wait("a", Date.now() + LONG_MS))).toBe(error);
    const second = await reply(messageId, error);
    expect([second.status, await second.json()]).toMatchObject([409, { type: expect.stringMatching(/conflict$/) }]);

    const late = newQuery();
    await late.rendezvous.open(Date.now() - 1);
    const tooLate = await reply(late.messageId, "{}");
    expect([tooLate.status, await tooLate.json()]).toMatchObject([410, { type: expect.stringMatching(/gone$/), detail: expect.stringContaining("too late") }]);

    expect((await reply(newQuery().messageId, "{}")).status).toBe(404);
  });

  it("shows another tenant's query as a message that does not exist", async () => {
    await env.DB.prepare("INSERT INTO tenants (id, name, created_at) VALUES ('ten_other', 'other', 0)").run();
    const { messageId, rendezvous } = newQuery();
    await rendezvous.open(Date.now() + LONG_MS);
    expect((await reply(messageId, "{}", "ten_other")).status).toBe(404);
    expect((await reply(messageId, "{}")).status).toBe(202);
  });

  it("is refused where the message is there but was no query", async () => {
    const packer = new MessagePacker();
    packer.add({ id: "msg_a_command", contentType: "text/plain", size: 0, matched: 1, endpointIds: ["member"] }, 0, 1);
    const { packs: messages, ids } = packer.finish();
    const none = { beganAtMs: null, replaces: false, deliveries: [], attempts: [] };
    await writeHistory(env.DB, { tenantId: "default", stream: "default/queues/jobs", topic: "jobs", messages, ids, ...none });
    expect((await reply("msg_a_command", "{}")).status).toBe(409);
  });
});
