import { createServer, type Server } from "node:http";
import { exportJWK, generateKeyPair, SignJWT } from "jose";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { call, eventually } from "./api.ts";
import { type Gateway, startGateway } from "./gateway.ts";
import { type Ids, type Row, ROWS, type Sent } from "./isolation-rows.ts";
import { type Receiver, startReceiver } from "./receiver.ts";

const SCOPES = ["publish", "consume", "manage", "read", "admin"];
const ISSUER = "https://login.example.com";
const AUDIENCE = "https://postern.example.com";
const VICTIM = "victim-inc";
const ASKER = "asker-inc";
const CANARY = "canary-of-the-victim";

type Answer = { readonly status: number; readonly type: string; readonly text: string; readonly headers: string };

/** What differs from one request to the next whatever is asked. */
const VOLATILE: ReadonlySet<string> = new Set(["x-request-id", "date", "content-length", "ratelimit", "stream-cursor", "transfer-encoding"]);
type Credentials = ReadonlyMap<string, string | null>;

let gateway: Gateway;
let receiver: Receiver;
let issuer: TestIssuer;
let theirs: Ids;
let credentials: Credentials;

beforeAll(async () => {
  [receiver, issuer] = await Promise.all([startReceiver(), startIssuer()]);
  // what asks for permission has it at once, and asks no more
  receiver.answerWith((_request, response) => void response.writeHead(204, { "webhook-allowed-origin": "*" }).end());
  const settings = [{ issuer: ISSUER, jwksUrl: `http://${issuer.host}/keys`, audience: AUDIENCE, algorithms: ["ES256"] }];
  gateway = await startGateway({
    env: { POSTERN_ALLOW_HOSTS: `${receiver.host},${issuer.host}`, POSTERN_JWT_ISSUERS: JSON.stringify(settings), POSTERN_MAILBOX: "durable-object" },
  });
  theirs = await buildVictim();
  credentials = await buildAsker();
}, 120_000);

afterAll(async () => {
  await gateway?.dispose();
  await Promise.all([receiver?.close(), issuer?.close()]);
});

// That it has a row for every route is a test of its own: test/unit/auth/isolation-rows.test.ts.
describe("the isolation matrix", () => {
  it("is about things that are there: their owner finds each of them", async () => {
    const owner = await makeToken(VICTIM, SCOPES);
    const absent = absentIds(theirs, "owner");
    for (const [route, row] of Object.entries(ROWS)) {
      if (row.wants !== "same" || !/^GET .*\/:/.test(route) || route.includes("tail")) continue;
      const found = await ask(route, row.ask(theirs), { authorization: `Bearer ${owner}` });
      const missing = await ask(route, row.ask(absent), { authorization: `Bearer ${owner}` });
      expect({ route, status: found.status, alike: normalised(found.text, theirs) === normalised(missing.text, absent) }).toEqual({
        // a cursor is of its list, and this one of another
        route, status: route.endsWith("/attempts") ? 400 : 200, alike: false,
      });
    }
  });

  it("answers another tenant's ids as those that do not exist, for every scope, and shows nothing of theirs", async () => {
    const before = await snapshot();
    for (const [route, row] of Object.entries(ROWS)) {
      const judged = [...credentials].map(([name, token]) => () => judge(route, row, name, token));
      // what changes nothing of the asker's own may be asked at the same time: some of it waits for history
      if (/^GET |\/v1\/messages\/:id/.test(route)) await Promise.all(judged.map((one) => one()));
      else for (const one of judged) await one();
    }
    expect(await snapshot()).toEqual(before);
  }, 240_000);

  it("answers a tenant's token alike for a tenant it is not of and for one that does not exist, on every route", async () => {
    const token = credentials.get("all") ?? "";
    for (const [route, row] of Object.entries(ROWS)) {
      if (row.wants === "open") continue;
      const [theirAnswer, noAnswer] = await Promise.all(
        [VICTIM, "nobody-inc"].map((tenant) => ask(route, row.ask(theirs), { authorization: `Bearer ${token}`, "postern-tenant": tenant })),
      );
      expect(theirAnswer, route).toEqual(noAnswer);
      expect(theirAnswer?.status, route).toBe(404);
    }
  });

  it("needs a token everywhere but where it is open", async () => {
    for (const [route, row] of Object.entries(ROWS)) {
      for (const headers of [{}, { authorization: "Bearer pst_unknown" }]) {
        const { status } = await ask(route, row.ask(theirs), headers);
        if (row.wants === "open") expect(status, route).not.toBe(401);
        else expect(status, route).toBe(401);
      }
    }
  });

  it("left what waited for the victim where it was: its receipts are good", async () => {
    for (const [path, receipt] of [[`endpoints/${theirs.endpoint}`, theirs.receipt], [`queues/${theirs.queue}`, theirs.queueReceipt]]) {
      const answer = await asVictim("POST", `/v1/${path}/ack`, { body: { receipts: [receipt] } });
      expect(answer.json.results, path).toEqual([{ receipt, ok: true }]);
    }
  });
});

