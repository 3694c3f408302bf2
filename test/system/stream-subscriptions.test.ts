import { createPublicKey, verify } from "node:crypto";
import { setTimeout as delay } from "node:timers/promises";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { call, eventually } from "./api.ts";
import { type Gateway, startGateway } from "./gateway.ts";
import { type ReceivedRequest, type Receiver, startReceiver, status } from "./receiver.ts";
import { append, createStream, offsetOf, readAll } from "./stream-calls.ts";

let gateway: Gateway;
let receiver: Receiver;

beforeAll(async () => {
  receiver = await startReceiver();
  gateway = await startGateway({ env: { POSTERN_ALLOW_HOSTS: receiver.host } });
});
afterAll(async () => {
  await gateway.dispose();
  await receiver.close();
});

const path = (id: string) => `/v1/stream/__ds/subscriptions/${id}`;

/** Again until the gateway answers: it is being killed meanwhile. */
async function insist(work: () => Promise<{ status: number }>): Promise<void> {
  for (;;) {
    const answer = await work().catch(() => null);
    if (answer !== null && answer.status < 300) return;
    await delay(20);
  }
}

describe("a subscription, while the process is killed", () => {
  const STREAMS = 6;
  const PER_STREAM = 40;

  it("wakes for every append that was acknowledged, and moves its cursors for good", async () => {
    const seen = new Map<string, Set<number>>();
    /** What a worker does: reads on from where the cursor is, and says how far it came, at once or by the callback. */
    const work = async ({ body }: ReceivedRequest): Promise<boolean> => {
      const wake = JSON.parse(body.toString());
      const acks: { stream: string; offset: string }[] = [];
      for (const one of wake.streams) {
        if (!one.has_pending) continue;
        const { messages, next } = await readAll(gateway, one.path, one.acked_offset);
        for (const n of messages) seen.set(one.path, (seen.get(one.path) ?? new Set()).add(n));
        acks.push({ stream: one.path, offset: next });
      }
      if (wake.generation % 2 === 0 && acks.every(({ offset }, index) => offset === wake.streams[index].tail_offset)) return true;
      const headers = { authorization: `Bearer ${wake.callback_token}` };
      const { wake_id, generation } = wake;
      await call({ url: gateway.url, token: "" }, "POST", `${path("killed")}/callback`, { headers, token: null, body: { wake_id, generation, acks, done: true } });
      return false;
    };
    receiver.answerWith(async (request, response) => {
      if (!request.path.startsWith("/killed")) return status(404)(request, response);
      const done = await work(request).catch(() => false);
      response.writeHead(200, { "content-type": "application/json" }).end(JSON.stringify(done ? { done } : {}));
    });
    const body = { type: "webhook", pattern: "killed/*", webhook: { url: `${receiver.url}/killed` }, lease_ttl_ms: 1_000 };
    expect((await call(gateway, "PUT", path("killed"), { body })).status).toBe(201);

    const write = async (name: string): Promise<void> => {
      await insist(() => call(gateway, "PUT", `/v1/stream/${name}`, { headers: { "content-type": "application/json" } }));
      for (let n = 0; n < PER_STREAM; n++) {
        const headers = { "producer-id": "w", "producer-epoch": "0", "producer-seq": String(n) };
        await insist(() => append(gateway, name, [n], { headers }));
      }
    };
    const names = Array.from({ length: STREAMS }, (_, index) => `killed/${index}`);
    const writing = Promise.all(names.map(write));
    for (let kill = 0; kill < 3; kill++) {
      await delay(100 + Math.random() * 200);
      await gateway.kill9();
      gateway = await gateway.restart();
    }
    await writing;
    // Nobody does anything any more: what was killed last has to be made up for by itself.
    await gateway.kill9();
    gateway = await gateway.restart();

    const view = await eventually(
      async () => (await call(gateway, "GET", path("killed"))).json,
      ({ streams }) => streams.length === STREAMS && streams.every((one: any) => one.acked_offset === offsetOf(PER_STREAM)),
      30_000,
    );
    expect(view.streams.map((one: any) => one.path)).toEqual(names);
    for (const name of names) expect([...(seen.get(name) ?? [])].sort((a, b) => a - b)).toEqual(Array.from({ length: PER_STREAM }, (_, n) => n));
    const generations = receiver.requests.filter((request) => request.path === "/killed").map((request) => JSON.parse(request.body.toString()).generation);
    expect(generations).toEqual([...generations].sort((a, b) => a - b));
  });

  it("keeps the lease of a worker, and the wakes of a pool, once each", async () => {
    await createStream(gateway, "pool/wakes");
    await createStream(gateway, "pool/work");
    const body = { type: "pull-wake", streams: ["pool/work"], wake_stream: "pool/wakes", lease_ttl_ms: 60_000 };
    expect((await call(gateway, "PUT", path("pool"), { body })).status).toBe(201);
    await append(gateway, "pool/work", [1]);
    await gateway.kill9();
    gateway = await gateway.restart();
    const events = () => readAll(gateway, "pool/wakes").then(({ messages }) => messages);
    await eventually(events, (messages) => messages.length > 0);
    const claim = (worker: string) => call(gateway, "POST", `${path("pool")}/claim`, { body: { worker } });
    const claimed = (await claim("first")).json;
    gateway = await gateway.restart();
    expect((await claim("second")).json.error).toMatchObject({ code: "ALREADY_CLAIMED", current_holder: "first", generation: 1 });
    const acked = await call(gateway, "POST", `${path("pool")}/ack`, {
      token: claimed.token,
      body: { wake_id: claimed.wake_id, generation: 1, acks: [{ stream: "pool/work", offset: offsetOf(1) }], done: true },
    });
    expect([acked.status, acked.json]).toEqual([200, { ok: true, next_wake: false }]);
    expect((await events()).map(({ generation }) => generation)).toEqual([1]);
  });
});

