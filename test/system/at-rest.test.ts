import { createPublicKey, randomBytes, verify as verifySignature } from "node:crypto";
import { readdirSync, readFileSync, statSync } from "node:fs";
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { Webhook } from "standardwebhooks";
import { afterEach, describe, expect, it } from "vitest";
import { github } from "../unit/inbound/vectors.ts";
import { call, createEndpoint, eventually, publish } from "./api.ts";
import { type Gateway, startGateway } from "./gateway.ts";
import { type ReceivedRequest, type Receiver, startReceiver } from "./receiver.ts";

/** The cron runs at each full minute; what it does then takes a moment. */
const CRON_DEADLINE_MS = 90_000;

const closing: (() => Promise<void>)[] = [];
afterEach(async () => {
  for (const close of closing.splice(0)) await close();
});

const newKey = (id: string) => `${id}:${randomBytes(32).toString("base64")}`;

/** Every file below a directory. */
function filesIn(directory: string): string[] {
  return readdirSync(directory, { recursive: true, encoding: "utf8" })
    .map((path) => join(directory, path))
    .filter((path) => statSync(path).isFile());
}

/** The sealed values of the control plane, as they are in its database now. */
function sealedValues(dataDir: string): string[] {
  const columns = { endpoint_secrets: "sealed", endpoints: "headers", source_secrets: "sealed", tenant_signing_keys: "sealed", idempotency_keys: "response" };
  for (const path of filesIn(dataDir).filter((file) => file.endsWith(".sqlite"))) {
    const sqlite = new DatabaseSync(path, { readOnly: true, timeout: 10_000 });
    try {
      if (sqlite.prepare("SELECT 1 FROM sqlite_master WHERE name = 'endpoint_secrets'").get() === undefined) continue;
      const read = (table: string, column: string) => sqlite.prepare(`SELECT ${column} AS value FROM ${table} WHERE ${column} IS NOT NULL`).all();
      const values = [...Object.entries(columns), ["endpoints", "auth"] as const].flatMap(([table, column]) => read(table, column));
      return values.map(({ value }) => String(value));
    } finally {
      sqlite.close();
    }
  }
  throw new Error("there is no database of the control plane");
}

