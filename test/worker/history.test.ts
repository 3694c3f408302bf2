import { applyD1Migrations, type D1Migration } from "cloudflare:test";
import { env, exports } from "cloudflare:workers";
import { beforeAll, describe, expect, it } from "vitest";
import { z } from "zod";
import { pruneHistory } from "../../src/storage/history-prune.ts";
import { listAttempts, openStreamsOfEndpoint } from "../../src/storage/history-read.ts";
import { addEndpoint, attempt, delivery, FAILURE, message, ofQueue, T0, TENANT, write } from "../unit/history/rows.ts";

/** What the tests' configuration binds beside what the Worker has. */
const bindings = z
  .object({ POSTERN_ADMIN_TOKEN: z.string(), TEST_MIGRATIONS: z.array(z.custom<D1Migration>()) })
  .parse(env);

const get = (path: string) =>
  exports.default.fetch(
    new Request(`https://postern.test${path}`, {
      headers: { authorization: `Bearer ${bindings.POSTERN_ADMIN_TOKEN}`, "postern-tenant": TENANT },
    }),
  );

const OFFSETS = Array.from({ length: 300 }, (_, offset) => offset);

beforeAll(async () => {
  await applyD1Migrations(env.DB, bindings.TEST_MIGRATIONS);
  await addEndpoint(env.DB, "ep_1");
  const report = {
    messages: OFFSETS.map((offset) => message(offset)),
    deliveries: OFFSETS.map((offset) => delivery(offset, "ep_1", offset % 3 === 0 ? { status: "dead", reason: "exhausted" } : {})),
    attempts: OFFSETS.map((offset) => attempt(offset, "ep_1", { responseBody: "€".repeat(1365), ...(offset % 3 === 0 ? FAILURE : {}) })),
  };
  await write(env.DB, report);
  await write(env.DB, report);
});

describe("history on D1", () => {
  it("is written in bulk, and once though reported twice", async () => {
    for (const table of ["messages", "deliveries", "attempts"]) {
      expect(await env.DB.prepare(`SELECT count(*) AS n FROM ${table}`).first("n")).toBe(OFFSETS.length);
    }
    const [newest] = await listAttempts(env.DB, TENANT, "ep_1", {}, { after: undefined, limit: 1 });
    expect(newest).toMatchObject({ offset: 299, error: null, responseBody: "€".repeat(1365) });
  });

  it("is read over HTTP: messages, deliveries with attempts, dead letters, attempts and statistics", async () => {
    expect(await (await get("/v1/messages/msg_7")).json()).toMatchObject({ offset: 7, topic: "orders.completed", attributes: { region: "eu" } });
    expect(await (await get("/v1/messages/msg_6/deliveries")).json()).toMatchObject({
      data: [{ status: "dead", reason: "exhausted", attempts: [{ statusCode: 500, error: "status: answered 500" }] }],
      next: null,
    });
    const attempts = await (await get("/v1/endpoints/ep_1/attempts?status=failed&limit=2")).json();
    expect(attempts).toMatchObject({ data: [{ messageId: "msg_297" }, { messageId: "msg_294" }] });
    const period = "since=2026-11-17T09:00:00Z&until=2026-11-17T09:05:00Z&interval=minute";
    expect(await (await get(`/v1/endpoints/ep_1/stats?${period}`)).json()).toMatchObject({
      succeeded: 200,
      failed: 100,
      durationMs: { p50: 40, p95: 40 },
      buckets: Array.from({ length: 5 }, () => ({ succeeded: 40, failed: 20 })),
    });
    expect(await (await get("/v1/stats")).json()).toMatchObject({ endpoints: { active: 1 }, deliveries: { open: 0, dead: 100 } });
  });

  it("pages through everything, each once", async () => {
    const seen: string[] = [];
    for (let cursor = ""; ; ) {
      const page = await (await get(`/v1/messages?limit=120${cursor}`)).json<{ data: { id: string }[]; next: string | null }>();
      seen.push(...page.data.map((message) => message.id));
      if (page.next === null) break;
      cursor = `&cursor=${page.next}`;
    }
    expect(seen).toEqual(OFFSETS.map((offset) => `msg_${offset}`).reverse());
  });

  it("names the streams an endpoint waits for", async () => {
    expect(await openStreamsOfEndpoint(env.DB, TENANT, "ep_1")).toEqual([]);
    await write(env.DB, { topic: "held", deliveries: [delivery(0, "ep_1", { status: "open", reason: "paused" })] });
    expect(await openStreamsOfEndpoint(env.DB, TENANT, "ep_1")).toEqual([`${TENANT}/topics/held`]);
  });

  it("is pruned by age, open deliveries excepted", async () => {
    expect(await pruneHistory(env.DB, T0 + 100_000, 10_000)).toBe(300);
    expect(await env.DB.prepare("SELECT count(*) AS n FROM deliveries").first("n")).toBe(201);
    expect(await pruneHistory(env.DB, T0 + 100_000, 10_000)).toBe(0);
  });

  it("shows an event with what its queue made of it, page by page, and the attempt also at the member", async () => {
    const mine = { id: "both", timeMs: T0 + 400_000 };
    const to = (target: string) => delivery(400, target, { messageId: "both", messageTimeMs: mine.timeMs });
    await write(env.DB, { messages: [message(400, mine)], deliveries: [to("ep_1"), to("queue:jobs")] });
    await write(env.DB, {
      ...ofQueue("jobs"),
      messages: [message(400, mine)],
      deliveries: [to("member")],
      attempts: [{ ...attempt(400, "member", {}, "ep_1"), messageId: "both" }],
    });
    type Listed = { data: { id: string; target: string; endpointId: string | null; attempts: unknown[] }[]; next: string | null };
    const first = await (await get("/v1/messages/both/deliveries?limit=2")).json<Listed>();
    const second = await (await get(`/v1/messages/both/deliveries?limit=2&cursor=${first.next}`)).json<Listed>();
    const rows = [...first.data, ...second.data];
    expect(rows.map((row) => [row.target, row.endpointId, row.attempts.length])).toEqual([
      ["queue:jobs", null, 0], ["ep_1", "ep_1", 0], ["member", "ep_1", 1],
    ]);
    expect(second.next).toBeNull();
    const { data } = await (await get("/v1/endpoints/ep_1/attempts?topic=jobs")).json<{ data: unknown[] }>();
    expect(data).toMatchObject([{ endpointId: "ep_1", messageId: "both", deliveryId: rows[2]?.id }]);
    expect(await (await get("/v1/messages/both")).json()).toMatchObject({ topic: "orders.completed" });
  });
});
