import { applyD1Migrations, createExecutionContext, type D1Migration, waitOnExecutionContext } from "cloudflare:test";
import { env } from "cloudflare:workers";
import { beforeAll, beforeEach, describe, expect, it, vi } from "vitest";
import { z } from "zod";
import { createApp } from "../../src/http/app.ts";
import { publishLane } from "../../src/http/publish-lane.ts";

const bindings = z
  .object({ POSTERN_ADMIN_TOKEN: z.string(), TEST_MIGRATIONS: z.array(z.custom<D1Migration>()) })
  .parse(env);

type Asked = {
  readonly method?: string;
  readonly path?: string;
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: string | Uint8Array<ArrayBuffer>;
  readonly isChunked?: boolean;
  /** Between the scheme and the token: callers are remembered by what they sent, so that with another number this is a new one. */
  readonly spaces?: number;
  /** Absent: the operator's. */
  readonly token?: string | null;
  readonly origin?: string;
  readonly bindings?: Partial<Cloudflare.Env>;
};
type Answer = { readonly status: number; readonly headers: Readonly<Record<string, string>>; readonly json: any };
type Delivered = { readonly headers: Readonly<Record<string, string>>; readonly body: string };

const MIB = 1024 * 1024;
const WAIT = { timeout: 10_000, interval: 20 };
const TRACEPARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
const app = createApp();

let delivered: Delivered[] = [];
let count = 0;
let spaces = 0;

function requestOf({ method = "POST", path = "/v1/events/lane.same", headers = {}, body = "x", token = bindings.POSTERN_ADMIN_TOKEN, ...asked }: Asked): Request {
  const bytes = typeof body === "string" ? new TextEncoder().encode(body) : body;
  const sent = new Headers({
    "x-request-id": "the-same-request",
    "content-type": "text/plain",
    ...(token === null ? {} : { authorization: `Bearer${" ".repeat(asked.spaces ?? 1)}${token}` }),
    ...headers,
  });
  if (headers["content-type"] === "none") sent.delete("content-type");
  const hasBody = method !== "GET";
  // what HTTP says of a body whose length is known: a Request that is made here has it from nobody
  if (hasBody && asked.isChunked !== true) sent.set("content-length", String(bytes.length));
  return new Request(`${asked.origin ?? "https://postern.test"}${path}`, { method, headers: sent, ...(hasBody ? { body: asked.isChunked === true ? new Blob([bytes]).stream() : bytes } : {}) });
}

/** How the Worker answers without the lane. */
async function byRoute(asked: Asked): Promise<Answer> {
  const ctx = createExecutionContext();
  const answer = await read(await app.fetch(requestOf(asked), { ...env, ...asked.bindings }, ctx));
  await waitOnExecutionContext(ctx);
  return answer;
}

/** Null where the lane leaves a request to the route. */
async function byLane(asked: Asked): Promise<Answer | null> {
  const ctx = createExecutionContext();
  const answering = publishLane(requestOf(asked), { ...env, ...asked.bindings }, ctx);
  const answer = answering === null ? null : await read(await answering);
  await waitOnExecutionContext(ctx);
  return answer;
}

async function read(response: Response): Promise<Answer> {
  const text = await response.text();
  return { status: response.status, headers: Object.fromEntries(response.headers), json: text === "" ? undefined : JSON.parse(text) };
}

const plain = (path: string, method: string, body?: unknown): Promise<Answer> =>
  byRoute({ path, method, headers: { "content-type": "application/json" }, body: body === undefined ? "" : JSON.stringify(body) });

/** An answer without what differs from one message to the next. */
function comparable({ status, headers, json }: Answer): unknown {
  const ratelimit = headers["ratelimit"]?.replace(/r=\d+/, "r=n");
  const { "x-request-id": requestId = "" } = headers;
  const varies = status === 202 ? { id: json.id.replace(/_.*/, "_"), time: typeof json.time, offset: typeof json.offset } : {};
  const id = requestId.startsWith("req_") ? "req_" : requestId; // made up where the caller's is not taken
  return { status, headers: { ...headers, ratelimit, "x-request-id": id }, json: { ...json, ...varies } };
}

/** What a receiver got, without what differs from one message to the next. */
function comparableDelivery({ headers, body }: Delivered): unknown {
  const { "webhook-id": id = "", "webhook-timestamp": timestamp = "", "webhook-signature": signature = "", traceparent = "", ...others } = headers;
  const isOfTrace = traceparent.startsWith(TRACEPARENT.slice(0, 36));
  return { ...others, id: id.replace(/_.*/, "_"), timestamp: timestamp.length, signature: signature.slice(0, 3), isOfTrace, trace: traceparent.length, body };
}

async function deliveredAs(id: string): Promise<unknown> {
  const found = await vi.waitUntil(() => delivered.find(({ headers }) => headers["webhook-id"] === id), WAIT);
  return comparableDelivery(found);
}

