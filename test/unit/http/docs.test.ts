import { beforeEach, describe, expect, it, vi } from "vitest";
import { createApp } from "../../../src/http/app.ts";
import { docsPage } from "../../../src/http/docs-page.ts";
import { requirementFor } from "../../../src/http/openapi.ts";
import { PROBLEMS } from "../../../src/http/problem.ts";
import { bodyOf, openGateway } from "./gateway.ts";

const gateway = openGateway();
beforeEach(() => void vi.spyOn(console, "info").mockImplementation(() => undefined));

type Document = { openapi: string; webhooks: Record<string, unknown>; paths: Record<string, Record<string, Operation>>; components: unknown };
type Operation = { operationId: string; requestBody?: { content: Record<string, unknown> }; security: Record<string, string[]>[]; responses: Record<string, unknown>; summary?: string; tags?: string[] };

async function readDocument() {
  const response = await gateway.send("GET", "/openapi.json", { token: null });
  expect(response.headers.get("content-type")).toBe("application/json");
  return response.json<Document>();
}

function operationsIn(document: Document) {
  return Object.entries(document.paths).flatMap(([path, item]) =>
    Object.entries(item).map(([method, operation]) => ({ path, method, operation })),
  );
}

describe("/openapi.json", () => {
  it("is an OpenAPI 3.1 document whose references all lead somewhere", async () => {
    const document = await readDocument();
    expect(document.openapi).toBe("3.1.0");
    expect(Object.keys(document.webhooks)).toContain("postern.delivery.dead");
    for (const [, reference] of JSON.stringify(document).matchAll(/"\$ref":"#\/([^"]+)"/g)) {
      const target = (reference ?? "").split("/").reduce<unknown>((value, key) => Object(value)[key], document);
      expect(target, reference).toBeDefined();
    }
  });

  it("has in an operation nothing but what OpenAPI has there (§4.8.10)", async () => {
    const fields = ["tags", "summary", "description", "externalDocs", "operationId", "parameters", "requestBody", "responses", "callbacks", "deprecated", "security", "servers"];
    for (const { operation } of operationsIn(await readDocument())) {
      expect(Object.keys(operation).filter((field) => !fields.includes(field)), operation.operationId).toEqual([]);
    }
  });

  it("says what a request with a body, a query or a token may be refused with", async () => {
    for (const { method, path, operation } of operationsIn(await readDocument())) {
      const statuses = Object.keys(operation.responses);
      const expected = [
        ...(operation.security.length > 0 ? ["401", "403", "429"] : []),
        ...(operation.requestBody?.content["application/json"] ? ["400", "413", "415", "422"] : []),
        ...(operation.security.length > 0 && method === "post" ? ["409", "422"] : []),
      ];
      expect(statuses, `${method} ${path}`).toEqual(expect.arrayContaining(expected));
    }
  });

  it("holds every route there is", async () => {
    const documented = new Set(operationsIn(await readDocument()).map(({ path, method }) => `${method} ${path}`));
    const undocumented = createApp()
      .routes.filter(({ method, path }) => method !== "ALL" && /^\/(v1|in|metrics|healthz|readyz)/.test(path))
      .map(({ method, path }) => `${method.toLowerCase()} ${path.replaceAll(/:(\w+)(\{[^}]*\})?/g, "{$1}")}`)
      .filter((route) => !documented.has(route));
    expect(undocumented).toEqual([]);
  });

  it("gives each operation a name of its own, a summary, a tag and the problem it may end in", async () => {
    const operations = operationsIn(await readDocument()).map(({ operation }) => operation);
    expect(new Set(operations.map(({ operationId }) => operationId)).size).toBe(operations.length);
    for (const { operationId, summary, tags, responses } of operations) {
      expect(summary, operationId).toBeTruthy();
      expect(tags, operationId).toHaveLength(1);
      expect(responses, operationId).toHaveProperty("default");
    }
  });
});

