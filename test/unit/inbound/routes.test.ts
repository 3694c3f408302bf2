import { beforeEach, describe, expect, it, vi } from "vitest";
import type { Append, AppendResult } from "../../../src/streams/contract.ts";
import { openGateway } from "../http/gateway.ts";
import { GITHUB, github, hmac, shopify, slack, SLACK, standard, stripe, type Vector } from "./vectors.ts";

const SECRET = "a secret of the tests, canary-5aef";
const WHSEC = `whsec_${Buffer.from("canary-5aef of thirty-two bytes!").toString("base64")}`;

let appended: { stream: string; append: Append }[] = [];
let lines: string[] = [];

const stub = {
  ping: async () => "pong",
  append: async (stream: string, appends: readonly Append[]): Promise<AppendResult> => {
    appended.push(...appends.map((append) => ({ stream, append })));
    return {
      ok: true,
      appended: appends.map(({ message, endpointIds }) => ({ id: message.id, offset: 0, timeMs: Date.now(), matched: endpointIds.length, duplicate: false })),
    };
  },
};
const gateway = openGateway({ STREAMS: { getByName: () => stub } });

beforeEach(() => {
  [appended, lines] = [[], []];
  for (const level of ["info", "warn", "error"] as const) vi.spyOn(console, level).mockImplementation((line: string) => void lines.push(line));
  return () => {
    vi.restoreAllMocks();
    vi.useRealTimers();
  };
});

async function makeSource(body: Record<string, unknown>): Promise<any> {
  const response = await gateway.send("POST", "/v1/sources", { json: { topic: "inbound.events", secret: SECRET, ...body } });
  expect(response.status, await response.clone().text()).toBe(201);
  return response.json();
}

async function post(url: string, vector: Pick<Vector, "headers" | "body">): Promise<{ status: number; json: any }> {
  const response = await gateway.send("POST", url, { token: null, headers: vector.headers, body: vector.body });
  return { status: response.status, json: await response.json() };
}

describe("a source of another sender", () => {
  it.each(["github", "stripe", "slack", "shopify"])("of kind %s is shown without its secret", async (kind) => {
    const source = await makeSource({ kind, name: "A sender" });
    expect(source).toMatchObject({ kind, topic: "inbound.events", url: `/in/${source.id}`, deduplicateBy: "delivery", hmac: null });
    expect(source.secrets).toEqual([{ id: expect.stringMatching(/^sec_/), createdAt: expect.any(String), expiresAt: null }]);
    for (const path of [`/v1/sources/${source.id}`, "/v1/sources", "/v1/audit"]) {
      const text = await (await gateway.send("GET", path)).text();
      expect(text).toContain(source.id);
      expect(text).not.toContain("canary-5aef");
    }
    expect(JSON.stringify(gateway.sqlite.prepare("SELECT * FROM source_secrets").all())).not.toContain("canary-5aef");
    expect(JSON.stringify(source)).not.toContain("canary-5aef");
  });

  it.each<[string, Record<string, unknown>, string]>([
    ["no secret", { kind: "github", secret: undefined }, "/secret"],
    ["a secret that is too short", { kind: "github", secret: "short" }, "/secret"],
    ["a secret of another kind", { kind: "standard-webhooks" }, "/secret"],
    ["no topic", { kind: "stripe", topic: undefined }, "/topic"],
    ["a topic of null", { kind: "stripe", topic: null }, "/topic"],
    ["fields of SNS", { kind: "slack", topicArns: [] }, "/topicArns"],
    ["a scheme that is not its own", { kind: "slack", hmac: {} }, "/hmac"],
    ["no scheme", { kind: "hmac" }, "/hmac"],
    ["a time that is not signed", { kind: "hmac", hmac: { signatureHeader: "x-s", timestampHeader: "x-t" } }, "/hmac/content"],
    ["a kind there is none of", { kind: "gitlab" }, "/kind"],
  ])("is 422 with %s", async (_what, change, pointer) => {
    const response = await gateway.send("POST", "/v1/sources", { json: { topic: "a", secret: SECRET, ...change } });
    expect(response.status).toBe(422);
    expect((await response.json<any>()).errors.map((error: { pointer: string }) => error.pointer)).toContain(pointer);
  });

  it("is 400 with a topic that is none", async () => {
    expect((await gateway.send("POST", "/v1/sources", { json: { kind: "github", topic: "a..b", secret: SECRET } })).status).toBe(400);
  });

  it("changes by its own fields alone", async () => {
    const { id } = await makeSource({ kind: "github" });
    const changed = await gateway.send("PATCH", `/v1/sources/${id}`, { json: { topic: "other", deduplicateBy: "content", name: null } });
    expect(await changed.json()).toMatchObject({ topic: "other", deduplicateBy: "content" });
    for (const json of [{ topic: null }, { minVersion: 2 }, { hmac: { signatureHeader: "x-s" } }, { secret: SECRET }, { kind: "slack" }]) {
      expect((await gateway.send("PATCH", `/v1/sources/${id}`, { json })).status, JSON.stringify(json)).toBe(422);
    }
  });

  it("of kind `hmac` keeps a scheme its secret can be read by", async () => {
    const { id } = await makeSource({ kind: "hmac", hmac: { signatureHeader: "X-Signature" } });
    const patch = (hmacScheme: object) => gateway.send("PATCH", `/v1/sources/${id}`, { json: { hmac: { signatureHeader: "x-s", ...hmacScheme } } });
    expect((await patch({ secretEncoding: "hex" })).status).toBe(422);
    expect(await (await patch({ algorithm: "sha1" })).json()).toMatchObject({ hmac: { signatureHeader: "x-s", algorithm: "sha1" } });
  });

  it("is gone with its secrets", async () => {
    const { id } = await makeSource({ kind: "github" });
    expect((await gateway.send("DELETE", `/v1/sources/${id}`)).status).toBe(204);
    expect(gateway.sqlite.prepare("SELECT count(*) AS n FROM source_secrets WHERE source_id = ?").get(id)).toEqual({ n: 0 });
    expect((await post(`/in/${id}`, GITHUB)).status).toBe(404);
  });
});

