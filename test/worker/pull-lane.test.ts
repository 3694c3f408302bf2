import { applyD1Migrations, createExecutionContext, type D1Migration, waitOnExecutionContext } from "cloudflare:test";
import { env } from "cloudflare:workers";
import { beforeAll, describe, expect, it, vi } from "vitest";
import { z } from "zod";
import { createApp } from "../../src/http/app.ts";
import { knownCaller } from "../../src/http/callers.ts";
import { pullLane } from "../../src/http/pull-lane.ts";

const bindings = z
  .object({ POSTERN_ADMIN_TOKEN: z.string(), TEST_MIGRATIONS: z.array(z.custom<D1Migration>()) })
  .parse(env);

type Asked = { readonly method?: string; readonly path: string; readonly headers?: Readonly<Record<string, string>>; readonly body?: string | Uint8Array<ArrayBuffer>; readonly token?: string };
type Answer = { readonly status: number; readonly headers: Readonly<Record<string, string>>; readonly json: any };

const app = createApp();
const WAIT = { timeout: 10_000, interval: 20 };
let queues = 0;

function requestOf({ method = "GET", path, headers = {}, body, token = bindings.POSTERN_ADMIN_TOKEN }: Asked): Request {
  const bytes = typeof body === "string" ? new TextEncoder().encode(body) : body;
  const general = { authorization: `Bearer ${token}`, "x-request-id": "the-same-request" };
  const ofBody = bytes === undefined ? {} : { "content-type": "application/json", "content-length": String(bytes.length) };
  return new Request(`https://postern.test${path}`, { method, headers: { ...general, ...ofBody, ...headers }, ...(bytes === undefined ? {} : { body: bytes }) });
}

async function read(response: Response): Promise<Answer> {
  const text = await response.text();
  return { status: response.status, headers: Object.fromEntries(response.headers), json: text.trim() === "" ? undefined : JSON.parse(text) };
}

async function byRoute(asked: Asked): Promise<Answer> {
  const ctx = createExecutionContext();
  const answer = await read(await app.fetch(requestOf(asked), env, ctx));
  await waitOnExecutionContext(ctx);
  return answer;
}

/** Null where the lane leaves a request to the route; `left` where it does so after it has read the body. */
async function byLane(asked: Asked): Promise<(Answer & { readonly left: boolean }) | null> {
  const ctx = createExecutionContext();
  let left = false;
  const framework = {
    fetch: (request: Request, ...rest: [Cloudflare.Env, ExecutionContext]) => {
      left = true;
      return app.fetch(request, ...rest);
    },
  };
  const answering = pullLane(requestOf(asked), env, ctx, framework);
  const answer = answering === null ? null : await read(await answering);
  await waitOnExecutionContext(ctx);
  return answer === null ? null : { ...answer, left };
}

async function manage(method: string, path: string, body: unknown, headers = {}): Promise<Answer> {
  return byRoute({ method, path, headers, body: JSON.stringify(body) });
}

async function makeQueue(messages: number): Promise<string> {
  const name = `lane-${queues++}`;
  expect((await manage("PUT", `/v1/queues/${name}`, {})).status).toBe(201);
  for (let sent = 0; sent < messages; sent++) {
    expect((await byRoute({ method: "POST", path: `/v1/commands/${name}/run`, body: JSON.stringify({ sent }) })).status).toBe(202);
  }
  await vi.waitUntil(async () => (await byRoute({ path: `/v1/queues/${name}` })).json.depth === messages, WAIT);
  return name;
}

/** An answer without what differs from one message, or one receive, to the next. */
function comparable({ status, headers, json }: Answer): unknown {
  const messages = json?.messages?.map(({ id, offset, time, receipt, data, ...rest }: Record<string, unknown>) => ({ ...rest, has: [id, offset, time, receipt, data].map((one) => typeof one) }));
  const { ratelimit, ...others } = headers;
  return { status, headers: { ...others, ratelimit: ratelimit?.replace(/r=\d+/, "r=n") }, json: messages === undefined ? json : { messages } };
}

/** By the route, which then knows who asks; and by the lane, which answers the same. Again where the second ends between. */
async function compare(asked: Asked, status: number): Promise<void> {
  await vi.waitFor(async () => {
    const route = await byRoute(asked);
    expect(route.status).toBe(status);
    await byRoute({ path: "/v1/endpoints?limit=1" }); // where the route's answer took a second, its caller is known anew
    const lane = await byLane(asked);
    expect(lane).not.toBeNull();
    if (lane !== null) expect(comparable(lane)).toEqual(comparable(route));
  }, WAIT);
}

beforeAll(async () => {
  await applyD1Migrations(env.DB, bindings.TEST_MIGRATIONS);
});

