import { Webhook } from "standardwebhooks";
import { beforeEach, describe, expect, it, vi } from "vitest";
import subscriber from "../../../src/subscriber/index.ts";
import { Received } from "../../../src/subscriber/received.ts";
import { verifyWebhook } from "../../../src/subscriber/verify.ts";

const SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
/** As the runtime hands it to `fetch`, which a test cannot fully make up. */
const IncomingRequest = Request<unknown, IncomingRequestCfProperties>;
type IncomingRequest = Request<unknown, IncomingRequestCfProperties>;

const environment = { SUBSCRIBER_SECRET: SECRET };

beforeEach(() => {
  // it logs a line a message
  vi.spyOn(console, "info").mockReturnValue(undefined);
});

function signed(id: string, body: string, changed: Record<string, string> = {}): IncomingRequest {
  const now = new Date();
  const headers = {
    "webhook-id": id,
    "webhook-timestamp": String(Math.floor(now.getTime() / 1000)),
    "webhook-signature": new Webhook(SECRET).sign(id, now, body),
    "postern-topic": "demo.hello",
    ...changed,
  };
  return new IncomingRequest("http://subscriber/webhooks", { method: "POST", headers, body });
}

async function call(request: IncomingRequest): Promise<Response> {
  return subscriber.fetch(request, environment);
}

async function receivedIds(): Promise<string[]> {
  const response = await call(new IncomingRequest("http://subscriber/received"));
  const { data } = await response.json<{ data: { id: string }[] }>();
  return data.map((message) => message.id);
}

describe("the demo subscriber", () => {
  it("answers 204 to a message it verified, and shows it", async () => {
    expect((await call(signed("msg_shown", '{"a":1}'))).status).toBe(204);
    expect(await receivedIds()).toContain("msg_shown");
  });

  it("answers 204 to a repeat and shows it once", async () => {
    await call(signed("msg_twice", "x"));
    expect((await call(signed("msg_twice", "x"))).status).toBe(204);
    expect((await receivedIds()).filter((id) => id === "msg_twice")).toHaveLength(1);
  });

  it("shows nothing that runs in a browser", async () => {
    await call(signed("msg_script", "<script>alert('1')</script>"));
    const page = await (await call(new IncomingRequest("http://subscriber/"))).text();
    expect(page).toContain("&lt;script&gt;alert(&#39;1&#39;)&lt;/script&gt;");
    expect(page).not.toContain("<script");
  });

  it.each(["webhook-id", "webhook-timestamp", "webhook-signature"])("answers 400 without %s", async (name) => {
    const request = signed("msg_unsigned", "x");
    request.headers.delete(name);
    expect((await call(request)).status).toBe(400);
    expect(await receivedIds()).not.toContain("msg_unsigned");
  });

  it("answers 401 to a signature of another body", async () => {
    const signature = new Webhook(SECRET).sign("msg_forged", new Date(), "another");
    expect((await call(signed("msg_forged", "x", { "webhook-signature": signature }))).status).toBe(401);
    expect(await receivedIds()).not.toContain("msg_forged");
  });

  it("answers 401 to a message of ten minutes ago", async () => {
    const then = new Date(Date.now() - 600_000);
    const headers = {
      "webhook-timestamp": String(Math.floor(then.getTime() / 1000)),
      "webhook-signature": new Webhook(SECRET).sign("msg_old", then, "x"),
    };
    expect((await call(signed("msg_old", "x", headers))).status).toBe(401);
  });

  it("answers 413 to more than 1 MiB", async () => {
    const declared = signed("msg_large", "x", { "content-length": String(1024 * 1024 + 1) });
    expect((await call(declared)).status).toBe(413);
    const undeclared = signed("msg_large", "x".repeat(1024 * 1024 + 1));
    expect((await call(undeclared)).status).toBe(413);
  });

  it("answers 404 elsewhere", async () => {
    expect((await call(new IncomingRequest("http://subscriber/elsewhere"))).status).toBe(404);
  });
});

describe("verifyWebhook", () => {
  it("accepts the vector of Standard Webhooks but for its age", () => {
    const headers = new Headers({
      "webhook-id": "msg_p5jXN8AQM9LWM0D4loKWxJek",
      "webhook-timestamp": "1614265330",
      "webhook-signature": "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
    });
    const body = new TextEncoder().encode('{"test": 2432232314}');
    expect(verifyWebhook(SECRET, headers, body)).toEqual({ ok: false, status: 401, detail: "Message timestamp too old" });
  });

  it("keeps a byte order mark, which is signed too", () => {
    const { headers } = signed("msg_bom", "\uFEFFx");
    expect(verifyWebhook(SECRET, headers, new TextEncoder().encode("\uFEFFx"))).toEqual({ ok: true, id: "msg_bom", text: "\uFEFFx" });
  });

  it("refuses bytes that are not UTF-8, which the library cannot verify", () => {
    const { headers } = signed("msg_bytes", "x");
    expect(verifyWebhook(SECRET, headers, Uint8Array.of(0xff))).toMatchObject({ ok: false, status: 400 });
  });
});

describe("Received", () => {
  const message = (id: string) => ({ id, time: "", topic: null, attempt: null, contentType: null, body: "" });

  it("shows the last 50, the latest first", () => {
    const received = new Received();
    for (let index = 0; index < 60; index += 1) received.record(message(`msg_${index}`));
    expect(received.latestFirst().map(({ id }) => id)).toEqual(Array.from({ length: 50 }, (_, index) => `msg_${59 - index}`));
  });

  it("knows a repeat of what it no longer shows", () => {
    const received = new Received();
    for (let index = 0; index < 60; index += 1) received.record(message(`msg_${index}`));
    expect(received.record(message("msg_0"))).toBe(false);
  });

  it("forgets the oldest ids beyond 10,000", () => {
    const received = new Received();
    for (let index = 0; index <= 10_000; index += 1) received.record(message(`msg_${index}`));
    expect(received.record(message("msg_0"))).toBe(true);
    expect(received.record(message("msg_9999"))).toBe(false);
  });
});
