import { describe, expect, it } from "vitest";
import { attemptDelivery, type AttemptWorld } from "../../../src/delivery/attempt.ts";
import type { DeliveryEndpoint } from "../../../src/delivery/endpoint.ts";
import { verdictOf, healthChange } from "../../../src/delivery/verdict.ts";
import type { StoredMessage } from "../../../src/messages/message.ts";

const NOW = Date.parse("2026-11-17T09:30:00Z");

async function endpoint(change: Partial<DeliveryEndpoint> = {}): Promise<DeliveryEndpoint> {
  const key = await crypto.subtle.importKey("raw", new Uint8Array(32), { name: "HMAC", hash: "SHA-256" }, false, ["sign"]);
  return {
    id: "ep_1", tenantId: "default", kind: "push", url: "https://example.com/hook", status: "active", format: "raw",
    headers: {}, signingKeys: [key], timeoutSeconds: 1, retryScheduleSeconds: [5, 30], rateLimit: null, ordered: false, fallback: null, failingSinceMs: null, ...change,
  };
}

const message: StoredMessage = {
  id: "msg_1", offset: 7, timeMs: NOW, contentType: "text/plain", attributes: { colour: "grün" },
  traceparent: "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", body: new TextEncoder().encode("hello"),
};

function world(answer: (url: string, init: RequestInit) => Promise<Response>): AttemptWorld & { requests: RequestInit[] } {
  const requests: RequestInit[] = [];
  return {
    requests,
    fetch: async (input, init) => {
      requests.push(init ?? {});
      return answer(String(input), init ?? {});
    },
    now: () => NOW,
    random: () => 0.5,
    fillRandom: (bytes) => void crypto.getRandomValues(bytes),
    userAgent: "Postern/test",
    allowHosts: new Set(),
    allowHttp: false,
  };
}

function headersOf(init: RequestInit | undefined): Headers {
  return new Headers(init?.headers);
}

describe("an attempt", () => {
  it("sends the published bytes with the headers of §4", async () => {
    const at = world(async () => new Response("ok"));
    const report = await attemptDelivery(await endpoint({ headers: { "x-own": "1", "webhook-id": "forged" } }), message, "orders.created", 3, at);
    const headers = headersOf(at.requests[0]);
    expect(at.requests[0]?.body).toBe(message.body);
    expect(Object.fromEntries(headers)).toMatchObject({
      "content-type": "text/plain", "webhook-id": "msg_1", "webhook-timestamp": String(NOW / 1000),
      "postern-topic": "orders.created", "postern-attempt": "3", "user-agent": "Postern/test", "x-own": "1",
      "postern-attribute-colour": "gr%C3%BCn",
    });
    expect(headers.get("webhook-signature")).toMatch(/^v1,[A-Za-z0-9+/]{43}=$/);
    expect(headers.get("traceparent")).toMatch(/^00-0af7651916cd43dd8448eb211c80319c-(?!b7ad6b7169203331)[0-9a-f]{16}-01$/);
    expect(report).toMatchObject({ succeeded: true, record: { statusCode: 200, error: null, responseBody: "ok" } });
  });

  it("never follows a redirect and counts it as a failure", async () => {
    const at = world(async () => new Response(null, { status: 302, headers: { location: "https://example.net/" } }));
    const report = await attemptDelivery(await endpoint(), message, "t", 1, at);
    expect(at.requests).toHaveLength(1);
    expect(at.requests[0]?.redirect).toBe("manual");
    expect(report).toMatchObject({ succeeded: false, record: { statusCode: 302, error: { code: "redirect-refused" } } });
  });

  it("gives up when there is no response head in time", async () => {
    const at = world((_url, init) =>
      new Promise((_resolve, reject) => init.signal?.addEventListener("abort", () => reject(new Error("aborted")))),
    );
    const report = await attemptDelivery(await endpoint(), message, "t", 1, at);
    expect(report.record.error).toEqual({ code: "timed-out", detail: "No response head within 1 s." });
  });

  it("does not send to an address that is not public any more", async () => {
    const at = world(async () => new Response());
    const report = await attemptDelivery(await endpoint({ url: "https://127.0.0.1/hook" }), message, "t", 1, at);
    expect(at.requests).toHaveLength(0);
    expect(report.record.error?.code).toBe("address-refused");
  });

  it("reads a bounded part of an endless body and keeps 4 KiB", async () => {
    let pulled = 0;
    let cancelled = false;
    const endless = new ReadableStream<Uint8Array>({
      pull: (controller) => {
        pulled++;
        controller.enqueue(new Uint8Array(1024).fill(0x61));
      },
      cancel: () => void (cancelled = true),
    });
    const report = await attemptDelivery(await endpoint(), message, "t", 1, world(async () => new Response(endless, { status: 500 })));
    expect(report.record.responseBody).toHaveLength(4096);
    expect(pulled).toBeLessThan(20);
    expect(cancelled).toBe(true);
  });

  it("records a connection that fails", async () => {
    const report = await attemptDelivery(await endpoint(), message, "t", 1, world(() => Promise.reject(new Error("Network connection lost."))));
    expect(report.record).toMatchObject({ statusCode: null, error: { code: "connection-failed", detail: "Network connection lost." } });
  });
});

