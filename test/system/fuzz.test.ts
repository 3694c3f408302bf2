import { connect } from "node:net";
import fc from "fast-check";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { z } from "zod";
import { PROBLEMS } from "../../src/http/problem.ts";
import { call } from "./api.ts";
import { MALFORMED_JSON, NOT_UTF8, RAW_HEADERS, RAW_TARGETS } from "./fuzz-corpus.ts";
import { type FuzzedRequest, type Operation, requestsTo, resolved } from "./fuzz-requests.ts";
import { type Gateway, startGateway } from "./gateway.ts";

const TENANT = "fuzzed";
/** The same requests in every run; another number, other requests. */
const SEED = Number(process.env["FUZZ_SEED"] ?? 20261121);
const RUNS = Number(process.env["FUZZ_RUNS"] ?? 12);
/** What waits on purpose is left after this. */
const PATIENCE_MS = 700;
const OPERATIONS_AT_ONCE = 6;
const METHODS = ["get", "put", "post", "patch", "delete"];
/** Problems any request may meet before it reaches its route. */
const GENERAL: ReadonlySet<number> = new Set([400, 401, 403, 404, 405, 409, 413, 415, 422, 429]);

let gateway: Gateway;
const answered = { all: 0, accepted: 0 };
let document: any;
let names: readonly string[];

beforeAll(async () => {
  gateway = await startGateway({ env: { POSTERN_MAILBOX: "durable-object", POSTERN_ALLOW_HOSTS: "127.0.0.1:1" } });
  document = (await call(gateway, "GET", "/openapi.json")).json;
  names = await buildTenant();
});

afterAll(() => gateway?.dispose());

describe("generated requests", () => {
  it("to every operation are answered as it is documented, and never with an error of ours", async () => {
    const operations = operationsOf(document);
    expect(operations.length).toBeGreaterThan(60);
    const failures: string[] = [];
    const queue = [...operations];
    const work = async (): Promise<void> => {
      for (let next = queue.shift(); next !== undefined; next = queue.shift()) {
        const operation = next;
        const property = fc.asyncProperty(requestsTo(document, operation, names), (request) => judge(operation, request));
        const run = await fc.check(property, { numRuns: RUNS, seed: SEED, endOnFailure: true });
        if (run.failed) failures.push(`${operation.method} ${operation.path}: ${String(run.errorInstance).slice(0, 1000)}\n${JSON.stringify(run.counterexample).slice(0, 500)}`);
      }
    };
    await Promise.all(Array.from({ length: OPERATIONS_AT_ONCE }, work));
    expect(failures).toEqual([]);
    // most are answered, and many get through: else this would be a test of waiting, or of one check alone
    expect(answered.all).toBeGreaterThan(operations.length * RUNS * 0.8);
    expect(answered.accepted).toBeGreaterThan(answered.all * 0.2);
    expect((await call(gateway, "GET", "/healthz")).status).toBe(200);
  }, 180_000);

  it("leave no error of ours in the log", () => {
    const lines = gateway.logs().split("\n").filter((line) => /"message":"unexpected error"|uncaught|exception/i.test(line));
    expect(lines).toEqual([]);
  });
});