describe("made-up key ids", () => {
  it("are a thousand 401s and a few fetches; the issuer's own tokens go on working, in its outage too", async () => {
    const before = issuer.fetches();
    for (let batch = 0; batch < 20; batch++) {
      const answers = await Promise.all(Array.from({ length: 50 }, async (_, index) => {
        const token = await issuer.sign({ tenant: ASKER }, `made-up-${batch}-${index}`);
        return (await call(gateway, "GET", "/v1/endpoints", { token })).status;
      }));
      expect(new Set(answers)).toEqual(new Set([401]));
    }
    expect(issuer.fetches() - before).toBeLessThanOrEqual(3);
    issuer.fail();
    const token = await issuer.sign({ tenant: ASKER, scope: "read" });
    expect((await call(gateway, "GET", "/v1/endpoints", { token })).status).toBe(200);
    expect((await call(gateway, "GET", "/v1/tenants", { token: await issuer.sign({ tenant: ASKER, scope: "admin", operator: true }) })).status).toBe(403);
  });
});

async function judge(route: string, row: Row, name: string, token: string | null): Promise<void> {
  // the same for all credentials: what one of them makes is there for the next, under either name
  const absent = absentIds(theirs, "nobody");
  const headers: Record<string, string> = token === null ? {} : { authorization: `Bearer ${token}` };
  const [hit, miss] = await Promise.all([ask(route, row.ask(theirs), headers), ask(route, row.ask(absent), headers)]);
  const where = `${route} with ${name}`;
  // what was asked for comes back in the answer; nothing else of theirs may
  const shown = normalised(hit.text, theirs);
  expect(shown, where).not.toContain(CANARY);
  expect(shown, where).not.toContain(VICTIM);
  if (row.wants === "list") {
    // a name may be the asker's own as well; an id is not
    for (const id of Object.values(theirs).filter((one) => /_[0-9a-z]{26}$/.test(one))) expect(hit.text, where).not.toContain(id);
    expect(hit.status, where).toBe(miss.status);
    return;
  }
  const wanted = { where, ...miss, text: normalised(miss.text, absent), headers: normalised(miss.headers, absent) };
  expect({ where, ...hit, text: shown, headers: normalised(hit.headers, theirs) }).toEqual(wanted);
  if (row.wants === "operator") expect(hit.status, where).toBe(403);
}

/** Sends what a row says, and reads the answer; of a stream of events only its head. */
async function ask(route: string, { path, body, raw, headers }: Sent, more: Record<string, string>): Promise<Answer> {
  const response = await fetch(gateway.url + path, {
    method: route.split(" ")[0] ?? "",
    headers: { ...(body === undefined ? {} : { "content-type": "application/json" }), ...headers, ...more },
    ...(raw !== undefined ? { body: raw } : body !== undefined ? { body: JSON.stringify(body) } : {}),
    redirect: "manual",
  });
  const type = response.headers.get("content-type") ?? "";
  const sent = [...response.headers].filter(([name]) => !VOLATILE.has(name)).map(([name, value]) => `${name}: ${value}`).join("\n");
  if (!type.startsWith("text/event-stream")) return { status: response.status, type, text: withoutInstance(await response.text()), headers: sent };
  await response.body?.cancel();
  return { status: response.status, type, text: "", headers: sent };
}

function withoutInstance(text: string): string {
  return text.replace(/"instance":"[^"]*"/, '"instance":""');
}

/** The text without what differs from one request to the next: what was asked for, new ids, times and secrets. */
function normalised(text: string, ids: Ids): string {
  const named = Object.entries(ids).sort(([, left], [, right]) => right.length - left.length);
  return named
    .reduce((rest, [name, id]) => rest.replaceAll(id, `<${name}>`), text)
    .replaceAll(/"durationMs":\d+/g, '"durationMs":<time>')
    .replaceAll(/\d{4}-\d\d-\d\dT[\d:.]+Z/g, "<time>")
    .replaceAll(/\b(ep|sub|msg|dlv|att|src|tok|req|aud|sec|job|pco)_[0-9a-z]{26}\b/g, "<$1>")
    .replaceAll(/\b(pst|pcd|whsec)_[A-Za-z0-9+/=_-]+/g, "<$1>")
    // every name has keys, be it a tenant's or nobody's
    .replaceAll(/"x":"[\w-]{43}","kid":"ds_[\w-]{43}"/g, "<key>");
}