async function makeToken(fields: Record<string, unknown>): Promise<{ id: string; token: string }> {
  const { status, json } = await plain("/v1/tokens", "POST", { name: "lane", ...fields });
  expect(status).toBe(201);
  return json;
}

async function makeTenant(limits: Record<string, number> = {}): Promise<{ readonly "postern-tenant": string }> {
  const id = `lane-${count++}`;
  expect((await plain("/v1/tenants", "POST", { id, limits })).status).toBe(201);
  return { "postern-tenant": id };
}

beforeAll(async () => {
  await applyD1Migrations(env.DB, bindings.TEST_MIGRATIONS);
  vi.spyOn(globalThis, "fetch").mockImplementation(async (_input, init) => {
    const request = new Request("https://receiver.test", { method: "POST", body: init?.body ?? null, headers: new Headers(init?.headers) });
    delivered.push({ headers: Object.fromEntries(request.headers), body: JSON.stringify([...new Uint8Array(await request.arrayBuffer()).slice(0, 64)]) });
    return new Response(null, { status: 204 });
  });
  expect((await plain("/v1/endpoints", "POST", { kind: "push", url: "https://example.com/hook", topics: ["lane.same"] })).status).toBe(201);
});

beforeEach(() => {
  delivered = [];
});

const ATTRIBUTES = { "postern-attribute-Kind": "a b", "postern-attribute-euro": "€ 5", "postern-attribute-empty": "" };
const BODY = new Uint8Array([0, 255, 195, 40, 10, 13]);

/** Requests by what is odd about them, and whether the lane takes them. */
const REQUESTS: Readonly<Record<string, Asked & { readonly takes: boolean; readonly status: number }>> = {
  "a plain text": { takes: true, status: 202 },
  "bytes that are no text": { takes: true, status: 202, body: BODY, headers: { "content-type": "application/x-own" } },
  "no content type": { takes: true, status: 202, headers: { "content-type": "none" } },
  "an odd content type": { takes: true, status: 202, headers: { "content-type": "no/such; type=\"ü\"; ;;" } },
  "an empty body": { takes: true, status: 202, body: "" },
  "the largest body": { takes: true, status: 202, body: new Uint8Array(MIB) },
  "a body that is too large": { takes: false, status: 413, body: new Uint8Array(MIB + 1) },
  "attributes": { takes: true, status: 202, headers: ATTRIBUTES },
  "a bad name of an attribute": { takes: true, status: 422, headers: { "postern-attribute-a!b": "x" } },
  "too many attributes": { takes: true, status: 422, headers: Object.fromEntries(Array.from({ length: 51 }, (_, index) => [`postern-attribute-n${index}`, "x"])) },
  "attributes that are too large": { takes: true, status: 422, headers: { "postern-attribute-large": "x".repeat(16 * 1024) } },
  "a trace": { takes: true, status: 202, headers: { traceparent: TRACEPARENT } },
  "a trace that is none": { takes: true, status: 202, headers: { traceparent: "00-zz-1-01" } },
  "an id of its own that is not sane": { takes: true, status: 202, headers: { "x-request-id": "a b" } },
  "no https": { takes: true, status: 202, origin: "http://postern.test" },
  "a reserved topic": { takes: false, status: 403, path: "/v1/events/postern.endpoint.disabled" },
  "a malformed topic": { takes: false, status: 400, path: "/v1/events/a..b" },
  "a topic that is too long": { takes: false, status: 400, path: `/v1/events/${"x".repeat(129)}` },
  "an encoded topic": { takes: false, status: 202, path: "/v1/events/lane%2Esame" },
  "a broken encoding": { takes: false, status: 400, path: "/v1/events/lane%zz" },
  "a slash at the end": { takes: false, status: 400, path: "/v1/events/lane.same/" },
  "no topic": { takes: false, status: 404, path: "/v1/events/" },
  "a query string": { takes: false, status: 202, path: "/v1/events/lane.same?x=1" },
  "a GET": { takes: false, status: 405, method: "GET" },
  "a PUT": { takes: false, status: 405, method: "PUT" },
  "an id of an event": { takes: false, status: 202, headers: { "ce-id": "one" } },
  "a CloudEvent that is none": { takes: false, status: 400, headers: { "content-type": "application/cloudevents+json" } },
  "an Idempotency-Key": { takes: false, status: 202, headers: { "idempotency-key": "lane" } },
  "a body of unknown length": { takes: false, status: 202, isChunked: true },
  "no token": { takes: false, status: 401, token: null },
  "a wrong token": { takes: false, status: 401, token: `pst_${"x".repeat(32)}` },
  "a tenant that is none": { takes: false, status: 404, headers: { "postern-tenant": "nobody" } },
  "an object that does not answer": {
    takes: true, status: 503, path: "/v1/events/lane.broken",
    bindings: { STREAMS: { getByName: () => ({ append: async () => { throw new Error("no answer"); } }) } as unknown as Cloudflare.Env["STREAMS"] },
  },
  "an object that has no room": {
    takes: true, status: 503, path: "/v1/events/lane.full",
    bindings: { STREAMS: { getByName: () => ({ append: async () => ({ ok: false, code: "overloaded", retryAfterSeconds: 3 }) }) } as unknown as Cloudflare.Env["STREAMS"] },
  },
};