describe("the corpora", () => {
  it("of JSON never break a route that takes JSON", async () => {
    const routes = operationsOf(document).filter(({ detail }) => detail.requestBody?.content?.["application/json"] !== undefined);
    for (const operation of routes) {
      const path = operation.path.replaceAll(/\{[^}]+\}/g, "nothing");
      await Promise.all([...MALFORMED_JSON, ...NOT_UTF8].map((body) => judge(operation, { path, headers: { "content-type": "application/json" }, body })));
    }
  }, 120_000);

  it("of sizes: no operation takes more than it can hold, nor a text that is longer than any can be", async () => {
    const routes = operationsOf(document).filter(({ detail }) => detail.requestBody?.content?.["application/json"] !== undefined);
    for (const operation of routes) {
      const path = operation.path.replaceAll(/\{[^}]+\}/g, "nothing");
      const headers = { "content-type": "application/json" };
      const schema = resolved(document, operation.detail.requestBody.content["application/json"].schema);
      const long = Object.keys(schema.properties ?? {}).map((name) => JSON.stringify({ [name]: "x".repeat(100_000) }));
      // a batch may be larger, and is no object of a name
      for (const body of [...long, JSON.stringify({ name: "x".repeat(256 * 1024) })]) {
        const answer = await send(operation.method, { path, headers, body });
        expect(answer?.status, `${operation.method} ${path} with ${body.slice(0, 30)}`).toBeGreaterThanOrEqual(400);
        expect(answer?.status, `${operation.method} ${path} with ${body.slice(0, 30)}`).toBeLessThan(500);
      }
    }
  }, 120_000);

  it.each(["GET", "POST", "PUT", "DELETE", "HEAD", "OPTIONS", "PATCH", "TRACE"])("of request targets never break anything (%s)", async (method) => {
    for (const target of RAW_TARGETS) {
      const answer = await overTheWire(`${method} ${target} HTTP/1.1`, []);
      expect(answer.status, `${method} ${target.slice(0, 100)}`).toBeLessThan(500);
    }
  });

  it("of headers never break anything", async () => {
    for (const line of RAW_HEADERS) {
      for (const request of ["GET /v1/endpoints", "POST /v1/events/orders", "POST /v1/endpoints", "GET /v1/audit", "PUT /v1/stream/s", "GET /v1/stream/s"]) {
        const answer = await overTheWire(`${request} HTTP/1.1`, [line]);
        expect(answer.status, `${request} with ${line.slice(0, 100)}`).toBeLessThan(500);
      }
    }
  });
});

/** Sends a request and throws, saying what was wrong, when its answer is not one that is documented. */
async function judge({ method, path: template, detail }: Operation, request: FuzzedRequest): Promise<void> {
  const response = await send(method, request);
  if (response === null) return; // it waits, as asked
  const { status, type, body } = response;
  answered.all++;
  if (status < 300) answered.accepted++;
  const documented = detail.responses[String(status)];
  const what = `${method} ${template}: ${status} ${type} ${body?.slice(0, 300)}`;
  if (documented === undefined && !(GENERAL.has(status) && detail.responses["default"] !== undefined)) throw new Error(`undocumented: ${what}`);
  if (status >= 400 && !(template === "/readyz" && status === 503)) return requireProblem(status, type, body, what);
  if (body === null || !/^application\/json\b/.test(type) || documented === undefined) return;
  const schema = resolved(document, documented).content?.[type.split(";")[0] ?? ""]?.schema;
  if (schema === undefined) return;
  const parsed = schemaOf(schema).safeParse(JSON.parse(body));
  if (!parsed.success) throw new Error(`outside its schema: ${what}: ${parsed.error.message}`);
}

function requireProblem(status: number, type: string, body: string | null, what: string): void {
  if (body === null) throw new Error(`no body: ${what}`);
  const problem = JSON.parse(body);
  const code = String(problem.type).split("/").at(-1) ?? "";
  const known = Object.entries(PROBLEMS).some(([name, { status: its }]) => name === code && its === status);
  const complete = typeof problem.title === "string" && typeof problem.detail === "string" && typeof problem.instance === "string" && problem.instance !== "";
  if (type !== "application/problem+json" || !known || problem.status !== status || !complete) throw new Error(`no problem: ${what}`);
}

const schemas = new Map<unknown, z.ZodType>();

/** Zod's reading of a schema of the document, with what it refers to beside it. */
function schemaOf(schema: unknown): z.ZodType {
  const known = schemas.get(schema);
  if (known !== undefined) return known;
  const moved = JSON.parse(JSON.stringify({ allOf: [schema], $defs: document.components.schemas }).replaceAll("#/components/schemas/", "#/$defs/"));
  const made = z.fromJSONSchema(moved);
  schemas.set(schema, made);
  return made;
}