describe("the verdict on an attempt", () => {
  const verdictFor = async (status: number, attemptNumber: number, headers: Record<string, string> = {}) => {
    const to = await endpoint();
    const report = await attemptDelivery(to, message, "t", attemptNumber, world(async () => new Response(null, { status, headers })));
    return { verdict: verdictOf({ endpoint: to, claim: { attemptNumber }, others: 0 }, report, NOW, 0.5), health: healthChange(to, report) };
  };

  it.each([200, 201, 204, 299])("is delivered after %i", async (status) => {
    expect((await verdictFor(status === 299 ? 299 : status, 1)).verdict).toEqual({ status: "delivered" });
  });

  it("is open until the schedule ends, then dead", async () => {
    expect((await verdictFor(500, 1)).verdict).toEqual({ status: "open", nextAttemptAtMs: NOW + 5_000, counted: true });
    expect((await verdictFor(500, 2)).verdict).toEqual({ status: "open", nextAttemptAtMs: NOW + 30_000, counted: true });
    expect((await verdictFor(500, 3)).verdict).toMatchObject({ status: "dead" });
  });

  it("honours Retry-After of 429 and 503, not of others", async () => {
    const retryAfter = { "retry-after": "600" };
    expect((await verdictFor(429, 1, retryAfter)).verdict).toMatchObject({ nextAttemptAtMs: NOW + 600_000 });
    expect((await verdictFor(503, 1, retryAfter)).verdict).toMatchObject({ nextAttemptAtMs: NOW + 600_000 });
    expect((await verdictFor(500, 1, retryAfter)).verdict).toMatchObject({ nextAttemptAtMs: NOW + 5_000 });
  });

  it("holds the message and disables the endpoint after 410", async () => {
    const { verdict, health } = await verdictFor(410, 1);
    expect(verdict).toEqual({ status: "held", reason: "disabled", counted: true });
    expect(health.change).toBe("disable");
  });

  it("disables an endpoint after five days of nothing but failures, not before", async () => {
    const day = 24 * 60 * 60 * 1000;
    const report = await attemptDelivery(await endpoint(), message, "t", 1, world(async () => new Response(null, { status: 500 })));
    expect(healthChange(await endpoint(), report)).toEqual({ change: "started-failing", sinceMs: NOW });
    expect(healthChange(await endpoint({ failingSinceMs: NOW - 5 * day + 1 }), report).change).toBe("none");
    expect(healthChange(await endpoint({ failingSinceMs: NOW - 5 * day }), report).change).toBe("disable");
  });
});
