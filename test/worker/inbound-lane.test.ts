import { applyD1Migrations, createExecutionContext, type D1Migration, waitOnExecutionContext } from "cloudflare:test";
import { env } from "cloudflare:workers";
import { beforeAll, describe, expect, it, vi } from "vitest";
import { z } from "zod";
import { createApp } from "../../src/http/app.ts";
import { inboundLane } from "../../src/http/inbound-lane.ts";

const bindings = z
  .object({ POSTERN_ADMIN_TOKEN: z.string(), TEST_MIGRATIONS: z.array(z.custom<D1Migration>()) })
  .parse(env);

type Asked = { readonly method?: string; readonly path: string; readonly headers?: Readonly<Record<string, string>>; readonly body?: string; readonly bindings?: Partial<Cloudflare.Env> };
type Answer = { readonly status: number; readonly headers: Readonly<Record<string, string>>; readonly json: any };

const app = createApp();
const SECRET = "It's a Secret to Everybody";
let count = 0;

function requestOf({ method = "POST", path, headers = {}, body = "" }: Asked): Request {
  const sent = { "x-request-id": "the-same-request", "content-length": String(new TextEncoder().encode(body).length), ...headers };
  return new Request(`https://postern.test${path}`, { method, headers: sent, ...(method === "GET" ? {} : { body }) });
}

async function read(response: Response): Promise<Answer> {
  const text = await response.text();
  return { status: response.status, headers: Object.fromEntries(response.headers), json: text === "" ? undefined : JSON.parse(text) };
}

async function byRoute(asked: Asked): Promise<Answer> {
  const ctx = createExecutionContext();
  const answer = await read(await app.fetch(requestOf(asked), { ...env, ...asked.bindings }, ctx));
  await waitOnExecutionContext(ctx);
  return answer;
}

/** Null where the lane leaves a request to the route. */
async function byLane(asked: Asked): Promise<Answer | null> {
  const ctx = createExecutionContext();
  const answering = inboundLane(requestOf(asked), { ...env, ...asked.bindings }, ctx);
  const answer = answering === null ? null : await read(await answering);
  await waitOnExecutionContext(ctx);
  return answer;
}

async function manage(path: string, body: unknown, method = "POST", tenant = "default"): Promise<Answer> {
  const headers = { authorization: `Bearer ${bindings.POSTERN_ADMIN_TOKEN}`, "content-type": "application/json", "postern-tenant": tenant };
  return byRoute({ method, path, headers, body: JSON.stringify(body) });
}

async function makeSource(tenant = "default"): Promise<{ id: string; path: string }> {
  const { status, json } = await manage("/v1/sources", { kind: "github", topic: "lane.in", secret: SECRET }, "POST", tenant);
  expect(status).toBe(201);
  return { id: json.id, path: `/in/${json.id}` };
}

async function signed(body: string, headers: Readonly<Record<string, string>> = {}): Promise<Pick<Asked, "headers" | "body">> {
  const key = await crypto.subtle.importKey("raw", new TextEncoder().encode(SECRET), { name: "HMAC", hash: "SHA-256" }, false, ["sign"]);
  const signature = new Uint8Array(await crypto.subtle.sign("HMAC", key, new TextEncoder().encode(body)));
  const delivery = `72d3162e-cc78-11e3-81ab-${String(count++).padStart(12, "0")}`;
  return {
    body,
    headers: {
      "content-type": "application/json", "x-github-event": "push", "x-github-delivery": delivery,
      "x-hub-signature-256": `sha256=${signature.toHex()}`, ...headers,
    },
  };
}

/** An answer without what differs from one message to the next. */
function comparable({ status, headers, json }: Answer): unknown {
  const { id, time, offset, ...rest } = json;
  const { ratelimit, ...others } = headers;
  return { status, headers: { ...others, ratelimit: ratelimit?.replace(/r=\d+/, "r=n") }, json: { ...rest, id: typeof id, time: typeof time, offset: typeof offset } };
}

/** The route first, which then knows the source; again where the second ends between the two. */
async function compare(source: { path: string }, ask: () => Promise<Partial<Asked>>, status: number): Promise<void> {
  await vi.waitFor(async () => {
    const route = await byRoute({ path: source.path, ...(await ask()) });
    expect([route.status, route.json]).toEqual([status, expect.anything()]);
    const lane = await byLane({ path: source.path, ...(await ask()) });
    expect(lane).not.toBeNull();
    if (lane !== null) expect(comparable(lane)).toEqual(comparable(route));
  }, { timeout: 10_000, interval: 20 });
}

