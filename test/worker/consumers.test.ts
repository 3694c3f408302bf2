import { applyD1Migrations, type D1Migration } from "cloudflare:test";
import { env, exports } from "cloudflare:workers";
import { beforeAll, describe, expect, it } from "vitest";
import { z } from "zod";

const bindings = z
  .object({ POSTERN_ADMIN_TOKEN: z.string(), TEST_MIGRATIONS: z.array(z.custom<D1Migration>()) })
  .parse(env);

type Options = { readonly body?: unknown; readonly tenant?: string; readonly token?: string };
type Answer = { readonly status: number; readonly json: any };

async function call(method: string, path: string, { body, tenant = "default", token = bindings.POSTERN_ADMIN_TOKEN }: Options = {}): Promise<Answer> {
  const response = await exports.default.fetch(
    new Request(`https://postern.test/v1/consumers${path}`, {
      method,
      headers: { authorization: `Bearer ${token}`, "postern-tenant": tenant, "content-type": "application/json" },
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
    }),
  );
  const text = await response.text();
  return { status: response.status, json: text === "" ? undefined : JSON.parse(text) };
}

function put(path: string, offset: unknown, rest: object = {}): Promise<Answer> {
  return call("PUT", path, { body: { offset, ...rest } });
}

const wire = (position: number) => `0000000000000000_${String(position).padStart(16, "0")}`;

beforeAll(async () => {
  await applyD1Migrations(env.DB, bindings.TEST_MIGRATIONS);
  await env.DB.prepare("INSERT INTO tenants (id, name, created_at) VALUES ('ten_other', 'other', 0)").run();
});

describe("a consumer's checkpoint", () => {
  it("is kept under its name and the stream's path, and read as the stream API takes it", async () => {
    const path = "/billing/offsets/topics/orders.created";
    expect((await call("GET", path)).status).toBe(404);
    const saved = await put(path, 41);
    expect(saved).toMatchObject({ status: 200, json: { consumer: "billing", stream: "topics/orders.created", offset: wire(41) } });
    expect((await call("GET", path)).json).toEqual(saved.json);
    expect((await put(path, "42")).json.offset).toBe(wire(42));
    expect((await put(path, wire(43))).json.offset).toBe(wire(43));
    expect((await put(path, "-1")).json.offset).toBe(wire(0));
    expect((await call("DELETE", path)).status).toBe(204);
    expect((await call("GET", path)).status).toBe(404);
    expect((await call("DELETE", path)).status).toBe(404);
  });

  it("takes any stream, however deep its path, under one spelling of it", async () => {
    await put("/deep/offsets/drafts/2026/a%20b", wire(7));
    expect((await call("GET", "/deep/offsets/drafts/2026/%61%20b")).json).toMatchObject({ stream: "drafts/2026/a%20b", offset: wire(7) });
    expect((await put("/offsets/offsets/offsets", wire(1))).json).toMatchObject({ consumer: "offsets", stream: "offsets" });
    expect((await put("/deep/offsets/drafts/2026/a%20b", 8)).status).toBe(422); // only logs have plain numbers
    expect((await put("/deep/offsets/queues/jobs", 8)).json.offset).toBe(wire(8));
  });

  it("is not overwritten unseen where the expected one is given", async () => {
    const path = "/careful/offsets/topics/a";
    expect((await put(path, 5, { expectedOffset: 4 })).status).toBe(409);
    expect((await call("GET", path)).status).toBe(404);
    expect((await put(path, 5, { expectedOffset: null })).status).toBe(200);
    expect((await put(path, 9, { expectedOffset: null })).status).toBe(409);
    expect((await put(path, 9, { expectedOffset: wire(4) })).status).toBe(409);
    expect((await call("GET", path)).json.offset).toBe(wire(5));
    expect((await put(path, 9, { expectedOffset: 5 })).json.offset).toBe(wire(9));
  });

  it("lets one of many writers with the same expectation win", async () => {
    const path = "/race/offsets/topics/a";
    await put(path, 0);
    const answers = await Promise.all(Array.from({ length: 8 }, (_, index) => put(path, index + 1, { expectedOffset: 0 })));
    expect(answers.map(({ status }) => status).sort()).toEqual([200, ...Array<number>(7).fill(409)]);
    const winner = answers.find(({ status }) => status === 200);
    expect((await call("GET", path)).json.offset).toBe(winner?.json.offset);
  });

  it("is refused when the offset is none, the name is none or the path is none", async () => {
    for (const offset of ["abc", "now", -1, -5, 1.5, "1e3", "0000000000000001_0000000000000000", ""]) {
      expect(await put("/bad/offsets/topics/a", offset)).toMatchObject({ status: 422, json: { errors: [{ pointer: "/offset" }] } });
    }
    expect(await put("/bad/offsets/topics/a", 1, { expectedOffset: "x" })).toMatchObject({ status: 422, json: { errors: [{ pointer: "/expectedOffset" }] } });
    expect((await put("/bad/offsets/topics/a", true)).status).toBe(422);
    expect((await put("/bad/offsets/topics/a", 1, { force: true })).status).toBe(422);
    expect((await call("PUT", "/bad/offsets/topics/a", { body: {} })).status).toBe(422);
    expect((await put("/b%20ad/offsets/topics/a", 1)).status).toBe(400);
    expect((await put("/bad/offsets/topics/a/b", 1)).status).toBe(400);
    expect((await put("/bad/offsets/topics/a..b", 1)).status).toBe(400);
    expect((await call("POST", "/bad/offsets/topics/a", { body: {} })).status).toBe(405);
    expect((await call("GET", "/bad/offsets/topics/a")).status).toBe(404);
  });

  it("belongs to one tenant", async () => {
    await put("/mine/offsets/topics/a", 3);
    expect((await call("GET", "/mine/offsets/topics/a", { tenant: "ten_other" })).status).toBe(404);
    expect((await call("DELETE", "/mine/offsets/topics/a", { tenant: "ten_other" })).status).toBe(404);
    expect((await call("GET", "", { tenant: "ten_other" })).json).toEqual({ data: [], next: null });
    expect((await call("GET", "/mine/offsets/topics/a")).json.offset).toBe(wire(3));
  });

  it("is listed, of one consumer or of all, page by page", async () => {
    for (const stream of ["topics/c", "topics/a", "drafts/b"]) await put(`/listed.one/offsets/${stream}`, wire(1));
    await put("/listed.two/offsets/topics/a", 2);
    const first = (await call("GET", "/listed.one/offsets?limit=2")).json;
    expect(first.data.map((row: { stream: string }) => row.stream)).toEqual(["drafts/b", "topics/a"]);
    const second = (await call("GET", `/listed.one/offsets?limit=2&cursor=${first.next}`)).json;
    expect(second).toMatchObject({ data: [{ consumer: "listed.one", stream: "topics/c" }], next: null });
    expect((await call("GET", `?cursor=${first.next}`)).status).toBe(400);
    const all = (await call("GET", "?limit=250")).json.data;
    expect(all.filter((row: { consumer: string }) => row.consumer.startsWith("listed."))).toHaveLength(4);
    expect((await call("GET", "/none.such/offsets")).json).toEqual({ data: [], next: null });
  });
});