describe("rotating the secret", () => {
  it("accepts both for the overlap, then the new one alone", async () => {
    const { id, url } = await makeSource({ kind: "github", secret: "the first secret of all" });
    const rotated = await gateway.send("POST", `/v1/sources/${id}/secret/rotate`, { json: { secret: "the second secret of all", overlapSeconds: 60 } });
    expect(rotated.status).toBe(200);
    const text = await rotated.text();
    expect(JSON.parse(text).secrets).toMatchObject([{ expiresAt: null }, { expiresAt: expect.any(String) }]);
    expect(text).not.toContain("secret of all");
    const deliver = async (secret: string, deliveryId: string) => (await post(url, github(secret, "{}", "push", deliveryId))).status;
    expect([await deliver("the first secret of all", "1"), await deliver("the second secret of all", "2")]).toEqual([200, 200]);
    vi.useFakeTimers({ toFake: ["Date"], now: Date.now() + 61_000 });
    expect([await deliver("the first secret of all", "3"), await deliver("the second secret of all", "4")]).toEqual([403, 200]);
  });

  it("ends the old one at once with an overlap of 0", async () => {
    const { id, url } = await makeSource({ kind: "github", secret: "the first secret of all" });
    await gateway.send("POST", `/v1/sources/${id}/secret/rotate`, { json: { secret: "the second secret of all", overlapSeconds: 0 } });
    expect((await post(url, github("the first secret of all", "{}", "push", "1"))).status).toBe(403);
  });

  it("is refused for SNS, for a secret that is none, and for a source there is none of", async () => {
    const sns = await gateway.send("POST", "/v1/sources", { json: { kind: "sns", topic: null, topicArns: ["arn:aws:sns:eu-central-1:123456789012:orders"] } });
    const { id } = await sns.json<any>();
    expect((await gateway.send("POST", `/v1/sources/${id}/secret/rotate`, { json: { secret: SECRET } })).status).toBe(409);
    const other = await makeSource({ kind: "github" });
    expect((await gateway.send("POST", `/v1/sources/${other.id}/secret/rotate`, { json: { secret: "short" } })).status).toBe(422);
    expect((await gateway.send("POST", "/v1/sources/src_none/secret/rotate", { json: { secret: SECRET } })).status).toBe(404);
  });
});