type Sent = { readonly status: number; readonly type: string; readonly body: string | null };

async function send(method: string, { path, headers, body }: FuzzedRequest): Promise<Sent | null> {
  const patience = new AbortController();
  const timer = setTimeout(() => patience.abort(), PATIENCE_MS);
  try {
    const response = await fetch(gateway.url + path, {
      method: method.toUpperCase(),
      headers: { authorization: `Bearer ${gateway.token}`, "postern-tenant": TENANT, ...headers },
      ...(body === null || method === "get" ? {} : { body: typeof body === "string" ? body : Buffer.from(body) }),
      redirect: "manual",
      signal: patience.signal,
    });
    const type = response.headers.get("content-type") ?? "";
    const isStream = type.startsWith("text/event-stream");
    if (isStream) await response.body?.cancel();
    return { status: response.status, type, body: isStream ? null : await response.text() };
  } catch (error) {
    if (patience.signal.aborted) return null;
    throw error;
  } finally {
    clearTimeout(timer);
  }
}

/** What no HTTP client would send: the bytes as they are, and the status of what comes back. */
function overTheWire(requestLine: string, lines: readonly string[]): Promise<{ readonly status: number }> {
  return new Promise((resolve, reject) => {
    const socket = connect(gateway.port, "127.0.0.1");
    let answer = "";
    socket.setTimeout(5_000, () => socket.destroy(new Error(`no answer to ${requestLine.slice(0, 100)}`)));
    socket.setEncoding("latin1").on("data", (chunk: string) => {
      answer += chunk;
      const status = /^HTTP\/1\.1 (\d{3})/.exec(answer)?.[1];
      if (status === undefined) return;
      socket.destroy();
      resolve({ status: Number(status) });
    });
    socket.on("error", reject);
    // the gateway may hang up on what is no HTTP
    socket.on("close", () => resolve({ status: 0 }));
    const head = [requestLine, "host: gateway", `authorization: Bearer ${gateway.token}`, `postern-tenant: ${TENANT}`, "content-length: 2", ...lines];
    socket.write(Buffer.from(`${head.join("\r\n")}\r\n\r\n{}`, "latin1"));
  });
}

function operationsOf(from: any): Operation[] {
  return Object.entries<any>(from.paths).flatMap(([path, item]) => METHODS.filter((method) => item[method] !== undefined).map((method) => ({ method, path, detail: item[method] })));
}

/** A tenant with one of everything, so that requests find something; returns what it is known by. */
async function buildTenant(): Promise<string[]> {
  await call(gateway, "POST", "/v1/tenants", { body: { id: TENANT } });
  await call(gateway, "POST", "/v1/tenants", { body: { id: "spare" } });
  const make = async (method: string, path: string, body: unknown): Promise<any> => {
    const answer = await call(gateway, method, path, { body, headers: { "postern-tenant": TENANT } });
    if (answer.status >= 300) throw new Error(`${method} ${path}: ${answer.status} ${answer.bytes.toString()}`);
    return answer.json;
  };
  const pull = await make("POST", "/v1/endpoints", { kind: "pull", node: "node", topics: ["orders"] });
  const push = await make("POST", "/v1/endpoints", { kind: "push", url: "http://127.0.0.1:1/", topics: ["elsewhere"], fallback: "pull" });
  const subscription = await make("POST", "/v1/subscriptions", { endpointId: pull.id, topic: "a.b" });
  const source = await make("POST", "/v1/sources", { kind: "sns", topicArns: ["arn:aws:sns:eu-central-1:123456789012:orders"], topic: null });
  const token = await make("POST", "/v1/tokens", { name: "spare", scopes: ["read"] });
  await make("PUT", "/v1/queues/queue", {});
  const message = await make("POST", "/v1/events/orders", { of: "a test" });
  return [pull.id, push.id, subscription.id, source.id, token.id, message.id, "queue", "orders", "node", "spare", "s", "consumer", "run"];
}
