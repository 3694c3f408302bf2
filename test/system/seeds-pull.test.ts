import { setTimeout as delay } from "node:timers/promises";
import { afterAll, afterEach, beforeAll, describe, expect, it } from "vitest";
import { call, createEndpoint, eventually, publish } from "./api.ts";
import { type Gateway, startGateway } from "./gateway.ts";
import { type Receiver, status, startReceiver } from "./receiver.ts";

let receiver: Receiver;

beforeAll(async () => {
  receiver = await startReceiver();
});
afterEach(() => receiver.answerWith(status(204)));
afterAll(() => receiver.close());

const bodies = (path: string): string[] => receiver.requests.filter((request) => request.path === path).map(({ body }) => body.toString());

type Pulled = { readonly id: string; readonly data: string; readonly receipt: string };

/** Pulls and acknowledges until so many have come; what they said, in their order. */
async function drain(gateway: Gateway, path: string, count: number): Promise<string[]> {
  const drained: Pulled[] = [];
  while (drained.length < count) {
    const { json } = await call(gateway, "GET", `${path}/messages?max=10&wait=10&visibility=600`);
    const messages: Pulled[] = json.messages;
    if (messages.length === 0) throw new Error(`only ${drained.length} of ${count} messages came`);
    const { json: settled } = await call(gateway, "POST", `${path}/ack`, { body: { receipts: messages.map(({ receipt }) => receipt) } });
    expect(settled.results.map(({ ok }: any) => ok)).toEqual(messages.map(() => true));
    drained.push(...messages);
  }
  return drained.map(({ data }) => data);
}

/** Pulls until there is nothing for a while that would be long for a message on its way; what was said, each once. */
async function drainAll(gateway: Gateway, path: string): Promise<Set<string>> {
  const drained = new Set<string>();
  for (;;) {
    const { json } = await call(gateway, "GET", `${path}/messages?max=10&wait=5&visibility=600`);
    const messages: Pulled[] = json.messages;
    if (messages.length === 0) return drained;
    for (const { data } of messages) drained.add(data);
    await call(gateway, "POST", `${path}/ack`, { body: { receipts: messages.map(({ receipt }) => receipt) } });
  }
}

describe.each([
  { mailbox: "Amazon SQS", kind: "sqs", env: {} },
  { mailbox: "Durable Objects", kind: "durable-object", env: { POSTERN_MAILBOX: "durable-object" } },
])("M10: with mailboxes in $mailbox", ({ kind, env }) => {
  let gateway: Gateway;

  beforeAll(async () => {
    gateway = await startGateway({ env: { ...env, POSTERN_ALLOW_HOSTS: receiver.host } });
  });
  afterAll(() => gateway?.dispose());

  const numbered = (count: number): string[] => Array.from({ length: count }, (_, index) => `message ${index}`);

  it("M10: readyz says which mailbox it is", async () => {
    const { status: code, json } = await call(gateway, "GET", "/readyz");
    expect(code).toBe(200);
    expect(json.checks).toContainEqual(expect.objectContaining({ name: "aws", mailbox: kind }));
  });

  it("M9: an event listener on a queue that was offline gets it later, pushed or pulled", async () => {
    for (const queue of ["m9-push", "m9-pull"]) {
      expect((await call(gateway, "PUT", `/v1/queues/${queue}`, { body: { topics: ["m9"] } })).status).toBe(201);
    }
    let offline = true;
    receiver.answerWith((_request, response) => void response.writeHead(offline ? 503 : 204).end());
    await createEndpoint(gateway, { url: `${receiver.url}/m9`, queue: "m9-push", retrySchedule: Array(30).fill(1) });
    const sent = numbered(5);
    for (const raw of sent) expect((await publish(gateway, "m9", raw)).matched).toBe(2);
    await receiver.until(() => bodies("/m9").length >= sent.length);
    offline = false;
    const before = bodies("/m9").length;
    await receiver.until(() => new Set(bodies("/m9").slice(before)).size === sent.length);
    // Nobody has listened to this one so far.
    await eventually(() => call(gateway, "GET", "/v1/queues/m9-pull"), ({ json }) => json.depth === sent.length);
    expect((await drain(gateway, "/v1/queues/m9-pull", sent.length)).sort()).toEqual(sent);
  });

  it("B1: each pulling subscriber has a durable mailbox of its own, by pattern and filter", async () => {
    const fields = [{ topics: ["b1.**"] }, { topics: ["b1.*"] }, { topics: ["b1.**"], filter: { colour: ["red"] } }];
    const endpoints: string[] = [];
    for (const one of fields) endpoints.push((await createEndpoint(gateway, { kind: "pull", ...one })).id);
    const red = { "content-type": "text/plain", "postern-attribute-colour": "red" };
    expect((await publish(gateway, "b1.a", "plain")).matched).toBe(2);
    expect((await publish(gateway, "b1.a.b", "deep and red", red)).matched).toBe(2);
    expect(await drain(gateway, `/v1/endpoints/${endpoints[1]}`, 1)).toEqual(["plain"]);
    gateway = await gateway.restart();
    // A restart is a fault: what was sent just before may be sent again, and nothing else.
    expect(await drainAll(gateway, `/v1/endpoints/${endpoints[0]}`)).toEqual(new Set(["deep and red", "plain"]));
    expect(await drainAll(gateway, `/v1/endpoints/${endpoints[2]}`)).toEqual(new Set(["deep and red"]));
  });

  it("B2: a pulling subscriber that is away does not affect the others and gets everything afterwards", async () => {
    const endpoints: string[] = [];
    for (let index = 0; index < 4; index++) endpoints.push((await createEndpoint(gateway, { kind: "pull", topics: ["b2"] })).id);
    const [away, ...others] = endpoints;
    const sent = numbered(50);
    const reading = others.map((id) => drain(gateway, `/v1/endpoints/${id}`, sent.length));
    for (const raw of sent) expect((await publish(gateway, "b2", raw)).matched).toBe(4);
    for (const read of await Promise.all(reading)) expect(read.sort()).toEqual([...sent].sort());
    expect((await drain(gateway, `/v1/endpoints/${away}`, sent.length)).sort()).toEqual([...sent].sort());
  });

  it("B3: a batch of events that dies on its way into mailboxes is in every one of them", async () => {
    const endpoints: string[] = [];
    for (let index = 0; index < 5; index++) endpoints.push((await createEndpoint(gateway, { kind: "pull", topics: ["b3"] })).id);
    const sent = numbered(100);
    const batch = await call(gateway, "POST", "/v1/batch", { body: { messages: sent.map((data) => ({ topic: "b3", data })) } });
    expect(batch.status).toBe(202);
    await gateway.kill9();
    gateway = await gateway.restart();
    await Promise.all(
      endpoints.map(async (id) => {
        const missing = new Set(sent);
        // At least once: what was sent when it died may come again.
        for (const deadline = Date.now() + 40_000; missing.size > 0 && Date.now() < deadline; ) {
          for (const data of await drain(gateway, `/v1/endpoints/${id}`, 1)) missing.delete(data);
        }
        expect([...missing]).toEqual([]);
      }),
    );
  });
});

