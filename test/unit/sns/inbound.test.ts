import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { createApp } from "../../../src/http/app.ts";
import { MAX_SNS_BODY_BYTES } from "../../../src/sns/parse.ts";
import { listSubscriptionStates } from "../../../src/storage/source-subscriptions.ts";
import { getTenantSource, putSourceStatement, type SnsSource } from "../../../src/storage/sources.ts";
import type { Append, AppendResult } from "../../../src/streams/contract.ts";
import { openDatabase } from "../history/sqlite-d1.ts";
import { CERTIFICATE_URL, confirmationFields, HOST, headersOf, identity, notificationFields, NOW_MS, signedBody, TOPIC_ARN } from "./fixtures.ts";

const app = createApp();
const { db, sqlite } = openDatabase();
const KEY_RING = `test:${Buffer.alloc(32, 7).toString("base64")}`;

type Appended = { readonly stream: string; readonly appends: readonly Append[] };

let appended: Appended[] = [];
let append: (stream: string, appends: readonly Append[]) => Promise<AppendResult>;
let fetched: string[] = [];
let respond: (url: string) => Response;
let warnings: string[] = [];
let madeSources = 0;

function environment(database: D1Database = db) {
  const stub = {
    append: async (stream: string, appends: readonly Append[]) => {
      appended.push({ stream, appends });
      return append(stream, appends);
    },
  };
  return { DB: database, STREAMS: { getByName: () => stub }, POSTERN_ENCRYPTION_KEYS: KEY_RING };
}

function committed(duplicate = false): typeof append {
  return async (_stream, appends) => ({
    ok: true,
    appended: appends.map(({ message, endpointIds }) => ({ id: message.id, offset: 7, timeMs: NOW_MS, matched: endpointIds.length, duplicate })),
  });
}

/** Each test has a source of its own, for the route remembers sources for a second. */
async function makeSource(change: Partial<SnsSource> = {}): Promise<string> {
  const id = `src_${++madeSources}`;
  const source: SnsSource = {
    id, tenantId: "default", kind: "sns", name: null, topicArns: [TOPIC_ARN], topic: "orders.completed", minVersion: 1,
    createdAtMs: NOW_MS, updatedAtMs: NOW_MS, ...change,
  };
  await db.batch([putSourceStatement(db, source)]);
  return id;
}

async function post(sourceId: string, body: Record<string, unknown> | string, database?: D1Database) {
  const text = typeof body === "string" ? body : JSON.stringify(body);
  const headers = typeof body === "string" ? headersOf(signedBody(notificationFields())) : headersOf(body);
  const response = await app.request(`/in/${sourceId}`, { method: "POST", headers, body: text }, environment(database));
  return { status: response.status, headers: response.headers, json: await response.json<Record<string, unknown>>() };
}

const states = async (sourceId: string) => (await listSubscriptionStates(db, [sourceId])).get(sourceId);

beforeEach(() => {
  vi.useFakeTimers({ toFake: ["Date"], now: NOW_MS });
  [appended, fetched, warnings] = [[], [], []];
  append = committed();
  respond = (url) =>
    url === CERTIFICATE_URL
      ? new Response(identity.certificatePem)
      : new Response(`<SubscriptionArn>${TOPIC_ARN}:1</SubscriptionArn>`, { status: url.includes("?Action=ConfirmSubscription&") ? 200 : 404 });
  vi.spyOn(globalThis, "fetch").mockImplementation(async (input) => {
    fetched.push(String(input));
    return respond(String(input));
  });
  for (const level of ["info", "warn", "error"] as const) {
    vi.spyOn(console, level).mockImplementation((line: string) => void warnings.push(line));
  }
});

afterEach(() => {
  vi.restoreAllMocks();
  vi.useRealTimers();
});

