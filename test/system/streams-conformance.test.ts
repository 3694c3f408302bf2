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

// Every test has streams of its own, so that one that waits need not hold up the next. Again where it failed: some give a
// stream one second to live and then ask whether it is still there, which a busy machine may be too slow for.
describe.concurrent("the Durable Streams Protocol", { retry: 1 }, () => {
  runConformanceTests(server);
});
