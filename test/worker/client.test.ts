import { applyD1Migrations, type D1Migration } from "cloudflare:test";
import { env, exports } from "cloudflare:workers";
import { beforeAll, describe, expect, it, vi } from "vitest";
import { z } from "zod";
import { createClient, createMemoryBus, PosternConnectionError, verifyWebhook } from "../../src/client/index.ts";

const bindings = z
  .object({ POSTERN_ADMIN_TOKEN: z.string(), TEST_MIGRATIONS: z.array(z.custom<D1Migration>()) })
  .parse(env);

beforeAll(() => applyD1Migrations(env.DB, bindings.TEST_MIGRATIONS));

describe("the client, in a Worker", () => {
  it("publishes through a fetch of its own, such as a service binding's", async () => {
    const client = createClient({
      url: "http://gateway.test",
      token: bindings.POSTERN_ADMIN_TOKEN,
      fetch: (url, init) => exports.default.fetch(new Request(url, init)),
    });
    expect(await client.publish("worker.client", { a: 1 })).toMatchObject({ topic: "worker.client", offset: 0, matched: 0 });
    await expect(client.command("nowhere/do", "x")).rejects.toMatchObject({ code: "unknown-queue", status: 404 });
  });

  it("calls the global fetch as it wants to be called", async () => {
    const fetched = vi.spyOn(globalThis, "fetch").mockImplementation(async function (this: unknown) {
      // workerd's own throws "Illegal invocation" for any other
      expect([undefined, globalThis]).toContain(this);
      throw new TypeError("no network");
    });
    const client = createClient({ url: "http://gateway.test", token: "t", maxRetries: 0 });
    await expect(client.publish("a", "x")).rejects.toThrow(PosternConnectionError);
    fetched.mockRestore();
  });

  it("verifies webhooks with the WebCrypto that is there", async () => {
    const headers = new Headers({
      "webhook-id": "msg_p5jXN8AQM9LWM0D4loKWxJek",
      "webhook-timestamp": "1614265330",
      "webhook-signature": "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
    });
    const request = { secret: "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", headers, now: new Date(1_614_265_330_000) };
    expect(await verifyWebhook({ ...request, body: '{"test": 2432232314}' })).toMatchObject({ timestamp: 1_614_265_330 });
    await expect(verifyWebhook({ ...request, body: "{}" })).rejects.toMatchObject({ reason: "no-matching-signature" });
  });

  it("has its bus in memory", async () => {
    const bus = createMemoryBus();
    bus.createQueue("echo");
    const consumer = bus.consume({ queue: "echo" });
    const ran = consumer.run(({ message }) => message.text());
    expect((await bus.query("echo/say", "hello")).text()).toBe("hello");
    consumer.stop();
    await ran;
  });
});