describe("the wakes of two tenants", () => {
  it("are signed by different keys, and name their own", async () => {
    await call(gateway, "POST", "/v1/tenants", { body: { id: "waker" } });
    const wakes = new Map<string, { request: ReceivedRequest; jwksUrl: string }>();
    receiver.answerWith(async (request, response) => status(request.path.startsWith("/killed") ? 404 : 202)(request, response));
    for (const tenant of ["default", "waker"]) {
      const headers = { "postern-tenant": tenant };
      const body = { type: "webhook", streams: ["twin"], webhook: { url: `${receiver.url}/of/${tenant}` } };
      const created = await call(gateway, "PUT", path("twin"), { headers, body });
      expect(created.status).toBe(201);
      await call(gateway, "PUT", "/v1/stream/twin", { headers: { ...headers, "content-type": "application/json" }, raw: "[1]" });
      await receiver.until((requests) => requests.some((request) => request.path === `/of/${tenant}`));
      const request = receiver.requests.find((one) => one.path === `/of/${tenant}`)!;
      wakes.set(tenant, { request, jwksUrl: created.json.webhook.signing.jwks_url });
    }
    const isGood = async ({ request }: { request: ReceivedRequest }, jwksUrl: string): Promise<boolean> => {
      const { keys } = (await (await fetch(jwksUrl)).json()) as { keys: { kid: string }[] };
      const [, time, kid, signature = ""] = /^t=(\d+),kid=([^,]+),ed25519=(.+)$/.exec(request.headers["webhook-signature"] ?? "") ?? [];
      const key = keys.find((one) => one.kid === kid);
      if (key === undefined) return false;
      const signed = Buffer.concat([Buffer.from(`${time}.`), request.body]);
      return verify(null, signed, createPublicKey({ key: { ...key }, format: "jwk" } as never), Buffer.from(signature, "base64url"));
    };
    const [mine, theirs] = [wakes.get("default")!, wakes.get("waker")!];
    expect([await isGood(mine, mine.jwksUrl), await isGood(theirs, theirs.jwksUrl)]).toEqual([true, true]);
    expect([await isGood(mine, theirs.jwksUrl), await isGood(theirs, mine.jwksUrl)]).toEqual([false, false]);
    // The token is of the tenant whose wake it came with, whoever sends it.
    const wake = JSON.parse(theirs.request.body.toString());
    const callback = await fetch(wake.callback_url, {
      method: "POST",
      headers: { authorization: `Bearer ${wake.callback_token}`, "content-type": "application/json" },
      body: JSON.stringify({ wake_id: wake.wake_id, generation: wake.generation, done: true, acks: [{ stream: "twin", offset: offsetOf(1) }] }),
    });
    expect([callback.status, await callback.json()]).toEqual([200, { ok: true, next_wake: false }]);
    const cursor = async (tenant: string) => (await call(gateway, "GET", path("twin"), { headers: { "postern-tenant": tenant } })).json.streams[0].acked_offset;
    expect([await cursor("default"), await cursor("waker")]).toEqual([offsetOf(0), offsetOf(1)]);
  });
});