type Expected = Asked & { readonly takes: boolean; readonly status: number };

/** Sends the same by the route, which then knows the caller, and by the lane: the answer of the lane, where it takes it, has to be the route's. */
async function compare(asked: Expected): Promise<void> {
  const route = await byRoute(asked);
  expect([route.status, route.json]).toEqual([asked.status, expect.anything()]);
  const lane = await byLane(asked);
  expect(lane !== null).toBe(asked.takes);
  if (lane === null) return;
  expect(comparable(lane)).toEqual(comparable(route));
  if (lane.json.matched > 0) expect(await deliveredAs(lane.json.id)).toEqual(await deliveredAs(route.json.id));
}

const anew = (): { readonly spaces: number } => ({ spaces: (spaces += 1) });
/** Where the limit of a second may end between two requests. */
const compareSoon = (asked: Expected): Promise<void> => vi.waitFor(() => compare({ ...asked, ...anew() }), WAIT);

describe("a publish that is answered before the framework", { timeout: 30_000 }, () => {
  for (const [name, asked] of Object.entries(REQUESTS)) {
    it(`is answered, and has the effect, that the route has: ${name}`, () => compareSoon(asked));
  }

  it("is left to the route as long as nobody knows who asks", async () => {
    const { token } = await makeToken({ scopes: ["publish"] });
    expect(await byLane({ token })).toBeNull();
    expect((await byRoute({ token })).status).toBe(202);
    expect((await byLane({ token }))?.status).toBe(202);
  });

  it("needs the scope, whatever else its token may; one that is bound to an endpoint may publish", async () => {
    const reader = await makeToken({ scopes: ["read", "consume", "manage"] });
    await compareSoon({ token: reader.token, takes: false, status: 403 });
    const bound = await makeToken({ scopes: ["consume", "publish"], node: "till.7" });
    await compareSoon({ token: bound.token, takes: true, status: 202 });
  });

  it("keeps to the limits of its tenant: the size of a message, messages and requests a second", async () => {
    const small = await makeTenant({ payloadBytes: 10 });
    await compareSoon({ headers: small, body: "0123456789", takes: true, status: 202 });
    await compareSoon({ headers: small, body: "0123456789a", takes: true, status: 413 });
    for (const limit of ["publishPerSecond", "requestsPerSecond"]) {
      const slow = await makeTenant({ [limit]: 1 });
      await vi.waitFor(async () => {
        const asked = { headers: slow, ...anew() };
        while ((await byRoute(asked)).status === 202) continue; // until it has used up its second
        await compare({ ...asked, takes: true, status: 429 });
      }, WAIT);
    }
    const ofMessages = await makeTenant({ publishPerSecond: 1000 });
    await compareSoon({ headers: ofMessages, takes: true, status: 202 }); // shows the limit of messages, not that of requests
  });

  it("is no more within a second of its token's revocation, nor once its tenant is suspended or deleted", async () => {
    const { id, token } = await makeToken({ scopes: ["publish"] });
    const asked = { token, ...anew() };
    await vi.waitFor(() => compare({ ...asked, takes: true, status: 202 }), WAIT);
    expect((await plain(`/v1/tokens/${id}`, "DELETE")).status).toBe(204);
    await new Promise((resolve) => setTimeout(resolve, 1_000));
    expect(await byLane(asked)).toBeNull();
    await compare({ ...asked, takes: false, status: 401 });

    const headers = await makeTenant();
    const { "postern-tenant": tenant } = headers;
    const made = await byRoute({ path: "/v1/tokens", headers: { ...headers, "content-type": "application/json" }, body: JSON.stringify({ name: "own", scopes: ["publish"] }) });
    const own = { token: String(made.json.token) };
    await compareSoon({ ...own, takes: true, status: 202 });
    expect((await plain(`/v1/tenants/${tenant}/suspend`, "POST", {})).status).toBe(200);
    await compareSoon({ ...own, takes: false, status: 403 });
    await compareSoon({ headers, takes: true, status: 202 }); // an operator's goes on
    expect((await plain(`/v1/tenants/${tenant}/resume`, "POST", {})).status).toBe(200);
    await compareSoon({ ...own, takes: true, status: 202 });
    expect((await plain(`/v1/tenants/${tenant}`, "DELETE")).status).toBe(204);
    await compareSoon({ ...own, takes: false, status: 401 });
  });
});