describe("what a sender delivers", () => {
  const messages = () => appended.map(({ append }) => append.message);

  it("becomes an event of the same bytes, with what the headers say as attributes", async () => {
    const { url, id } = await makeSource({ kind: "github", secret: GITHUB.secret });
    const { status, json } = await post(url, GITHUB);
    expect([status, json]).toMatchObject([200, { topic: "inbound.events", offset: 0, matched: 0 }]);
    expect(appended[0]?.stream).toBe("default/topics/inbound.events");
    expect(messages()).toEqual([
      {
        id: json.id, deduplicate: true, contentType: "text/plain", body: new TextEncoder().encode("Hello, World!"),
        attributes: { event: "issues", "delivery-id": "72d3162e-cc78-11e3-81ab-4c9367dc0958" },
        event: { source: `/in/${id}` }, traceparent: expect.stringMatching(/^00-/),
      },
    ]);
  });

  it("has the event's name and id from the body where the sender writes them there", async () => {
    const payment = '{"id":"evt_1NG8Du2eZvKYlo2CUI79vXWy","object":"event","type":"invoice.paid"}';
    await post((await makeSource({ kind: "stripe" })).url, stripe(SECRET, payment, Date.now()));
    await post((await makeSource({ kind: "slack" })).url, slack(SECRET, '{"type":"event_callback","event_id":"Ev123ABC456","event":{"type":"reaction_added"}}', Date.now()));
    await post((await makeSource({ kind: "shopify" })).url, shopify(SECRET, "{}", "b54557e4"));
    await post((await makeSource({ kind: "standard-webhooks", secret: WHSEC })).url, standard(WHSEC, '{"type":"user.created"}', "msg_1", Date.now()));
    expect(messages().map(({ attributes }) => attributes)).toEqual([
      { event: "invoice.paid", "delivery-id": "evt_1NG8Du2eZvKYlo2CUI79vXWy" },
      { event: "reaction_added", "delivery-id": "Ev123ABC456" },
      { event: "orders/create", "delivery-id": "b54557e4", shop: "johns-apparel.myshopify.com" },
      { event: "user.created", "delivery-id": "msg_1" },
    ]);
  });

  it("of a sender described by `hmac` is verified by its scheme", async () => {
    const scheme = { signatureHeader: "X-Signature", algorithm: "sha1", encoding: "base64", prefix: "sha1=", idHeader: "X-Id", eventHeader: "X-Event" };
    const { url } = await makeSource({ kind: "hmac", hmac: scheme });
    const headers = { "x-signature": `sha1=${hmac(SECRET, "body", "base64", "sha1")}`, "x-id": "1", "x-event": "made" };
    expect((await post(url, { headers, body: "body" })).status).toBe(200);
    expect((await post(url, { headers, body: "bodY" })).status).toBe(403);
    expect(messages().map(({ attributes }) => attributes)).toEqual([{ event: "made", "delivery-id": "1" }]);
  });

  it("is a 403 without a reason when it does not verify, and the log alone says why", async () => {
    const { url, id } = await makeSource({ kind: "slack" });
    const { status, json } = await post(url, SLACK);
    expect([status, json.detail]).toEqual([403, "The message did not pass verification."]);
    const refusals = lines.filter((line) => line.includes("inbound.refused")).map((line) => JSON.parse(line));
    expect(refusals).toMatchObject([{ level: "warn", sourceId: id, reason: "too-old" }]);
    expect(lines.join()).not.toContain("T1DC2JH3J");
    expect(appended).toEqual([]);
  });

  it("may have 1 MiB and no more", async () => {
    const { url } = await makeSource({ kind: "github" });
    const body = "x".repeat(1024 * 1024);
    expect((await post(url, github(SECRET, body, "push", "1"))).status).toBe(200);
    expect((await post(url, github(SECRET, `${body}x`, "push", "2"))).status).toBe(413);
  });

  it("is a 503 while the secret can not be opened, so that it is sent again", async () => {
    const { url, id } = await makeSource({ kind: "github" });
    gateway.sqlite.prepare("UPDATE source_secrets SET sealed = replace(sealed, 'k1.test.', 'k1.gone.') WHERE source_id = ?").run(id);
    expect((await post(url, github(SECRET, "{}", "push", "1"))).status).toBe(503);
    expect(lines.join()).toContain("inbound.unreadable");
  });

  it("does not verify with the secret of another source put in its place", async () => {
    const [mine, other] = [await makeSource({ kind: "github" }), await makeSource({ kind: "github", secret: "the secret of the other" })];
    const sealed = gateway.sqlite.prepare("SELECT sealed FROM source_secrets WHERE source_id = ?").get(other.id)?.["sealed"] ?? null;
    gateway.sqlite.prepare("UPDATE source_secrets SET sealed = ? WHERE source_id = ?").run(sealed, mine.id);
    expect((await post(mine.url, github("the secret of the other", "{}", "push", "1"))).status).toBe(503);
  });
});