describe("a notification", () => {
  it("is published on the source's topic, and answered with what was committed", async () => {
    const body = signedBody(notificationFields(), "2");
    const { status, json } = await post(await makeSource(), body);
    expect(status).toBe(200);
    expect(json).toEqual({ id: body["MessageId"], topic: "orders.completed", offset: 7, time: new Date(NOW_MS).toISOString(), matched: 0 });
    expect(appended.map(({ stream }) => stream)).toEqual(["default/topics/orders.completed"]);
    expect(appended[0]?.appends[0]?.message).toMatchObject({
      id: body["MessageId"], deduplicate: true, traceparent: expect.stringMatching(/^00-[0-9a-f]{32}-[0-9a-f]{16}-01$/),
      body: new TextEncoder().encode(body["Message"]),
    });
  });

  it("is published on the SNS topic's own name where the source names none, in the source's tenant", async () => {
    sqlite.exec("INSERT OR IGNORE INTO tenants (id, name, created_at) VALUES ('ten_2', 'two', 0)");
    await post(await makeSource({ topic: null, tenantId: "ten_2" }), signedBody(notificationFields()));
    expect(appended.map(({ stream }) => stream)).toEqual(["ten_2/topics/orders"]);
  });

  it("is answered only once it is committed (I1)", async () => {
    let commit = (): void => undefined;
    const onDisk = new Promise<void>((resolve) => (commit = resolve));
    append = async (stream, appends) => {
      await onDisk;
      return committed()(stream, appends);
    };
    let answered = false;
    const answer = post(await makeSource(), signedBody(notificationFields())).finally(() => (answered = true));
    await vi.waitFor(() => expect(appended).toHaveLength(1));
    expect(answered).toBe(false);
    commit();
    expect((await answer).status).toBe(200);
  });

  it("that came before is a 200 too", async () => {
    append = committed(true);
    expect((await post(await makeSource(), signedBody(notificationFields()))).status).toBe(200);
  });

  it("is a 503 with Retry-After when the stream is overloaded", async () => {
    append = async () => ({ ok: false, code: "overloaded", retryAfterSeconds: 3 });
    const { status, headers, json } = await post(await makeSource(), signedBody(notificationFields()));
    expect([status, headers.get("retry-after"), json["type"]]).toEqual([503, "3", "https://postern.dev/problems/overloaded"]);
  });

  it("is a 5xx when the stream or D1 fails, so that SNS sends it again", async () => {
    append = async () => Promise.reject(Object.assign(new Error("Network connection lost."), { retryable: true }));
    expect((await post(await makeSource(), signedBody(notificationFields()))).status).toBe(503);
    const broken = { prepare: () => { throw new Error("D1_ERROR: Network connection lost."); } } as unknown as D1Database;
    expect((await post("src_unread", signedBody(notificationFields()), broken)).status).toBe(503);
  });
});

describe("a refused message", () => {
  const refused: [reason: string, body: Record<string, unknown> | string][] = [
    ["signature-mismatch", { ...signedBody(notificationFields()), Message: "PRIVATE TEXT" }],
    ["topic-not-allowed", signedBody({ ...notificationFields(), TopicArn: `${TOPIC_ARN}2` })],
    ["certificate-url-mismatch", { ...signedBody(notificationFields()), SigningCertURL: "https://evil.example/a.pem" }],
    ["malformed-json", "PRIVATE TEXT"],
    ["body-too-large", "x".repeat(MAX_SNS_BODY_BYTES + 1)],
  ];

  for (const [reason, body] of refused) {
    it(`is a 403 whose body is the same for every reason, and a log line that names this one: ${reason}`, async () => {
      const sourceId = await makeSource();
      const { status, json } = await post(sourceId, body);
      expect(status).toBe(403);
      const { instance, ...generic } = json;
      expect(generic).toEqual({
        type: "https://postern.dev/problems/verification-failed", title: "The message was refused", status: 403,
        detail: "The message did not pass verification.",
      });
      const lines = warnings.filter((line) => line.includes("sns.refused"));
      expect(lines.map((line) => JSON.parse(line))).toEqual([
        { time: expect.any(String), level: "warn", message: "an inbound message was refused", event: "sns.refused", requestId: instance, sourceId, reason },
      ]);
      expect(warnings.join()).not.toContain("PRIVATE TEXT");
      expect(appended).toEqual([]);
      expect(fetched.filter((url) => !url.startsWith(`${HOST}/`))).toEqual([]);
    });
  }

  it("of 2 MiB and more is not read to its end", async () => {
    let pulled = 0;
    const endless = new ReadableStream<Uint8Array>({ pull: (controller) => {
      pulled++;
      controller.enqueue(new Uint8Array(64 * 1024));
    } });
    const request = new Request(`http://gateway.test/in/${await makeSource()}`, { method: "POST", body: endless, duplex: "half" } as RequestInit);
    expect((await app.request(request, undefined, environment())).status).toBe(403);
    expect(pulled * 64 * 1024).toBeLessThan(MAX_SNS_BODY_BYTES + 4 * 64 * 1024);
  });
});