const streams = (append: () => Promise<unknown>): Partial<Cloudflare.Env> => ({ STREAMS: { getByName: () => ({ append }) } as unknown as Cloudflare.Env["STREAMS"] });

beforeAll(async () => {
  await applyD1Migrations(env.DB, bindings.TEST_MIGRATIONS);
});

describe("what a sender pushes, answered before the framework", { timeout: 30_000 }, () => {
  const same: Readonly<Record<string, { readonly status: number; readonly ask: () => Promise<Partial<Asked>> }>> = {
    "a signed push": { status: 200, ask: () => signed('{"a":1}') },
    "a push whose signature is another's": { status: 403, ask: async () => ({ ...(await signed('{"a":1}')), body: '{"a":2}' }) },
    "a push without a signature": { status: 403, ask: async () => ({ body: "{}" }) },
    "a ping": { status: 200, ask: () => signed('{"zen":"x"}', { "x-github-event": "ping" }) },
    "a push that is too large": { status: 413, ask: () => signed("x".repeat(1024 * 1024 + 1)) },
    "a stream that has no room": { status: 503, ask: async () => ({ ...(await signed("{}")), bindings: streams(async () => ({ ok: false, code: "overloaded", retryAfterSeconds: 3 })) }) },
    "a stream that does not answer": { status: 503, ask: async () => ({ ...(await signed("{}")), bindings: streams(async () => { throw new Error("no answer"); }) }) },
  };
  for (const [name, { ask, status }] of Object.entries(same)) {
    it(`is answered as the route answers: ${name}`, async () => compare(await makeSource(), ask, status));
  }

  it("commits it as an event, once", async () => {
    const { path } = await makeSource();
    const push = await signed('{"once":true}');
    const first = await byRoute({ path, ...push });
    const again = await byLane({ path, ...push });
    expect(again?.json).toMatchObject({ id: first.json.id, offset: first.json.offset, topic: "lane.in" });
  });

  it("is left to the route as long as nobody knows the source", async () => {
    const { path } = await makeSource();
    expect(await byLane({ path, ...(await signed("{}")) })).toBeNull();
    expect(await byLane({ path: "/in/src_nobody", ...(await signed("{}")) })).toBeNull();
    expect(await byLane({ path, method: "GET" })).toBeNull();
    expect(await byLane({ path: `${path}?x=1`, ...(await signed("{}")) })).toBeNull();
    expect(await byLane({ path: path.replace("/in/", "/in/%73"), ...(await signed("{}")) })).toBeNull();
  });

  it("keeps to what the tenant may: the size and the number of its messages", async () => {
    expect((await manage("/v1/tenants", { id: "lane-in", limits: { payloadBytes: 100, publishPerSecond: 1 } })).status).toBe(201);
    const source = await makeSource("lane-in");
    await compare(source, () => signed(`"${"x".repeat(100)}"`), 413);
    const push = async (): Promise<Answer | null> => byLane({ path: source.path, ...(await signed("{}")) });
    const limited = await vi.waitUntil(async () => {
      await byRoute({ path: source.path, ...(await signed("{}")) });
      const answer = await push();
      return answer?.status === 429 ? answer : null;
    }, { timeout: 10_000, interval: 20 });
    expect(limited.headers).toMatchObject({ "ratelimit-policy": '"publish";q=1;w=1', "retry-after": "1" });
  });

  it("ends within a second of a suspension, and of a deletion", async () => {
    expect((await manage("/v1/tenants", { id: "lane-out" })).status).toBe(201);
    const source = await makeSource("lane-out");
    const ask = async (): Promise<Asked> => ({ path: source.path, ...(await signed("{}")) });
    expect((await byRoute(await ask())).status).toBe(200);
    expect((await manage("/v1/tenants/lane-out/suspend", {})).status).toBe(200);
    await new Promise((resolve) => setTimeout(resolve, 1_000));
    expect(await byLane(await ask())).toBeNull();
    expect((await byRoute(await ask())).status).toBe(503);
    expect((await manage("/v1/tenants/lane-out/resume", {})).status).toBe(200);
    expect((await manage(`/v1/sources/${source.id}`, undefined, "DELETE", "lane-out")).status).toBe(204);
    await new Promise((resolve) => setTimeout(resolve, 1_000));
    expect(await byLane(await ask())).toBeNull();
    expect((await byRoute(await ask())).status).toBe(404);
  });
});