describe("the key ring", () => {
  it("is changed in the middle of traffic: no failed signature, no unreadable row, and the old key can go", { timeout: 240_000 }, async () => {
    const receiver = await startReceiver();
    closing.push(receiver.close);
    const [keyA, keyB] = [newKey("a"), newKey("b")];
    const env = { POSTERN_ALLOW_HOSTS: receiver.host, POSTERN_ENCRYPTION_KEYS: keyA };
    let gateway = await startGateway({ env });
    closing.push(() => gateway.dispose());

    receiver.answerWith((request, response) => {
      if (request.path !== "/token") return void response.writeHead(204).end();
      const right = request.headers["authorization"] === `Basic ${Buffer.from("me:my-client-secret").toString("base64")}`;
      const token = { access_token: "token-of-the-test", token_type: "bearer", expires_in: 2 };
      response.writeHead(right ? 200 : 401, { "content-type": "application/json" }).end(JSON.stringify(token));
    });
    const idempotent = { headers: { "idempotency-key": "made-under-a" }, body: { kind: "push", url: `${receiver.url}/plain`, topics: ["ring"] } };
    const first = await call(gateway, "POST", "/v1/endpoints", idempotent);
    const secret: string = first.json.secret;
    const auth = { kind: "oauth2", tokenUrl: `${receiver.url}/token`, clientId: "me", clientSecret: "my-client-secret" };
    const full = await createEndpoint(gateway, {
      url: `${receiver.url}/full`, topics: ["ring"], headers: { "x-own": "own header" }, asymmetric: true, auth, retrySchedule: [1, 1, 1, 1, 1, 1],
    });
    const source = await call(gateway, "POST", "/v1/sources", { body: { kind: "github", topic: "ring", secret: "the secret of the source" } });
    const { keys } = (await call(gateway, "GET", "/.well-known/jwks.json")).json;
    const publicKey = createPublicKey({ key: keys[0], format: "jwk" });
    expect(sealedValues(gateway.dataDir).every((value) => value.startsWith("k1.a."))).toBe(true);

    const traffic = startTraffic(() => gateway, source.json.url);
    await receiver.until((requests) => requests.length > 40);

    gateway = await gateway.restart({ POSTERN_ENCRYPTION_KEYS: `${keyB},${keyA}` });
    await eventually(async () => sealedValues(gateway.dataDir), (values) => values.every((value) => value.startsWith("k1.b.")), CRON_DEADLINE_MS);
    expect(gateway.logs()).toContain("secrets.reencrypted");
    const bothLogs = gateway.logs();
    // How soon the cron comes is chance; the traffic goes on until there was enough of it.
    await eventually(async () => traffic.accepted.length, (count) => count > 100, 60_000);

    gateway = await gateway.restart({ POSTERN_ENCRYPTION_KEYS: keyB });
    const after = await publish(gateway, "ring", "the last");
    const { accepted, refused } = await traffic.stop();
    expect(refused).toEqual([]);

    const ids = [...accepted, after.id];
    await receiver.until(() => {
      const arrived = (path: string) => new Set(receiver.requests.filter((request) => request.path === path).map(({ headers }) => headers["webhook-id"]));
      const [plain, other] = [arrived("/plain"), arrived("/full")];
      return ids.every((id) => plain.has(id) && other.has(id));
    }, 60_000);
    expect(accepted.length).toBeGreaterThan(100);
    const deliveries = receiver.requests.filter(({ path }) => path !== "/token");
    for (const request of deliveries) {
      const signedBy = request.path === "/plain" ? secret : full.secret;
      expect(() => new Webhook(signedBy).verify(request.body, { ...request.headers }, { jsonParse: false })).not.toThrow();
      if (request.path !== "/full") continue;
      expect(request.headers).toMatchObject({ "x-own": "own header", authorization: "Bearer token-of-the-test" });
      expect(isSignedBy(publicKey, request)).toBe(true);
    }
    for (const logs of [bothLogs, gateway.logs()]) expect(logs).not.toMatch(/unreadable|can not be opened|maintenance\.failed|signing-failed/);

    expect((await call(gateway, "GET", `/v1/endpoints/${first.json.id}/secret`)).json).toEqual({ secret });
    expect((await call(gateway, "GET", "/.well-known/jwks.json")).json.keys).toEqual(keys);
    const replayed = await call(gateway, "POST", "/v1/endpoints", idempotent);
    expect([replayed.status, replayed.headers.get("idempotency-replayed"), replayed.json.secret]).toEqual([201, "true", secret]);
  });
});

function isSignedBy(publicKey: ReturnType<typeof createPublicKey>, { headers, body }: ReceivedRequest): boolean {
  const signature = headers["webhook-signature"]?.split(" ").find((part) => part.startsWith("v1a,"))?.slice(4) ?? "";
  const signed = Buffer.concat([Buffer.from(`${headers["webhook-id"]}.${headers["webhook-timestamp"]}.`), body]);
  return verifySignature(null, signed, publicKey, Buffer.from(signature, "base64"));
}

/** Publishes, by itself and through the source, until it is stopped; a gateway that restarts is waited for. */
function startTraffic(gateway: () => Gateway, sourceUrl: string) {
  const accepted: string[] = [];
  const refused: string[] = [];
  let running = true;
  const work = async (send: (count: number) => ReturnType<typeof call>): Promise<void> => {
    for (let count = 0; running; count++) {
      const answer = await send(count).catch(() => null); // the gateway is down for its restart
      if (answer !== null && [200, 202].includes(answer.status)) accepted.push(answer.json.id);
      else if (answer !== null) refused.push(`${answer.status} ${answer.bytes.toString()}`);
      await new Promise((resolve) => setTimeout(resolve, 100));
    }
  };
  const both = Promise.all([
    work((count) => call(gateway(), "POST", "/v1/events/ring", { raw: `message ${count}`, headers: { "content-type": "text/plain" } })),
    work((count) => {
      const { headers, body } = github("the secret of the source", `{"count":${count}}`, "push", `delivery-${count}`);
      return call(gateway(), "POST", sourceUrl, { token: null, headers, raw: body });
    }),
  ]);
  return {
    accepted,
    stop: async () => {
      running = false;
      await both;
      return { accepted, refused };
    },
  };
}