describe("a pull that is answered before the framework", { timeout: 30_000 }, () => {
  it("gives what the route gives, and takes its receipts as the route does", async () => {
    const name = await makeQueue(4);
    await compare({ path: `/v1/queues/${name}/messages?max=1` }, 200);
    const taken = await vi.waitUntil(() => byLane({ path: `/v1/queues/${name}/messages?max=1` }), WAIT);
    expect(taken.json.messages).toHaveLength(1);
    const ack = { method: "POST", path: `/v1/queues/${name}/ack`, body: JSON.stringify({ receipts: [taken.json.messages[0].receipt] }) };
    await byRoute({ path: `/v1/queues/${name}` });
    expect((await byLane(ack))?.json).toEqual({ results: [{ receipt: taken.json.messages[0].receipt, ok: true }] });
    expect((await byRoute({ path: `/v1/queues/${name}` })).json.depth).toBe(3);
    await compare(ack, 200); // stale by now, in either way
  });

  const same: Readonly<Record<string, { readonly asked: (queue: string) => Asked; readonly status: number }>> = {
    "an empty queue": { asked: (queue) => ({ path: `/v1/queues/${queue}/messages` }), status: 200 },
    "an empty queue, with a wait": { asked: (queue) => ({ path: `/v1/queues/${queue}/messages?wait=1` }), status: 200 },
    "a queue that there is not": { asked: () => ({ path: "/v1/queues/nobody/messages" }), status: 404 },
    "an endpoint that there is not": { asked: () => ({ path: "/v1/endpoints/ep_nobody/messages" }), status: 404 },
    "a receipt that is none": { asked: (queue) => ({ method: "POST", path: `/v1/queues/${queue}/ack`, body: '{"receipts":["x"]}' }), status: 200 },
    "no receipts": { asked: (queue) => ({ method: "POST", path: `/v1/queues/${queue}/ack`, body: '{"receipts":[]}' }), status: 422 },
    "a body that is no JSON": { asked: (queue) => ({ method: "POST", path: `/v1/queues/${queue}/ack`, body: "{" }), status: 400 },
    "a body with a key twice": { asked: (queue) => ({ method: "POST", path: `/v1/queues/${queue}/ack`, body: '{"receipts":["a"],"receipts":["b"]}' }), status: 200 },
    "a body that is no UTF-8": { asked: (queue) => ({ method: "POST", path: `/v1/queues/${queue}/ack`, body: new Uint8Array([0x22, 0xff, 0x22]) }), status: 400 },
  };
  for (const [name, { asked, status }] of Object.entries(same)) {
    it(`is answered as the route answers: ${name}`, async () => compare(asked(await makeQueue(0)), status));
  }

  it("is left to the route for whatever is not plain", async () => {
    const name = await makeQueue(0);
    const path = `/v1/queues/${name}/messages`;
    const known = await vi.waitUntil(async () => (await byRoute({ path })).status === 200 && (await byLane({ path })) !== null, WAIT);
    expect(known).toBe(true);
    const others: readonly Asked[] = [
      { path: `${path}?max=11` }, { path: `${path}?max=1&max=2` }, { path: `${path}?wait=x` }, { path, method: "HEAD" },
      { path: `/v1/queues/${name}/ack`, method: "POST", body: "{}", headers: { "idempotency-key": "k" } },
      { path: `/v1/queues/${name}/ack`, method: "POST", body: "{}", headers: { "content-type": "text/plain" } },
      { path: `/v1/queues/${name}/nack`, method: "POST", body: "{}" },
      { path: `/v1/queues/%6Cane/messages` }, { path: "/v1/pull?queue=a" }, { path, token: "pst_nobody" },
    ];
    for (const asked of others) expect([asked.path, await byLane(asked)]).toEqual([asked.path, null]);
  });

  it("needs the scope, and leaves a token that is bound to one endpoint to the routes", async () => {
    const name = await makeQueue(0);
    const path = `/v1/queues/${name}/messages`;
    const made = async (fields: Record<string, unknown>): Promise<string> => {
      const { status, json } = await manage("POST", "/v1/tokens", { name: "lane", ...fields });
      expect(status).toBe(201);
      return json.token;
    };
    const reader = await made({ scopes: ["read"] });
    expect((await byRoute({ path, token: reader })).status).toBe(403);
    expect(await byLane({ path, token: reader })).toBeNull();
    const endpoint = await manage("POST", "/v1/endpoints", { kind: "pull", topics: ["lane.bound"] });
    const bound = await made({ scopes: ["consume"], endpointId: endpoint.json.id });
    const own = `/v1/endpoints/${endpoint.json.id}/messages`;
    expect((await byRoute({ path: own, token: bound })).status).toBe(200);
    expect(await byLane({ path: own, token: bound })).toBeNull();
    expect((await byRoute({ path, token: bound })).status).not.toBe(200);
  });

  it("leaves what its isolate knows as it is: an ack changes nothing of the control plane", async () => {
    const name = await makeQueue(0);
    const asked = { method: "POST", path: `/v1/queues/${name}/ack`, body: '{"receipts":["x"]}' };
    const credentials = { authorization: `Bearer ${bindings.POSTERN_ADMIN_TOKEN}`, tenant: undefined };
    await vi.waitFor(async () => {
      expect((await byRoute(asked)).status).toBe(200);
      expect(knownCaller(credentials, Date.now())).not.toBeNull();
    }, WAIT);
    expect((await manage("PUT", `/v1/queues/${name}`, {})).status).toBe(200);
    expect(knownCaller(credentials, Date.now())).toBeNull();
  });
});