/** Of the same form, but nobody's. */
function absentIds(ids: Ids, salt: string): Ids {
  const renamed = (name: string, id: string): string => {
    // what is sealed has its form still, but not its seal
    if (/receipt|cursor/i.test(name)) return id.slice(0, -8) + id.slice(-8).split("").reverse().join("");
    const [, prefix, time] = /^([a-z]+_)([0-9a-z]{10})[0-9a-z]{16}$/.exec(id) ?? [];
    return prefix === undefined ? `${salt}-${id.split(/[-.]/).at(-1)}` : `${prefix}${time}${"0".repeat(16)}`;
  };
  const absent: Record<keyof Ids, string> = { ...ids };
  for (const name of Object.keys(ids) as (keyof Ids)[]) absent[name] = renamed(name, ids[name]);
  return absent;
}

async function asVictim(method: string, path: string, options: Parameters<typeof call>[3] = {}) {
  return call(gateway, method, path, { ...options, headers: { "postern-tenant": VICTIM, ...options.headers } });
}

async function made(method: string, path: string, options: Parameters<typeof call>[3] = {}): Promise<any> {
  const answer = await asVictim(method, path, options);
  if (answer.status >= 300) throw new Error(`${method} ${path}: ${answer.status} ${answer.bytes.toString()}`);
  return answer.json;
}

async function makeToken(tenant: string, scopes: readonly string[], fields: Record<string, unknown> = {}): Promise<string> {
  const answer = await call(gateway, "POST", "/v1/tokens", { headers: { "postern-tenant": tenant }, body: { name: "of a test", scopes, ...fields } });
  if (answer.status !== 201) throw new Error(`token: ${answer.status} ${answer.bytes.toString()}`);
  return answer.json.token;
}

/** A tenant that has one of everything, with the canary in whatever takes a text. */
async function buildVictim(): Promise<Ids> {
  await call(gateway, "POST", "/v1/tenants", { body: { id: VICTIM } });
  const [topic, queue, node, stream, consumer] = ["victim.topic", "victim.queue", "victim.node", "victim-stream", "victim-consumer"];
  const streamSubscription = "victim-subscription";
  const endpoint = await made("POST", "/v1/endpoints", { body: { kind: "pull", node, name: CANARY, topics: [topic] } });
  const push = await made("POST", "/v1/endpoints", { body: { kind: "push", url: `${receiver.url}/${CANARY}`, topics: [topic], metadata: { CANARY } } });
  const asking = await made("POST", "/v1/endpoints", { body: { kind: "push", url: `${receiver.url}/${CANARY}`, handshake: true } });
  await eventually(() => made("GET", `/v1/endpoints/${asking.id}/handshake`), ({ status }) => status === "allowed");
  const subscription = await made("POST", "/v1/subscriptions", { body: { endpointId: endpoint.id, topic: "victim.other" } });
  await made("PUT", `/v1/queues/${queue}`, { body: {} });
  const source = await made("POST", "/v1/sources", {
    body: { kind: "sns", name: CANARY, topicArns: [`arn:aws:sns:eu-central-1:123456789012:${CANARY}`], topic },
  });
  const token = await made("POST", "/v1/tokens", { body: { name: CANARY, scopes: ["read"] } });
  const message = await made("POST", `/v1/events/${topic}`, { raw: CANARY });
  const command = await made("POST", `/v1/commands/${queue}/run`, { raw: CANARY });
  await made("PUT", `/v1/stream/${stream}`, { raw: `["${CANARY}"]`, headers: { "content-type": "application/json" } });
  await made("PUT", `/v1/stream/__ds/subscriptions/${streamSubscription}`, {
    body: { type: "pull-wake", streams: [stream], wake_stream: "victim-wakes", description: CANARY },
  });
  await made("PUT", `/v1/consumers/${consumer}/offsets/topics/${topic}`, { body: { offset: 1 } });
  const replayed = await made("POST", `/v1/endpoints/${push.id}/replay`, { body: { topic } });
  const received = async (path: string): Promise<any> =>
    (await eventually(() => made("GET", `/v1/${path}/messages?max=1&visibility=3600`), ({ messages }) => messages.length > 0)).messages[0];
  const receipt = (await received(`endpoints/${endpoint.id}`)).receipt;
  const queueReceipt = (await received(`queues/${queue}`)).receipt;
  const page = await made("GET", "/v1/endpoints?limit=1");
  await eventually(() => asVictim("GET", `/v1/messages/${message.id}/deliveries`), ({ json }) => json.data?.length === 2);
  await eventually(() => asVictim("GET", `/v1/messages/${command.id}`), ({ status }) => status === 200);
  await eventually(() => made("GET", `/v1/jobs/${replayed.jobId}`), ({ status }) => status === "done");
  return {
    tenant: VICTIM, endpoint: endpoint.id, push: push.id, asking: asking.id, subscription: subscription.id, queue, source: source.id, token: token.id,
    message: message.id, queueMessage: command.id, receipt, queueReceipt, topic, node, stream, streamSubscription, consumer, job: replayed.jobId, cursor: page.next,
  };
}