/** What must never be seen outside of where it belongs, by name. */
const CANARIES = {
  endpointSecret: `whsec_${Buffer.from("CANARY-endpoint-secret-of-32-b!!").toString("base64")}`,
  rotatedSecret: `whsec_${Buffer.from("CANARY-rotated-secret-of-32-by!!").toString("base64")}`,
  customHeader: "CANARY-custom-header-5f1d",
  clientSecret: "CANARY-client-secret-77ab",
  accessToken: "CANARY-access-token-91c0",
  sourceSecret: "CANARY-source-secret-2e6d",
  rotatedSourceSecret: "CANARY-source-secret-rotated-0b",
  adminToken: "pst_CANARYadmintoken0123456789abcdefghij",
  wrongToken: "pst_CANARYwrongtoken0123456789abcdefghij",
  refusedSecret: "CANARY-secret-of-a-refused-request",
};

describe("a canary of every kind of secret", () => {
  it("is found nowhere afterwards: logs, errors, metrics, history, audit, files on disk", { timeout: 120_000 }, async () => {
    const receiver = await startReceiver();
    closing.push(receiver.close);
    const encryptionKey = randomBytes(32).toString("base64");
    const gateway = await startGateway({
      env: { POSTERN_ALLOW_HOSTS: receiver.host, POSTERN_ADMIN_TOKEN: CANARIES.adminToken, POSTERN_ENCRYPTION_KEYS: `k:${encryptionKey}` },
    });
    closing.push(gateway.dispose);
    const seen: [string, string][] = [];
    const ask = async (...request: Parameters<typeof call> extends [unknown, ...infer Rest] ? Rest : never) => {
      const answer = await call(gateway, ...request);
      const { pathname } = new URL(request[1], gateway.url);
      seen.push([`answer ${answer.status} to ${request[0]} ${pathname}`, `${answer.bytes.toString()}\n${JSON.stringify(Object.fromEntries(answer.headers))}`]);
      return answer;
    };
    const made = await driveTraffic(gateway, receiver, ask);
    for (const path of ["/metrics", "/v1/audit", "/v1/messages", "/v1/endpoints", "/v1/sources", "/v1/tokens", "/v1/dead", "/v1/stats", "/openapi.json", "/docs"]) {
      await ask("GET", path);
    }
    const exported = await fetch(`${gateway.url}/v1/audit`, { headers: { authorization: `Bearer ${gateway.token}`, accept: "application/x-ndjson" } });
    expect(exported.headers.get("content-type")).toContain("application/x-ndjson");
    seen.push(["the export of the audit log", await exported.text()]);
    await gateway.stop();

    const basic = Buffer.from(`me:${CANARIES.clientSecret}`).toString("base64");
    const secrets = { ...CANARIES, ...made, basic, encryptionKey };
    const places: [string, Buffer][] = [["log", Buffer.from(gateway.logs())], ...seen.map(([place, text]): [string, Buffer] => [place, Buffer.from(text)])];
    const files = filesIn(gateway.dataDir);
    expect(files.filter((path) => path.endsWith(".sqlite")).length).toBeGreaterThan(2);
    places.push(...files.map((path): [string, Buffer] => [path, readFileSync(path)]));
    const found: string[] = [];
    for (const [name, secret] of Object.entries(secrets)) {
      for (const form of formsOf(secret)) {
        found.push(...places.filter(([, bytes]) => bytes.includes(form)).map(([place]) => `${name} in ${place}`));
      }
    }
    expect(found).toEqual([]);
    // the search itself works: what is no secret is found in the same places
    expect(places.filter(([place, bytes]) => place.endsWith(".sqlite") && bytes.includes("not a secret at all")).length).toBeGreaterThan(0);
    expect(places.filter(([place, bytes]) => place === "answer 200 to GET /v1/messages" && bytes.includes("canaries")).length).toBeGreaterThan(0);
  });
});

/** A secret as it is, and as it would be in hex, base 64 or behind base 64 of its own. */
function formsOf(secret: string): Buffer[] {
  const bytes = Buffer.from(secret);
  const forms = [bytes, Buffer.from(bytes.toString("base64").replace(/=+$/, "").slice(0, -1)), Buffer.from(bytes.toString("hex"))];
  return secret.startsWith("whsec_") ? [...forms, Buffer.from(secret.slice("whsec_".length), "base64")] : forms;
}

type Ask = (method: string, path: string, options?: Parameters<typeof call>[3]) => ReturnType<typeof call>;

