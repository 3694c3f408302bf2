import { runConformanceTests } from "@durable-streams/server-conformance-tests";
import { afterAll, beforeAll, describe } from "vitest";
import { type Gateway, startGateway } from "./gateway.ts";

const server = { baseUrl: "", longPollTimeoutMs: 25_000 };
const bareFetch = globalThis.fetch;
let gateway: Gateway;

/** The suite knows no tokens: its requests get one on their way out. */
function authorized(input: string | URL | Request, init?: RequestInit): Promise<Response> {
  const request = new Request(input, init);
  if (request.url.startsWith(gateway.url)) request.headers.set("authorization", `Bearer ${gateway.token}`);
  return bareFetch(request);
}

beforeAll(async () => {
  gateway = await startGateway();
  server.baseUrl = gateway.url;
  globalThis.fetch = authorized;
});

afterAll(async () => {
  globalThis.fetch = bareFetch;
  await gateway.dispose();
});


describe("the Durable Streams Protocol", () => {
  runConformanceTests(server);
});