describe("the scope of an operation", () => {
  const open = [
    "get /.well-known/jwks.json", "post /in/{sourceId}", "get /handshakes/{key}", "post /handshakes/{key}", "post /v1/portal-sessions", "get /healthz", "get /readyz",
    "get /v1/stream/__ds/jwks.json",
  ];

  it("is documented for every route that is not open to all", async () => {
    const operations = operationsIn(await readDocument());
    const withoutScope = operations.filter(({ operation }) => operation.security.length === 0);
    expect(withoutScope.map(({ method, path }) => `${method} ${path}`).sort()).toEqual([...open].sort());
  });

  it("is what is enforced: without it 403, without a token 401", async () => {
    const tokenWith = async (scope: string): Promise<string> =>
      (await bodyOf(await gateway.send("POST", "/v1/tokens", { json: { name: scope, scopes: [scope] } }))).token;
    const [consumer, publisher] = [await tokenWith("consume"), await tokenWith("publish")];
    for (const { method, path, operation } of operationsIn(await readDocument())) {
      if (operation.security.length === 0) continue;
      const url = path.replaceAll(/\{[^}]+\}/g, "x");
      expect((await gateway.send(method.toUpperCase(), url, { token: null })).status, `${method} ${path}`).toBe(401);
      const required = requirementFor(createApp(), method, path);
      expect(operation.security).toEqual([{ bearer: [required?.scope] }]);
      const token = required?.scope === "consume" || required?.orScope === "consume" ? publisher : consumer;
      expect((await gateway.send(method.toUpperCase(), url, { token })).status, `${method} ${path}`).toBe(403);
    }
  });
});

describe("/docs", () => {
  it("is one page without scripts or anything from another host", async () => {
    const response = await gateway.send("GET", "/docs", { token: null });
    const page = await response.text();
    expect(response.headers.get("content-type")).toContain("text/html");
    expect(response.headers.get("content-security-policy")).toMatch(/^default-src 'none'; style-src 'self';/);
    expect(page).not.toMatch(/<script|\son\w+=|javascript:|\sstyle=/i);
    const loaded = [...page.matchAll(/(?:src|href)="([^"#]+)"/g)].map(([, url]) => url);
    expect(new Set(loaded)).toEqual(new Set(["/docs/style.css", "/openapi.json"]));
    const style = await gateway.send("GET", "/docs/style.css", { token: null });
    expect(style.headers.get("content-type")).toContain("text/css");
    expect(await style.text()).not.toMatch(/url\(|@import|https?:/);
  });

  it("shows every operation and every problem code", async () => {
    const page = await (await gateway.send("GET", "/docs", { token: null })).text();
    for (const { operation } of operationsIn(await readDocument())) expect(page).toContain(`<article id="${operation.operationId}">`);
    for (const code of Object.keys(PROBLEMS)) expect(page).toContain(`<code>${code}</code>`);
  });

  it("links to what is on it", async () => {
    const page = await (await gateway.send("GET", "/docs", { token: null })).text();
    for (const [, id] of page.matchAll(/href="#([^"]+)"/g)) expect(page).toContain(`id="${id}"`);
  });

  it("escapes every text of the document", () => {
    const evil = `<img src=x onerror=alert(1)>"'&\`<b>\``;
    const schema = { type: "object", description: evil, required: [evil], properties: { [evil]: { type: "string", enum: [evil], description: evil, example: evil, default: evil } } };
    const page = docsPage({
      info: { title: evil, version: evil, description: evil },
      tags: [{ name: evil }],
      paths: {
        [`/${evil}`]: {
          post: {
            operationId: evil, tags: [evil], summary: evil, description: evil, security: [{ [evil]: [evil] }],
            parameters: [{ name: evil, in: evil, description: evil, schema }],
            requestBody: { required: true, content: { [evil]: { schema } } },
            responses: { [evil]: { description: evil, content: { [evil]: { schema } } } },
          },
        },
      },
      components: { schemas: { [evil]: schema }, parameters: {} },
    });
    expect(page).toContain("&lt;img src=x onerror=alert(1)&gt;");
    expect(page).not.toContain("<img");
    expect(page).not.toContain("<b>");
    expect(page).not.toMatch(/"<|="[^"]*&(?!amp;|lt;|gt;|quot;|#39;)/);
  });
});