/** Uses every canary in requests that succeed and in requests that fail; the secrets that were made on the way. */
async function driveTraffic(gateway: Gateway, receiver: Receiver, ask: Ask): Promise<Record<string, string>> {
  receiver.answerWith((request, response) => {
    const json = { "content-type": "application/json" };
    if (request.path === "/token") return void response.writeHead(200, json).end(JSON.stringify({ access_token: CANARIES.accessToken, token_type: "bearer" }));
    if (request.path === "/no-token") return void response.writeHead(400, json).end(JSON.stringify({ error: request.headers, form: request.body.toString() }));
    // an endpoint that shows what it was sent
    response.writeHead(request.path === "/echo" ? 500 : 200, json).end(JSON.stringify(request.headers));
  });
  const auth = { kind: "oauth2", tokenUrl: `${receiver.url}/token`, clientId: "me", clientSecret: CANARIES.clientSecret };
  const fields = { kind: "push", topics: ["canaries"], headers: { "x-canary": CANARIES.customHeader }, retrySchedule: [1], asymmetric: true };
  const silent = (method: string, path: string, options: Parameters<typeof call>[3]) => call(gateway, method, path, options);
  // the answers to these three show a secret, as they should, and are not looked at
  const endpoint = await silent("POST", "/v1/endpoints", {
    headers: { "idempotency-key": "a-canary" }, body: { ...fields, url: `${receiver.url}/echo`, auth, secret: CANARIES.endpointSecret },
  });
  expect(endpoint.status, endpoint.bytes.toString()).toBe(201);
  const generated = await silent("POST", "/v1/endpoints", { body: { ...fields, url: `${receiver.url}/ok`, auth: { ...auth, tokenUrl: `${receiver.url}/no-token` } } });
  const token = await silent("POST", "/v1/tokens", { headers: { "idempotency-key": "another" }, body: { name: "a canary", scopes: ["publish", "read", "manage"] } });
  const { id } = endpoint.json;

  await silent("POST", `/v1/endpoints/${id}/secret/rotate`, { body: { secret: CANARIES.rotatedSecret } });
  await ask("GET", `/v1/endpoints/${id}`);
  await ask("PATCH", `/v1/endpoints/${id}`, { body: { headers: { "x-canary": CANARIES.customHeader, "x-other": "***" } } });
  await ask("PATCH", `/v1/endpoints/${id}`, { body: { headers: { "x-canary": "***" }, auth: { ...auth, clientSecret: "***" } } });
  await ask("POST", "/v1/endpoints", { body: { ...fields, url: "https://127.0.0.1/", secret: CANARIES.refusedSecret, auth: { ...auth, tokenUrl: "https://10.0.0.1/" } } });
  await ask("POST", "/v1/endpoints", { raw: `{"secret": "${CANARIES.refusedSecret}", `, headers: { "content-type": "application/json" } });
  await ask("POST", "/v1/endpoints", { raw: CANARIES.refusedSecret, headers: { "content-type": "text/plain" } });

  const source = await ask("POST", "/v1/sources", { body: { kind: "github", topic: "canaries", secret: CANARIES.sourceSecret } });
  await ask("POST", "/v1/sources", { body: { kind: "standard-webhooks", topic: "canaries", secret: CANARIES.refusedSecret } });
  await ask("POST", `/v1/sources/${source.json.id}/secret/rotate`, { body: { secret: CANARIES.rotatedSourceSecret } });
  for (const secret of [CANARIES.sourceSecret, CANARIES.rotatedSourceSecret, "a secret of somebody else"]) {
    const { headers, body } = github(secret, '"not a secret at all"', "push", secret.length.toString());
    await ask("POST", source.json.url, { token: null, headers, raw: body });
  }
  const opened = await openPortal(gateway, ask);
  const callback = await askForPermission(gateway, receiver, ask);
  const wakes = await workOnStreams(gateway, receiver, ask);
  for (const method of ["GET", "DELETE", "PROPFIND"]) await ask(method, `/v1/endpoints?token=${CANARIES.wrongToken}&access_token=${CANARIES.wrongToken}`, { token: CANARIES.wrongToken });
  await ask("GET", "/v1/messages?cursor=wrong", { headers: { cookie: `session=${CANARIES.wrongToken}` } });
  await ask("POST", `/v1/endpoints/${id}/test`, { body: {} });
  const { id: messageId } = (await ask("POST", "/v1/events/canaries", { token: token.json.token, raw: "not a secret at all" })).json;
  await eventually(
    () => call(gateway, "GET", `/v1/messages/${messageId}/deliveries`),
    ({ json }) => json?.data?.length === 2 && json.data.every(({ status }: { status: string }) => status === "dead"),
    30_000,
  );
  for (const endpointId of [id, generated.json.id]) await ask("GET", `/v1/endpoints/${endpointId}/attempts`);
  for (const path of ["", "/deliveries", "/content"]) await ask("GET", `/v1/messages/${messageId}${path}`);
  return { generatedSecret: generated.json.secret, apiToken: token.json.token, ...opened, callback, ...wakes };
}