describe("a message that can not be judged", () => {
  it("is a 503 with Retry-After, and leaves nothing behind", async () => {
    const unknown = `${HOST}/SimpleNotificationService-${"0".repeat(32)}.pem`;
    const { status, headers, json } = await post(await makeSource(), { ...signedBody(notificationFields()), SigningCertURL: unknown });
    expect([status, json["type"]]).toEqual([503, "https://postern.dev/problems/unavailable"]);
    expect(headers.get("retry-after")).toMatch(/^[1-9][0-9]*$/);
    expect(fetched).toEqual([unknown]);
    expect(appended).toEqual([]);
    expect(warnings.filter((line) => line.includes("sns.undecided")).map((line) => JSON.parse(line))).toMatchObject([{ level: "error", reason: "certificate-not-fetched" }]);
  });
});

describe("a confirmation", () => {
  it("of a subscription is given at the ARN's own host, never at SubscribeURL, and recorded", async () => {
    const sourceId = await makeSource();
    const { status, json } = await post(sourceId, signedBody(confirmationFields("SubscriptionConfirmation")));
    expect([status, json]).toEqual([200, { topicArn: TOPIC_ARN, state: "confirmed" }]);
    expect(fetched.filter((url) => url.includes("ConfirmSubscription"))).toEqual([expect.stringMatching(`^${HOST}/\\?Action=ConfirmSubscription&`)]);
    expect(fetched.every((url) => url.startsWith(`${HOST}/`))).toBe(true);
    expect(await states(sourceId)).toEqual([{ topicArn: TOPIC_ARN, state: "confirmed", subscriptionArn: `${TOPIC_ARN}:1`, updatedAtMs: NOW_MS }]);
  });

  it("that SNS does not take is a 503, and nothing is recorded", async () => {
    const certificate = respond;
    respond = (url) => (url.includes("ConfirmSubscription") ? new Response("", { status: 500 }) : certificate(url));
    const sourceId = await makeSource();
    expect((await post(sourceId, signedBody(confirmationFields("SubscriptionConfirmation")))).status).toBe(503);
    expect(await states(sourceId)).toBeUndefined();
  });

  it("for a topic that is not allow-listed is refused and asks SNS nothing", async () => {
    const sourceId = await makeSource({ topicArns: [`${TOPIC_ARN}2`] });
    expect((await post(sourceId, signedBody(confirmationFields("SubscriptionConfirmation")))).status).toBe(403);
    expect(fetched).toEqual([]);
  });

  it("of a subscription's end is recorded, and asks SNS nothing", async () => {
    const sourceId = await makeSource();
    const { status, json } = await post(sourceId, signedBody(confirmationFields("UnsubscribeConfirmation")));
    expect([status, json]).toEqual([200, { topicArn: TOPIC_ARN, state: "unsubscribed" }]);
    expect(fetched.filter((url) => url !== CERTIFICATE_URL)).toEqual([]);
    expect(await states(sourceId)).toMatchObject([{ state: "unsubscribed" }]);
  });
});

describe("the address", () => {
  it("of no source is 404, and nothing is fetched", async () => {
    const { status, json } = await post("src_none", signedBody(notificationFields()));
    expect([status, json["type"]]).toEqual([404, "https://postern.dev/problems/not-found"]);
    expect(fetched).toEqual([]);
    expect(await getTenantSource(db, "default", "src_none")).toBeNull();
  });

  it("takes POST alone", async () => {
    const response = await app.request(`/in/${await makeSource()}`, {}, environment());
    expect([response.status, response.headers.get("allow")]).toEqual([405, expect.stringContaining("POST")]);
  });
});