/** Another tenant's tokens: one for each scope, one with all, one bound to an endpoint, a portal session's, and a JWT. */
async function buildAsker(): Promise<Credentials> {
  await call(gateway, "POST", "/v1/tenants", { body: { id: ASKER } });
  const own = await call(gateway, "POST", "/v1/endpoints", { headers: { "postern-tenant": ASKER }, body: { kind: "pull" } });
  const tokens = new Map<string, string | null>();
  for (const scope of SCOPES) tokens.set(scope, await makeToken(ASKER, [scope]));
  tokens.set("all", await makeToken(ASKER, SCOPES));
  tokens.set("bound", await makeToken(ASKER, ["publish", "consume", "read"], { endpointId: own.json.id }));
  const { json } = await call(gateway, "POST", "/v1/portal-codes", { headers: { "postern-tenant": ASKER }, body: { scopes: ["publish", "consume", "manage", "read"] } });
  tokens.set("portal", (await call(gateway, "POST", "/v1/portal-sessions", { token: null, body: { code: json.code } })).json.token);
  tokens.set("jwt", await issuer.sign({ tenant: ASKER, scope: SCOPES.join(" ") }));
  return tokens;
}

/** All of the victim that a change would show in. */
async function snapshot(): Promise<Record<string, unknown>> {
  const lists = ["endpoints", "subscriptions", "queues", "sources", "tokens", "messages", "dead", "topics", "consumers", "jobs", "audit"];
  const taken: Record<string, unknown> = {};
  for (const list of lists) taken[list] = (await made("GET", `/v1/${list}?limit=250`)).data.map(({ lastUsedAt: _used, oldestAgeSeconds: _age, ...rest }: Record<string, unknown>) => rest);
  taken["stream"] = (await asVictim("GET", `/v1/stream/${theirs.stream}`)).bytes.toString();
  taken["subscription"] = await made("GET", `/v1/stream/__ds/subscriptions/${theirs.streamSubscription}`);
  taken["content"] = (await asVictim("GET", `/v1/messages/${theirs.message}/content`)).bytes.toString();
  taken["secret"] = (await made("GET", `/v1/endpoints/${theirs.push}/secret`)).secret;
  taken["tenant"] = (await call(gateway, "GET", `/v1/tenants/${VICTIM}`)).json;
  taken["received"] = receiver.requests.length;
  return taken;
}

type TestIssuer = {
  readonly host: string;
  readonly sign: (claims: Record<string, unknown>, kid?: string) => Promise<string>;
  readonly fetches: () => number;
  /** From now on it answers nothing but 503. */
  readonly fail: () => void;
  readonly close: () => Promise<void>;
};

async function startIssuer(): Promise<TestIssuer> {
  const { publicKey, privateKey } = await generateKeyPair("ES256", { extractable: true });
  const keys = JSON.stringify({ keys: [{ ...(await exportJWK(publicKey)), kid: "known", alg: "ES256", use: "sig" }] });
  let fetches = 0;
  let failing = false;
  const server: Server = createServer((_request, response) => {
    fetches++;
    response.writeHead(failing ? 503 : 200, { "content-type": "application/json" }).end(failing ? "" : keys);
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const address = server.address();
  if (typeof address !== "object" || address === null) throw new Error("the issuer has no port");
  return {
    host: `127.0.0.1:${address.port}`,
    sign: (claims, kid = "known") =>
      new SignJWT({ sub: "someone", ...claims })
        .setProtectedHeader({ alg: "ES256", kid }).setIssuer(ISSUER).setAudience(AUDIENCE).setExpirationTime("10m").sign(privateKey),
    fetches: () => fetches,
    fail: () => {
      failing = true;
    },
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };
}