describe("of an endpoint", () => {
  let gateway: Gateway;

  beforeAll(async () => {
    gateway = await startGateway({ env: { POSTERN_ALLOW_HOSTS: receiver.host } });
  });
  afterAll(() => gateway?.dispose());

  it("Q7: a push arrives far sooner than after 150 ms", async () => {
    await createEndpoint(gateway, { url: `${receiver.url}/q7`, topics: ["q7"] });
    const publishedAt = new Map<string, number>();
    for (let index = 0; index < 50; index++) {
      const startedAt = Date.now();
      publishedAt.set((await publish(gateway, "q7", String(index))).id, startedAt);
      await delay(10);
    }
    await receiver.until(() => bodies("/q7").length === 50);
    const latencies = receiver.requests
      .filter(({ path }) => path === "/q7")
      .map(({ headers, arrivedAt }) => arrivedAt - publishedAt.get(headers["webhook-id"]!)!)
      .sort((a, b) => a - b);
    // A loose bound, for the machine may be busy: some milliseconds are usual.
    expect(latencies[25]).toBeLessThan(75);
  });

  it("Q9: a node name can be claimed by nobody else: not in the tenant, not without the scope, not by another tenant", async () => {
    const node = "node-9";
    const claim = (options: object) => call(gateway, "POST", "/v1/endpoints", { body: { kind: "push", url: `${receiver.url}/q9-other`, node }, ...options });
    const { id } = await createEndpoint(gateway, { url: `${receiver.url}/q9`, node });
    expect((await claim({})).status).toBe(409);
    const consumer = (await call(gateway, "POST", "/v1/tokens", { body: { name: "c", scopes: ["consume", "publish", "read"] } })).json.token;
    expect((await claim({ token: consumer })).status).toBe(403);
    const tenant = (await call(gateway, "POST", "/v1/tenants", { body: { name: "other" } })).json.id;
    const headers = { "postern-tenant": tenant };
    expect((await claim({ headers })).status).toBe(201);
    expect((await call(gateway, "POST", `/v1/direct/${node}`, { raw: "for the first", headers: { "content-type": "text/plain" } })).status).toBe(202);
    await receiver.until(() => bodies("/q9").length === 1);
    expect((await call(gateway, "DELETE", `/v1/endpoints/${id}`, { headers })).status).toBe(404);
    expect((await call(gateway, "DELETE", `/v1/endpoints/${id}`)).status).toBe(204);
    expect((await claim({})).status).toBe(201);
    expect(bodies("/q9-other")).toEqual([]);
  });
});
