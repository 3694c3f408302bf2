import { applyD1Migrations, type D1Migration } from "cloudflare:test";
import { env, exports } from "cloudflare:workers";
import { afterEach, beforeAll, describe, expect, it, vi } from "vitest";
import { z } from "zod";
import { parseConfig } from "../../src/config.ts";
import { untilCachesExpired } from "../../src/delivery/freshness.ts";
import { isolateOf } from "../../src/isolate.ts";
import { boxOfQueue } from "../../src/mailbox/box-of.ts";
import type { Mailbox } from "../../src/mailbox/mailbox.ts";
import { openMailbox } from "../../src/mailbox/open-mailbox.ts";
import { maintain } from "../../src/maintenance.ts";
import { findEndpoint, setEndpointHealth } from "../../src/storage/endpoints.ts";
import { listPushedQueues } from "../../src/storage/queues.ts";
import { streamStub } from "../../src/streams/stub.ts";

/** What the tests' configuration binds beside what the Worker has. */
const bindings = z
  .object({ POSTERN_ADMIN_TOKEN: z.string(), TEST_MIGRATIONS: z.array(z.custom<D1Migration>()) })
  .parse(env);
const WAIT = { timeout: 5_000, interval: 25 };
const FIVE_DAYS_MS = 5 * 24 * 60 * 60 * 1000;
const SETTINGS = { maxReceives: 5, retentionSeconds: 1_209_600 };

async function createMember(queue: string, fields: Record<string, unknown> = {}): Promise<string> {
  const body = { kind: "push", url: "https://hooks.example.com/in", queue, retrySchedule: [3_600], ...fields };
  const response = await exports.default.fetch(
    new Request("http://gateway.test/v1/endpoints", {
      method: "POST",
      headers: { authorization: `Bearer ${bindings.POSTERN_ADMIN_TOKEN}`, "content-type": "application/json" },
      body: JSON.stringify(body),
    }),
  );
  const json: unknown = await response.json();
  expect({ status: response.status, json }).toMatchObject({ status: 201 });
  return z.object({ id: z.string() }).parse(json).id;
}

function mailbox(): Mailbox {
  return openMailbox(env, parseConfig(env));
}

/** What waits is let flow once more when a member came a second ago: after this, that is not what the tests see. */
const untilReleased = (): Promise<void> => untilCachesExpired(Date.now() + 500);

const boxOf = (name: string) => boxOfQueue({ tenantId: "default", name, ...SETTINGS });

async function depthOf(name: string): Promise<number> {
  const depth = await mailbox().depth(boxOf(name));
  return depth.ok ? depth.visible : Number.NaN;
}

/** A command to the queue, as a publisher's request appends it; its id. */
async function append(queue: string): Promise<string> {
  const stream = `default/queues/${queue}`;
  const message = {
    id: `msg_${crypto.randomUUID()}`,
    deduplicate: false,
    contentType: "text/plain",
    attributes: {},
    traceparent: "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
    body: new Uint8Array(),
    method: "run",
  };
  expect(await streamStub(env.STREAMS, stream).append(stream, [{ message, endpointIds: ["member"] }])).toMatchObject({ ok: true });
  return message.id;
}

/** Answers every push so; the ids of what was pushed. */
function answerPushes(status: number): string[] {
  const ids: string[] = [];
  vi.spyOn(globalThis, "fetch").mockImplementation(async (_input, init) => {
    ids.push(new Headers(init?.headers).get("webhook-id") ?? "");
    return new Response(null, { status });
  });
  return ids;
}

beforeAll(async () => {
  await applyD1Migrations(env.DB, bindings.TEST_MIGRATIONS);
});

afterEach(() => {
  vi.restoreAllMocks();
});

describe("what is in the mailbox of a queue with push members", () => {
  it("is pushed by the cron", async () => {
    const pushed = answerPushes(204);
    await createMember("stranded");
    await untilReleased();
    const id = await append("stranded");
    await vi.waitFor(() => expect(pushed).toEqual([id]), WAIT);
    // As a send does that ends long after the first member has come.
    const late = { id, topic: "stranded/run", stream: "default/queues/stranded", offset: 0, timeMs: Date.now(), contentType: "text/plain", attributes: {}, body: new Uint8Array() };
    expect(await mailbox().send(boxOf("stranded"), [late])).toEqual([{ ok: true }]);
    await maintain(env, isolateOf(env), Date.now());
    await vi.waitFor(() => expect(pushed).toEqual([id, id]), WAIT);
    expect(await depthOf("stranded")).toBe(0);
  });

  it("is looked for in some queues a run, turn after turn in all that have an active push member, and in no other", async () => {
    for (const name of ["turn-a", "turn-b", "turn-c"]) await createMember(name);
    await createMember("turn-b");
    await createMember("turn-pulled", { kind: "pull", url: null, retrySchedule: undefined });
    const paused = await createMember("turn-paused");
    await env.DB.prepare("UPDATE endpoints SET status = 'paused' WHERE id = ?").bind(paused).run();
    const looked: string[][] = [];
    for (let turn = 7; turn < 11; turn++) {
      looked.push((await listPushedQueues(env.DB, { limit: 3, turn })).map(({ name }) => name));
    }
    const [first, second] = looked;
    expect(looked).toEqual([first, second, first, second]);
    expect(looked.slice(0, 2).flat().sort()).toEqual(["stranded", "turn-a", "turn-b", "turn-c"]);
    expect(await listPushedQueues(env.DB, { limit: 10, turn: 5 })).toContainEqual({ tenantId: "default", name: "turn-a", ...SETTINGS });
  });
});

describe("a queue whose last push member has failed for five days", () => {
  it("has what waits for it in its mailbox at once, and not after the member's schedule", async () => {
    answerPushes(500);
    const id = await createMember("five-days");
    await untilReleased();
    await append("five-days");
    await vi.waitFor(async () => expect((await findEndpoint(env.DB, "default", id))?.failing_since).not.toBeNull(), WAIT);
    await env.DB.prepare("UPDATE endpoints SET failing_since = NULL WHERE id = ?").bind(id).run();
    await setEndpointHealth(env.DB, id, Date.now() - FIVE_DAYS_MS - 1_000);
    await untilCachesExpired(Date.now());
    expect(await depthOf("five-days")).toBe(0);
    await append("five-days");
    await vi.waitFor(async () => expect(await depthOf("five-days")).toBe(2), WAIT);
    expect(await findEndpoint(env.DB, "default", id)).toMatchObject({ status: "disabled", disabled_reason: expect.stringMatching(/^Nothing but failures since/) });
  });
});
