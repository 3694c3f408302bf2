import { createPublicKey, verify as verifySignature } from "node:crypto";
import { createServer, type Server } from "node:http";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { github, slack, standard, type Vector } from "../unit/inbound/vectors.ts";
import { call, createEndpoint, deliveriesOf, eventually, publish } from "./api.ts";
import { type Gateway, startGateway } from "./gateway.ts";
import { type Receiver, startReceiver } from "./receiver.ts";

const SECRET = "a secret of the system tests";

/** A resolver on loopback: names have these addresses now, or it is out. */
type Resolver = { readonly url: string; readonly host: string; addresses: readonly string[] | "out"; readonly close: () => Promise<void> };

let gateway: Gateway;
let receiver: Receiver;
let resolver: Resolver;

beforeAll(async () => {
  receiver = await startReceiver();
  resolver = await startResolver();
  gateway = await startGateway({
    env: { POSTERN_ALLOW_HOSTS: `${receiver.host},${resolver.host}`, POSTERN_DOH_URL: resolver.url },
  });
});
afterAll(async () => {
  await gateway.dispose();
  await receiver.close();
  await resolver.close();
});

async function startResolver(): Promise<Resolver> {
  const state = { addresses: ["93.184.216.34"] as readonly string[] | "out" };
  const server: Server = createServer((request, response) => {
    if (state.addresses === "out") return void response.writeHead(500).end();
    const type = new URL(request.url ?? "", "http://localhost").searchParams.get("type") === "A" ? 1 : 28;
    const answers = state.addresses.filter((data) => data.includes(":") === (type === 28)).map((data) => ({ type, TTL: 0, data }));
    response.writeHead(200, { "content-type": "application/dns-json" }).end(JSON.stringify({ Status: 0, Answer: answers }));
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const address = server.address();
  const host = `127.0.0.1:${typeof address === "object" ? address?.port : ""}`;
  return Object.assign(state, {
    host,
    url: `http://${host}/dns-query`,
    close: () => new Promise<void>((resolve) => {
      server.close(() => resolve());
      server.closeAllConnections();
    }),
  });
}

const post = (url: string, { headers, body }: Vector) => call(gateway, "POST", url, { token: null, headers, raw: body });

/** A source and an endpoint of its own topic that gets what comes in by it. */
async function connect(kind: string, secret: string, path: string): Promise<string> {
  const source = await call(gateway, "POST", "/v1/sources", { body: { kind, secret, topic: `in.${path}` } });
  expect(source.status, source.bytes.toString()).toBe(201);
  await createEndpoint(gateway, { url: `${receiver.url}/${path}`, topics: [`in.${path}`] });
  return source.json.url;
}

const arrivals = (path: string) => receiver.requests.filter((request) => request.path === `/${path}`);

describe("a webhook of another sender", () => {
  it("is delivered byte for byte to who subscribed, once, however often it is sent", async () => {
    const url = await connect("github", SECRET, "github");
    const body = '{"zen":"Half measures are as bad as nothing at all.","n":1.00,\n "n":2}';
    const first = await post(url, github(SECRET, body, "push", "72d3162e"));
    const again = await post(url, github(SECRET, body, "push", "72d3162e"));
    expect([first.status, again.status, again.json.id]).toEqual([200, 200, first.json.id]);
    await post(url, github(SECRET, "{}", "issues", "last"));
    await receiver.until(() => arrivals("github").some(({ headers }) => headers["postern-attribute-event"] === "issues"));
    expect(arrivals("github")).toHaveLength(2);
    expect(arrivals("github")[0]).toMatchObject({
      body: Buffer.from(body),
      headers: { "content-type": "application/json", "postern-attribute-event": "push", "postern-attribute-delivery-id": "72d3162e", "webhook-id": first.json.id },
    });
  });

  it("that does not verify is refused and reaches nobody", async () => {
    const url = await connect("slack", SECRET, "slack");
    expect((await post(url, slack("another secret altogether", "{}", Date.now()))).status).toBe(403);
    expect((await post(url, slack(SECRET, "{}", Date.now() - 600_000))).status).toBe(403);
    expect((await post(url, slack(SECRET, "x".repeat(1024 * 1024 + 1), Date.now()))).status).toBe(413);
    expect((await post(url, slack(SECRET, '{"type":"url_verification","challenge":"c"}', Date.now()))).json).toEqual({ challenge: "c" });
    await post(url, slack(SECRET, '{"event_id":"Ev1"}', Date.now()));
    await receiver.until(() => arrivals("slack").length > 0);
    expect(arrivals("slack").map(({ body }) => body.toString())).toEqual(['{"event_id":"Ev1"}']);
    expect(gateway.logs()).toContain('"reason":"signature-mismatch"');
    expect(gateway.logs()).toContain('"reason":"too-old"');
  });

  it("is accepted with either secret while it is rotated, and not with the old one after", async () => {
    const [old, next] = [1, 2].map((byte) => `whsec_${Buffer.alloc(32, byte).toString("base64")}`) as [string, string];
    const url = await connect("standard-webhooks", old, "rotated");
    const rotate = (secret: string, overlapSeconds: number) =>
      call(gateway, "POST", `/v1/sources/${url.slice("/in/".length)}/secret/rotate`, { body: { secret, overlapSeconds } });
    expect((await rotate(next, 60)).status).toBe(200);
    expect((await post(url, standard(old, "1", "a", Date.now()))).status).toBe(200);
    expect((await post(url, standard(next, "2", "b", Date.now()))).status).toBe(200);
    expect((await rotate(next, 0)).status).toBe(200);
    expect((await call(gateway, "DELETE", `/v1/sources/${url.slice("/in/".length)}`)).status).toBe(204);
    expect((await post(url, standard(next, "3", "c", Date.now()))).status).toBe(404);
  });
});

describe("a push URL whose name is resolved", () => {
  const url = "https://hooks.example.com/hook";
  const create = () => call(gateway, "POST", "/v1/endpoints", { body: { kind: "push", url, topics: ["resolved"], retrySchedule: [2, 2, 2, 2, 2, 2] } });

  it("is refused while it has a private address, 503 while the resolver is out, and never let through at an attempt", async () => {
    resolver.addresses = ["93.184.216.34", "10.0.0.1"];
    const refused = await create();
    expect([refused.status, refused.json.errors[0]]).toMatchObject([422, { pointer: "/url" }]);
    await new Promise((resolve) => setTimeout(resolve, 1_100)); // answers of a TTL of 0 are kept for a second
    resolver.addresses = "out";
    expect((await create()).status).toBe(503);
    await new Promise((resolve) => setTimeout(resolve, 1_100));
    resolver.addresses = ["93.184.216.34"];
    expect((await create()).status).toBe(201);
    await new Promise((resolve) => setTimeout(resolve, 1_100));
    resolver.addresses = ["127.0.0.1"];
    const { id } = await publish(gateway, "resolved", "x");
    const attemptsOf = async () => (await deliveriesOf(gateway, id))[0]?.attempts ?? [];
    await eventually(attemptsOf, (attempts) => JSON.stringify(attempts).includes("address-refused"));
    resolver.addresses = "out";
    await eventually(attemptsOf, (attempts) => JSON.stringify(attempts).includes("address-unresolved"));
    expect((await deliveriesOf(gateway, id))[0].status).toBe("open");
  });
});

describe("an endpoint that asks for more", () => {
  it("gets a `v1a` signature that verifies with the tenant's public key, and a bearer token of its own", async () => {
    receiver.answerWith((request, response) => {
      if (request.path !== "/token") return void response.writeHead(204).end();
      const right = request.headers["authorization"] === `Basic ${Buffer.from("me:my-client-secret").toString("base64")}`;
      response.writeHead(right ? 200 : 401, { "content-type": "application/json" });
      response.end(JSON.stringify(right ? { access_token: "token-of-the-test", token_type: "bearer", expires_in: 60 } : {}));
    });
    const auth = { kind: "oauth2", tokenUrl: `${receiver.url}/token`, clientId: "me", clientSecret: "my-client-secret" };
    await createEndpoint(gateway, { url: `${receiver.url}/asymmetric`, topics: ["asymmetric"], asymmetric: true, auth });
    await publish(gateway, "asymmetric", "signed twice");
    await receiver.until(() => arrivals("asymmetric").length > 0);
    const [request] = arrivals("asymmetric");
    expect(request?.headers["authorization"]).toBe("Bearer token-of-the-test");
    const { keys } = (await call(gateway, "GET", "/.well-known/jwks.json", { token: null })).json;
    const { headers, body } = request!;
    const signature = headers["webhook-signature"]?.split(" ").find((part) => part.startsWith("v1a,"))?.slice(4) ?? "";
    const signed = Buffer.concat([Buffer.from(`${headers["webhook-id"]}.${headers["webhook-timestamp"]}.`), body]);
    expect(verifySignature(null, signed, createPublicKey({ key: keys[0], format: "jwk" }), Buffer.from(signature, "base64"))).toBe(true);
  });
});
