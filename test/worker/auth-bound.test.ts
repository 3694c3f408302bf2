import { applyD1Migrations, type D1Migration } from "cloudflare:test";
import { env, exports } from "cloudflare:workers";
import { beforeAll, describe, expect, it, vi } from "vitest";
import { z } from "zod";

const bindings = z
  .object({ POSTERN_ADMIN_TOKEN: z.string(), TEST_MIGRATIONS: z.array(z.custom<D1Migration>()) })
  .parse(env);

beforeAll(() => applyD1Migrations(env.DB, bindings.TEST_MIGRATIONS));

async function call(method: string, path: string, body?: unknown, token = bindings.POSTERN_ADMIN_TOKEN): Promise<{ status: number; json: any }> {
  const response = await exports.default.fetch(
    new Request(`http://gateway.test${path}`, {
      method,
      headers: { authorization: `Bearer ${token}`, ...(body === undefined ? {} : { "content-type": "application/json" }) },
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
    }),
  );
  const text = await response.text();
  return { status: response.status, json: text === "" ? undefined : JSON.parse(text) };
}

async function receiptOf(endpointId: string, token?: string): Promise<string> {
  const messages = await vi.waitUntil(async () => {
    const { json } = await call("GET", `/v1/endpoints/${endpointId}/messages?visibility=600`, undefined, token);
    return json.messages.length > 0 && json.messages;
  }, { timeout: 5_000 });
  return messages[0].receipt;
}

describe("a token bound to a node", () => {
  it("lets its owner pull, and nobody else's token stand in for it (SEEDS Q9)", async () => {
    const make = async (node: string): Promise<{ id: string; token: string }> => {
      const endpoint = await call("POST", "/v1/endpoints", { kind: "pull", node, topics: ["orders"] });
      const token = await call("POST", "/v1/tokens", { name: node, scopes: ["consume", "publish"], node });
      expect([endpoint.status, token.status]).toEqual([201, 201]);
      return { id: endpoint.json.id, token: token.json.token };
    };
    const [till, other] = [await make("till.7"), await make("till.8")];
    expect((await call("POST", "/v1/events/orders", { total: 1 }, till.token)).status).toBe(202);

    const own = await receiptOf(till.id, till.token);
    expect((await call("GET", `/v1/endpoints/${other.id}/messages`, undefined, till.token)).status).toBe(404);
    expect((await call("GET", "/v1/endpoints/ep_none/messages", undefined, till.token)).status).toBe(404);

    const foreign = await receiptOf(other.id, other.token);
    const settled = await call("POST", "/v1/pull/ack", { receipts: [own, foreign] }, till.token);
    expect(settled.json.results).toEqual([{ receipt: own, ok: true }, { receipt: foreign, ok: false, error: "foreign" }]);
    const kept = await call("POST", `/v1/endpoints/${other.id}/ack`, { receipts: [foreign] }, other.token);
    expect(kept.json.results).toEqual([{ receipt: foreign, ok: true }]);
  });

  it("can not claim another node's name", async () => {
    const { json } = await call("POST", "/v1/tokens", { name: "till.9", scopes: ["consume"], node: "till.9" });
    for (const [method, path, body] of [["POST", "/v1/endpoints", { kind: "pull", node: "till.7" }], ["POST", "/v1/tokens", { name: "x", scopes: ["consume"], node: "till.7" }]] as const) {
      expect((await call(method, path, body, json.token)).status).toBe(403);
    }
  });
});
