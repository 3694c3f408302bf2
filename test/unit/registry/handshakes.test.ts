import { beforeEach, describe, expect, it, vi } from "vitest";
import { createKeyRing } from "../../../src/crypto/keyring.ts";
import { askForPermission, grantByCallback, type HandshakeWorld } from "../../../src/registry/handshake.ts";
import { deleteExpiredCallbacks, listDueHandshakes } from "../../../src/storage/handshakes.ts";
import { bodyOf, openGateway } from "../http/gateway.ts";
import { type Sent, world } from "../outbound/world.ts";

const MINUTE_MS = 60_000;
const WEEK_MS = 7 * 24 * 60 * MINUTE_MS;
const keyRing = createKeyRing([{ id: "test", key: new TextEncoder().encode("k".repeat(32)) }]);
const gateway = openGateway({ POSTERN_PUBLIC_URL: "https://gateway.example.com/with/a/path" });
const clock = { nowMs: 0 };

beforeEach(() => {
  vi.spyOn(console, "info").mockReturnValue(undefined);
  // what is asked beside the response is asked of nobody here
  vi.spyOn(globalThis, "fetch").mockRejectedValue(new Error("no network"));
  return () => vi.restoreAllMocks();
});

/** An endpoint whose first request, made beside its creation, came to nothing. */
async function make(fields: object = {}): Promise<string> {
  const json = { kind: "push", url: "https://receiver.example.com/", handshake: true, ...fields };
  const { id } = await bodyOf(await gateway.send("POST", "/v1/endpoints", { json }));
  await vi.waitFor(() => expect(row(id)["detail"]).not.toBeNull());
  clock.nowMs = Number(row(id)["requested_at"]);
  return id;
}

const row = (id: string): Record<string, unknown> => gateway.sqlite.prepare("SELECT * FROM handshakes WHERE endpoint_id = ?").get(id) ?? {};
const statusOf = (id: string): unknown => gateway.sqlite.prepare("SELECT handshake FROM endpoints WHERE id = ?").get(id)?.["handshake"];
const keyIn = ({ init }: Sent): string => new URL(new Headers(init.headers).get("webhook-request-callback") ?? "").pathname.slice("/handshakes/".length);

function asking(answer: (sent: Sent) => Response | Promise<Response>): HandshakeWorld & { readonly sent: Sent[] } {
  const attempts = world(answer, { now: () => clock.nowMs });
  return { db: gateway.db, keyRing, attempts, sent: attempts.sent };
}

const silent = () => asking(() => new Response());
const handshake = (endpointId: string) => ({ tenantId: "default", endpointId });