/** A portal session, and a code that is not used; both are used where they should not be, too. */
async function openPortal(gateway: Gateway, ask: Ask): Promise<Record<string, string>> {
  const makeCode = async (): Promise<string> => (await call(gateway, "POST", "/v1/portal-codes", { body: {} })).json.code;
  const [portalCode, unusedCode] = [await makeCode(), await makeCode()];
  const portalToken: string = (await call(gateway, "POST", "/v1/portal-sessions", { token: null, body: { code: portalCode } })).json.token;
  await ask("POST", "/v1/portal-sessions", { token: null, body: { code: portalCode } });
  await ask("POST", `/v1/portal-sessions?code=${unusedCode}`, { token: null, body: { wrong: unusedCode } });
  await ask("GET", "/v1/endpoints", { token: portalToken });
  await ask("POST", "/v1/tokens", { token: portalToken, body: { name: "x", scopes: ["read"] } });
  return { portalCode, unusedCode, portalToken };
}

/** The key of a callback that was used, and used again. */
async function askForPermission(gateway: Gateway, receiver: Receiver, ask: Ask): Promise<string> {
  const made = await call(gateway, "POST", "/v1/endpoints", { body: { kind: "push", url: `${receiver.url}/asked`, handshake: true } });
  const asked = () => receiver.requests.find(({ path, method }) => path === "/asked" && method === "OPTIONS")?.headers["webhook-request-callback"];
  await receiver.until(() => asked() !== undefined);
  const { pathname } = new URL(asked() ?? "");
  for (let times = 0; times < 2; times++) await call(gateway, "GET", pathname, { token: null });
  await ask("GET", `/v1/endpoints/${made.json.id}/handshake`);
  return pathname.slice("/handshakes/".length);
}

/** The tokens of a wake and of a claim, each used where it should be and where it should not. */
async function workOnStreams(gateway: Gateway, receiver: Receiver, ask: Ask): Promise<Record<string, string>> {
  const path = "/v1/stream/__ds/subscriptions";
  const headers = { "content-type": "application/json" };
  for (const stream of ["watched", "wakes"]) await ask("PUT", `/v1/stream/${stream}`, { headers });
  await ask("PUT", `${path}/pushed`, { body: { type: "webhook", webhook: { url: `${receiver.url}/woken` }, streams: ["watched"] } });
  await ask("PUT", `${path}/pulled`, { body: { type: "pull-wake", wake_stream: "wakes", streams: ["watched"] } });
  await ask("POST", "/v1/stream/watched", { headers, raw: "[1]" });
  const woken = () => receiver.requests.find((request) => request.path === "/woken");
  await receiver.until(() => woken() !== undefined);
  const wake = JSON.parse(woken()?.body.toString() ?? "{}");
  // the answer shows the token, as it should
  const claim = await call(gateway, "POST", `${path}/pulled/claim`, { headers: { "idempotency-key": "a-claim" }, body: { worker: "me" } });
  expect(claim.status, claim.bytes.toString()).toBe(200);
  const uses = [["pushed/callback", wake.callback_token, wake], ["pulled/ack", claim.json.token, claim.json]] as const;
  for (const [use, token, { wake_id, generation }] of uses) {
    await ask("GET", `/v1/stream/watched?token=${token}`, { token });
    await ask("POST", `${path}/other/${use.split("/")[1]}`, { token, body: { wake_id, generation, done: true } });
    await ask("POST", `${path}/${use}`, { token, body: { wake_id: token, generation, done: true } });
    expect((await ask("POST", `${path}/${use}`, { token, body: { wake_id, generation, done: true } })).status).toBe(200);
  }
  for (const id of ["pushed", "pulled"]) await ask("GET", `${path}/${id}`);
  for (const read of ["/v1/stream/wakes", "/v1/stream/__ds/jwks.json", "/v1/audit"]) await ask("GET", read);
  return { callbackToken: wake.callback_token, claimToken: claim.json.token };
}
