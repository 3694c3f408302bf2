import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { createServer, type Server } from "node:https";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { TLSSocket } from "node:tls";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { call, createEndpoint, deliveriesOf, eventually, publish } from "./api.ts";
import { createAuthority } from "./authority.ts";
import { type Gateway, startGateway } from "./gateway.ts";

let directory: string;
let server: Server;
let host: string;
let gateway: Gateway;
/** The path of each request and who made it, as the TLS handshake proved. */
const requests: { readonly path: string; readonly client: string }[] = [];

beforeAll(async () => {
  const authority = await createAuthority();
  const [own, ours, theirs] = await Promise.all([authority.issue("localhost"), authority.issue("gateway"), authority.issue("of-acme")]);
  directory = mkdtempSync(join(tmpdir(), "postern-mtls-"));
  writeFileSync(join(directory, "ca.pem"), authority.certificate);
  for (const [name, { certificate, key }] of [["SHARED", ours], ["ACME", theirs]] as const) {
    writeFileSync(join(directory, `${name}.cert.pem`), certificate);
    writeFileSync(join(directory, `${name}.key.pem`), key);
  }
  server = createServer({ cert: own.certificate, key: own.key, ca: authority.certificate, requestCert: true, rejectUnauthorized: true }, (request, response) => {
    const { subject } = (request.socket as TLSSocket).getPeerCertificate();
    requests.push({ path: request.url ?? "", client: String(subject.CN) });
    response.writeHead(204).end();
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const address = server.address();
  host = `localhost:${typeof address === "object" ? address?.port : ""}`;
  gateway = await startGateway({
    env: {
      POSTERN_ALLOW_HOSTS: `${host},127.0.0.1:1`, POSTERN_MAILBOX: "durable-object", POSTERN_MTLS_DIR: directory, POSTERN_CA_FILE: join(directory, "ca.pem"),
      POSTERN_MTLS_CERTIFICATES: "SHARED, ACME@acme",
    },
  });
  await call(gateway, "POST", "/v1/tenants", { body: { id: "acme" } });
});

afterAll(async () => {
  await gateway?.dispose();
  server?.close();
  server?.closeAllConnections();
  rmSync(directory, { recursive: true, force: true });
});

const mtls = (certificate: string) => ({ kind: "mtls", certificate });

describe("an endpoint that is authenticated to by a client certificate", () => {
  it("gets its messages from whom the certificate names; one without it gets none, and says why", async () => {
    const fields = { topics: ["secured"], retrySchedule: [1] };
    await createEndpoint(gateway, { ...fields, url: `https://${host}/with`, auth: mtls("SHARED") });
    await createEndpoint(gateway, { ...fields, url: `https://${host}/without` });
    const { id } = await publish(gateway, "secured", "x");
    const deliveries = await eventually(() => deliveriesOf(gateway, id), (all) => all.length === 2 && all.every(({ status }) => status !== "open"));
    expect(requests).toEqual([{ path: "/with", client: "gateway" }]);
    expect(deliveries.map(({ status }) => status).toSorted()).toEqual(["dead", "delivered"]);
  });

  it("is one that an operator listed for its tenant: every other name gets the same answer", async () => {
    const create = (certificate: string, tenant: string) =>
      call(gateway, "POST", "/v1/endpoints", { headers: { "postern-tenant": tenant }, body: { kind: "push", url: `https://${host}/acme`, topics: ["t"], auth: mtls(certificate) } });
    expect((await create("ACME", "acme")).json.auth).toEqual(mtls("ACME"));
    const answers = await Promise.all(["ACME", "DB", "NOBODY"].map((name) => create(name, "default")));
    for (const answer of answers) {
      expect([answer.status, answer.json.errors]).toEqual([422, [{ pointer: "/auth/certificate", detail: "is none that an operator has listed: ask them for its name" }]]);
    }
    await call(gateway, "POST", "/v1/events/t", { headers: { "postern-tenant": "acme" }, raw: "x" });
    await eventually(async () => requests, (all) => all.some(({ path, client }) => path === "/acme" && client === "of-acme"));
  });

  it("needs https, at creation and at each change", async () => {
    const body = { kind: "push", url: "http://127.0.0.1:1/", auth: mtls("SHARED") };
    expect((await call(gateway, "POST", "/v1/endpoints", { body })).json.errors).toMatchObject([{ pointer: "/auth/certificate" }]);
    const { id } = await createEndpoint(gateway, { ...body, url: `https://${host}/` });
    const changed = await call(gateway, "PATCH", `/v1/endpoints/${id}`, { body: { url: "http://127.0.0.1:1/" } });
    expect([changed.status, changed.json.errors]).toMatchObject([422, [{ pointer: "/auth/certificate" }]]);
    expect((await call(gateway, "PATCH", `/v1/endpoints/${id}`, { body: { url: "http://127.0.0.1:1/", auth: null } })).status).toBe(200);
  });

  it("gets nothing once an operator took the certificate away", async () => {
    await createEndpoint(gateway, { url: `https://${host}/taken`, topics: ["taken"], auth: mtls("SHARED"), retrySchedule: [] });
    gateway = await gateway.restart({ POSTERN_MTLS_CERTIFICATES: "ACME@acme" });
    const { id } = await publish(gateway, "taken", "x");
    const [delivery] = await eventually(() => deliveriesOf(gateway, id), ([first]) => first?.status === "dead");
    expect(delivery.attempts[0].error).toMatch(/^authentication-failed: The certificate SHARED is not there/);
    expect(requests.map(({ path }) => path)).not.toContain("/taken");
  });
});