describe("a receiver that gives no permission", () => {
  it("is asked again, less and less often, and in the end no more by itself", async () => {
    const id = await make();
    const at = silent();
    const waits: unknown[] = [];
    for (let due = row(id)["next_request_at"]; due !== null; due = row(id)["next_request_at"]) {
      waits.push((Number(due) - clock.nowMs) / MINUTE_MS);
      expect(await listDueHandshakes(gateway.db, Number(due) - 1, 10)).toEqual([]);
      expect(await listDueHandshakes(gateway.db, Number(due), 10)).toEqual([handshake(id)]);
      clock.nowMs = Number(due);
      await askForPermission(at, handshake(id), true);
    }
    expect(waits).toEqual([1, 5, 15, 60, 240, 720, 1440, 1440]);
    expect([statusOf(id), row(id)["requests"], at.sent.length]).toEqual(["waiting", 9, 8]);
    expect(at.sent[0]?.init.headers).toMatchObject({ "webhook-request-origin": "gateway.example.com" });
    expect(new Headers(at.sent[0]?.init.headers).get("webhook-request-callback")).toMatch(/^https:\/\/gateway\.example\.com\/handshakes\/[A-Za-z0-9_-]{32}$/);
  });

  it("is asked by one at a time, and not at all within five seconds", async () => {
    const id = await make();
    const at = silent();
    expect(await askForPermission(at, handshake(id), false)).toBe(false);
    expect(at.sent).toHaveLength(0);
    clock.nowMs += 5_000;
    await Promise.all([1, 2, 3].map(() => askForPermission(at, handshake(id), false)));
    expect(at.sent).toHaveLength(1);
    await askForPermission(at, handshake(id), true); // it is not due
    expect(at.sent).toHaveLength(1);
  });

  it("may say yes by any of the callbacks it got, within a week, and once", async () => {
    const id = await make();
    const at = silent();
    for (let times = 0; times < 3; times++) {
      clock.nowMs += MINUTE_MS;
      await askForPermission(at, handshake(id), false);
    }
    const [first, second, third] = at.sent.map(keyIn);
    const grant = (key = "", nowMs = clock.nowMs) => grantByCallback(gateway.db, { key, rate: null, requestId: "req", ip: "192.0.2.1" }, nowMs);
    expect(await grant(first, clock.nowMs + WEEK_MS)).toEqual({ ok: false, code: "no-such-callback" });
    const both = await Promise.all([grant(second), grant(second)]);
    expect(both.filter(({ ok }) => ok)).toHaveLength(1);
    expect(statusOf(id)).toBe("allowed");
    expect(await grant(third)).toEqual({ ok: false, code: "no-such-callback" });
    const entries = gateway.sqlite.prepare("SELECT actor, ip, request_id FROM audit WHERE action = 'endpoint.allow' AND target = ?").all(id);
    expect(entries).toEqual([{ actor: "receiver", ip: "192.0.2.1", request_id: "req" }]);
  });

  it("has its callbacks kept as hashes, which go when they have expired", async () => {
    const id = await make();
    const at = silent();
    clock.nowMs += MINUTE_MS;
    await askForPermission(at, handshake(id), false);
    const rows = gateway.sqlite.prepare("SELECT * FROM handshake_callbacks WHERE endpoint_id = ?").all(id);
    expect(rows).toHaveLength(2);
    expect(JSON.stringify(rows)).not.toContain(keyIn(at.sent[0]!));
    expect(await deleteExpiredCallbacks(gateway.db, clock.nowMs + WEEK_MS)).toBeGreaterThanOrEqual(2);
    expect(gateway.sqlite.prepare("SELECT 1 FROM handshake_callbacks WHERE endpoint_id = ?").all(id)).toEqual([]);
  });
});

describe("a permission", () => {
  it("that comes for another URL than the endpoint's is none", async () => {
    const id = await make();
    clock.nowMs += MINUTE_MS;
    const at = asking(async () => {
      await gateway.send("PATCH", `/v1/endpoints/${id}`, { json: { url: "https://other.example.com/" } });
      return new Response(null, { headers: { "webhook-allowed-origin": "*" } });
    });
    expect(await askForPermission(at, handshake(id), false)).toBe(false);
    expect(statusOf(id)).toBe("waiting");
    expect(gateway.sqlite.prepare("SELECT 1 FROM audit WHERE action = 'endpoint.allow' AND target = ?").all(id)).toEqual([]);
  });

  it("ends the asking; one more request may change the rate", async () => {
    const id = await make({ rateLimit: 10 });
    clock.nowMs += MINUTE_MS;
    const rates = ["60", "*"];
    const at = asking(() => new Response(null, { headers: { "webhook-allowed-origin": "*", "webhook-allowed-rate": rates.shift() ?? "" } }));
    expect(await askForPermission(at, handshake(id), false)).toBe(true);
    expect([row(id)["next_request_at"], row(id)["detail"]]).toEqual([null, null]);
    const allowed = (): unknown => gateway.sqlite.prepare("SELECT allowed_rate FROM endpoints WHERE id = ?").get(id)?.["allowed_rate"];
    expect(allowed()).toBe(60);
    clock.nowMs += MINUTE_MS;
    expect(await askForPermission(at, handshake(id), false)).toBe(true);
    expect(allowed()).toBeNull();
  });

  it("of another tenant's endpoint is not asked for", async () => {
    const id = await make();
    clock.nowMs += MINUTE_MS;
    const at = silent();
    expect(await askForPermission(at, { tenantId: "other", endpointId: id }, false)).toBe(false);
    expect(at.sent).toEqual([]);
  });
});
