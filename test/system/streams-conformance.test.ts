import { Server } from "node:net";
import { runConformanceTests } from "@durable-streams/server-conformance-tests";
import { afterAll, aroundEach, beforeAll, describe, vi } from "vitest";
import { freePort } from "../../src/local/addresses.ts";
import { type Gateway, startGateway } from "./gateway.ts";

const LOOPBACK = "127.0.0.1";
const server = { baseUrl: "", longPollTimeoutMs: 25_000, subscriptions: true };
const bareFetch = globalThis.fetch;
let gateway: Gateway;

/** The suite knows no tokens of ours: its requests get one on their way out, unless they carry that of a wake. */
function authorized(input: string | URL | Request, init?: RequestInit): Promise<Response> {
  const request = new Request(input, init);
  if (request.url.startsWith(gateway.url) && !request.headers.has("authorization")) {
    request.headers.set("authorization", `Bearer ${gateway.token}`);
  }
  return bareFetch(request);
}

/** The suite's webhook receivers take any port that is free; a gateway reaches private addresses that are listed only. */
async function listenWhereAllowed(): Promise<string> {
  const port = await freePort(LOOPBACK, 0);
  const listen = Server.prototype.listen;
  vi.spyOn(Server.prototype, "listen").mockImplementation(function (this: Server, ...args: unknown[]) {
    if (args[0] === 0 && args[1] === LOOPBACK) args[0] = port;
    return Reflect.apply(listen, this, args) as Server;
  });
  return `${LOOPBACK}:${port}`;
}

beforeAll(async () => {
  gateway = await startGateway({ env: { POSTERN_ALLOW_HOSTS: await listenWhereAllowed() } });
  server.baseUrl = gateway.url;
  globalThis.fetch = authorized;
});

afterAll(async () => {
  globalThis.fetch = bareFetch;
  vi.restoreAllMocks();
  await gateway.dispose();
});

/** Those about subscriptions have one receiver between them, and ids made of the time: one after the other. */
let subscriptions: Promise<unknown> = Promise.resolve();
aroundEach(async (run, { task }) => {
  if (task.suite?.name !== "Reserved subscription APIs") return run();
  const turn = subscriptions.then(run);
  subscriptions = turn.catch(() => undefined);
  return turn;
});

// Every test has streams of its own, so that one that waits need not hold up the next. Again where it failed: some give a
// stream one second to live and then ask whether it is still there, which a busy machine may be too slow for.
describe.concurrent("the Durable Streams Protocol", { retry: 1 }, () => {
  runConformanceTests(server);
});