describe("a repeated delivery", () => {
  const ids = () => appended.map(({ append }) => append.message.id);
  const sent = async (url: string, ...vectors: Vector[]): Promise<string[]> => {
    appended = [];
    for (const vector of vectors) expect((await post(url, vector)).status).toBe(200);
    return ids();
  };

  it("has the id of the first, whatever the time it is signed at: by the sender's name for it", async () => {
    const now = Date.now();
    const event = '{"id":"evt_1","type":"a"}';
    for (const [kind, secret, first, again] of [
      ["stripe", SECRET, stripe(SECRET, event, now), stripe(SECRET, `${event} `, now + 2000)],
      ["slack", SECRET, slack(SECRET, '{"event_id":"Ev1"}', now), slack(SECRET, '{"event_id":"Ev1","retry":1}', now + 2000)],
      ["github", SECRET, github(SECRET, "{}", "push", "1"), github(SECRET, "{}", "push", "1")],
      ["shopify", SECRET, shopify(SECRET, "{}", "1"), shopify(SECRET, "{}", "1")],
      ["standard-webhooks", WHSEC, standard(WHSEC, "{}", "msg_1", now), standard(WHSEC, "{}", "msg_1", now + 2000)],
    ] as const) {
      const [one, two] = await sent((await makeSource({ kind, secret })).url, first, again);
      expect(one, kind).toBe(two);
    }
  });

  it("is told from another delivery of the same bytes", async () => {
    const now = Date.now();
    for (const [kind, first, other] of [
      ["github", github(SECRET, "{}", "push", "1"), github(SECRET, "{}", "push", "2")],
      ["slack", slack(SECRET, "command=a", now), slack(SECRET, "command=a", now + 1000)],
      ["stripe", stripe(SECRET, '{"id":"evt_1"}', now), stripe(SECRET, '{"id":"evt_2"}', now)],
    ] as const) {
      const [one, two] = await sent((await makeSource({ kind })).url, first, other);
      expect(one, kind).not.toBe(two);
    }
  });

  it("under an id that was changed on the way is the same where the content decides", async () => {
    const { url } = await makeSource({ kind: "github", deduplicateBy: "content" });
    const [one, two, other] = await sent(url, github(SECRET, "{}", "push", "1"), github(SECRET, "{}", "push", "2"), github(SECRET, "{ }", "push", "1"));
    expect(one).toBe(two);
    expect(other).not.toBe(one);
  });

  it("can not take the id of another source's delivery", async () => {
    const delivery = github(SECRET, "{}", "push", "1");
    const [one] = await sent((await makeSource({ kind: "github" })).url, delivery);
    const [two] = await sent((await makeSource({ kind: "github" })).url, delivery);
    expect(one).not.toBe(two);
  });
});

describe("a handshake", () => {
  it("of Slack gets its challenge back, once it is verified, and publishes nothing", async () => {
    const { url } = await makeSource({ kind: "slack" });
    const body = '{"token":"Jhj5dZrVaK7ZwHHjRyZWjbDl","challenge":"3eZbrw1aBm2rZgRNFdxV2595E9CY3gmdALWMmHkvFXO7tYXAYM8P","type":"url_verification"}';
    expect(await post(url, slack(SECRET, body, Date.now()))).toEqual({ status: 200, json: { challenge: "3eZbrw1aBm2rZgRNFdxV2595E9CY3gmdALWMmHkvFXO7tYXAYM8P" } });
    expect((await post(url, { ...slack(SECRET, body, Date.now()), body: body.replace("3eZ", "evil") })).status).toBe(403);
    expect(appended).toEqual([]);
  });

  it("of GitHub is its ping", async () => {
    const { url } = await makeSource({ kind: "github" });
    expect(await post(url, github(SECRET, '{"zen":"Design for failure."}', "ping", "1"))).toEqual({ status: 200, json: { pong: true } });
    expect((await post(url, github("a secret that is not it", "{}", "ping", "1"))).status).toBe(403);
    expect(appended).toEqual([]);
  });
});

describe("the tenant of a source", () => {
  const inTenant = async (tenant: string, limits: object): Promise<string> => {
    await gateway.send("POST", "/v1/tenants", { json: { id: tenant, limits } });
    const response = await gateway.send("POST", "/v1/sources", { tenant, json: { kind: "github", topic: "a", secret: SECRET } });
    return (await response.json<any>()).url;
  };

  it("that is suspended has its senders come again, and publishes nothing meanwhile", async () => {
    const url = await inTenant("suspended", {});
    expect((await gateway.send("POST", "/v1/tenants/suspended/suspend")).status).toBe(200);
    expect((await post(url, github(SECRET, "{}", "push", "1"))).status).toBe(503);
    expect(appended).toEqual([]);
    expect((await gateway.send("POST", "/v1/tenants/suspended/resume")).status).toBe(200);
    vi.useFakeTimers({ toFake: ["Date"], now: Date.now() + 1_100 });
    expect((await post(url, github(SECRET, "{}", "push", "1"))).status).toBe(200);
  });

  it("bounds what is published: 413 and 429, the latter by what verified alone", async () => {
    const url = await inTenant("bounded", { publishPerSecond: 1, payloadBytes: 10 });
    expect((await post(url, github(SECRET, "more than ten bytes", "push", "1"))).status).toBe(413);
    for (let count = 0; count < 5; count++) expect((await post(url, github("a secret of another one", "{}", "push", "1"))).status).toBe(403);
    const statuses = [];
    for (let count = 0; count < 3; count++) statuses.push((await post(url, github(SECRET, "{}", "push", String(count)))).status);
    expect(statuses[0]).toBe(200);
    expect(statuses).toContain(429);
  });
});
