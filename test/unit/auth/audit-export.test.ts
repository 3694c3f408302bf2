import { beforeAll, describe, expect, it, vi } from "vitest";
import { recordAudit } from "../../../src/storage/audit.ts";
import { type Body, bodyOf, makeToken, openGateway } from "../http/gateway.ts";

const NDJSON = { accept: "application/x-ndjson" };
const ENTRIES = 600; // more than two pages of an export
const gateway = openGateway();

beforeAll(async () => {
  vi.spyOn(console, "info").mockImplementation(() => undefined);
  await gateway.send("POST", "/v1/tenants", { json: { id: "acme" } });
  for (let index = 0; index < ENTRIES; index++) {
    await recordAudit(gateway.db, {
      tenantId: "acme", timeMs: 1_700_000_000_000 + index, actor: "tok_1", action: "endpoint.update", target: `ep_${index}`,
      before: { name: "a\nb" }, after: { secret: "hunter2" }, requestId: "req_1", ip: null,
    });
  }
});

const linesOf = async (response: Response): Promise<Body[]> => {
  const text = await response.text();
  expect(text === "" || text.endsWith("\n")).toBe(true);
  return text.split("\n").slice(0, -1).map((line) => JSON.parse(line));
};

describe("the export of the audit log", () => {
  it("has every change, newest first, one on each line", async () => {
    const response = await gateway.send("GET", "/v1/audit", { tenant: "acme", headers: NDJSON });
    expect(response.headers.get("content-type")).toBe("application/x-ndjson");
    const entries = await linesOf(response);
    expect(entries.map((entry) => Reflect.get(entry, "target"))).toEqual(Array.from({ length: ENTRIES }, (_, index) => `ep_${ENTRIES - 1 - index}`));
    expect(entries[0]).toMatchObject({ change: { before: { name: "a\nb" }, after: { secret: "***" } } });
  });

  it("holds a page at a time, read as the client takes it", async () => {
    const before = gateway.statements.length;
    const response = await gateway.send("GET", "/v1/audit", { tenant: "acme", headers: NDJSON });
    const reader = response.body?.getReader();
    await reader?.read();
    const reads = gateway.statements.slice(before).filter((sql) => sql.includes("FROM audit"));
    expect(reads.length).toBeLessThanOrEqual(2); // the first page, and the one it reads ahead
    await reader?.cancel();
  });

  it("goes on from a cursor, and ends where there is nothing more", async () => {
    const page = await bodyOf(await gateway.send("GET", "/v1/audit?limit=250", { tenant: "acme" }));
    const rest = await gateway.send("GET", `/v1/audit?cursor=${page.next}`, { tenant: "acme", headers: NDJSON });
    expect(await linesOf(rest)).toHaveLength(ENTRIES - 250);
    await gateway.send("POST", "/v1/tenants", { json: { id: "empty" } });
    expect(await linesOf(await gateway.send("GET", "/v1/audit", { tenant: "empty", headers: NDJSON }))).toEqual([]);
  });

  it("is JSON for whoever does not ask for lines", async () => {
    for (const accept of ["*/*", "application/json", "text/html", "application/json, application/x-ndjson;q=0.5"]) {
      const response = await gateway.send("GET", "/v1/audit", { tenant: "acme", headers: { accept } });
      expect(response.headers.get("content-type")).toContain("application/json");
    }
  });

  it("is for admins, of their own tenant, and its operator's part for operators", async () => {
    const admin = await makeToken(gateway, ["admin"], "acme");
    expect((await gateway.send("GET", "/v1/audit", { token: await makeToken(gateway, ["read"], "acme"), headers: NDJSON })).status).toBe(403);
    expect((await gateway.send("GET", "/v1/audit?operator=true", { token: admin, headers: NDJSON })).status).toBe(403);
    const entries = await linesOf(await gateway.send("GET", "/v1/audit?operator=true", { headers: NDJSON }));
    expect(entries.map(({ action }) => action)).toEqual(["tenant.create", "tenant.create"]);
  });
});

describe("an entry", () => {
  it("can not be changed, nor removed while its tenant is there", () => {
    for (const sql of ["UPDATE audit SET actor = 'nobody'", "DELETE FROM audit", "DELETE FROM audit WHERE tenant_id IS NULL", "REPLACE INTO audit SELECT * FROM audit LIMIT 1"]) {
      expect(() => gateway.sqlite.exec(sql), sql).toThrow("append-only");
    }
    const count = (): unknown => gateway.sqlite.prepare("SELECT count(*) AS n FROM audit WHERE tenant_id = 'acme'").get()?.["n"];
    expect(count()).toBeGreaterThanOrEqual(ENTRIES);
    gateway.sqlite.exec("UPDATE tenants SET deleted_at = 1 WHERE id = 'acme'; DELETE FROM audit WHERE tenant_id = 'acme'");
    expect(count()).toBe(0);
  });
});
