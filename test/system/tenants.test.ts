import { readdirSync, readFileSync, statSync } from "node:fs";
import { join } from "node:path";
import { ListQueuesCommand, SQSClient } from "@aws-sdk/client-sqs";
import { buildApp } from "fauxqs";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { call, eventually } from "./api.ts";
import { freePort } from "../../src/local/addresses.ts";
import { type Gateway, startGateway } from "./gateway.ts";

const CANARY = "CANARY-in-the-content-of-a-deleted-tenant";
const CREDENTIALS = { accessKeyId: "local", secretAccessKey: "local" };

let gateway: Gateway;
let sqs: ReturnType<typeof buildApp>;
let aws: SQSClient;

beforeAll(async () => {
  const sqsPort = await freePort("127.0.0.1", 0);
  const endpoint = `http://127.0.0.1:${sqsPort}`;
  sqs = buildApp({ logger: false });
  await sqs.listen({ host: "127.0.0.1", port: sqsPort });
  aws = new SQSClient({ endpoint, region: "us-east-1", credentials: CREDENTIALS });
  const env = { POSTERN_SQS_ENDPOINT: endpoint, AWS_ACCESS_KEY_ID: "local", AWS_SECRET_ACCESS_KEY: "local", AWS_REGION: "us-east-1" };
  gateway = await startGateway({ env });
});

afterAll(async () => {
  await gateway?.dispose();
  aws?.destroy();
  await sqs?.close();
});

const as = (tenant: string, method: string, path: string, options: Parameters<typeof call>[3] = {}) =>
  call(gateway, method, path, { ...options, headers: { "postern-tenant": tenant, ...options.headers } });

async function queuesOf(tenant: string): Promise<string[]> {
  const { QueueUrls = [] } = await aws.send(new ListQueuesCommand({ QueueNamePrefix: `postern-${tenant}-` }));
  return QueueUrls;
}

/** Files below the state directory that hold the canary. */
function filesWithCanary(): string[] {
  const state = join(gateway.dataDir, "state");
  return readdirSync(state, { recursive: true, encoding: "utf8" })
    .filter((path) => statSync(join(state, path)).isFile() && readFileSync(join(state, path)).includes(CANARY));
}

/** A tenant with messages in a topic, a queue and a node, in mailboxes, and in streams of its own, one a fork of another. */
async function fill(tenant: string): Promise<{ readonly endpoint: string }> {
  await call(gateway, "POST", "/v1/tenants", { body: { id: tenant } });
  const endpoint = await as(tenant, "POST", "/v1/endpoints", { body: { kind: "pull", topics: ["orders"] } });
  await as(tenant, "PUT", "/v1/queues/work", { body: {} });
  for (const path of ["/v1/events/orders", "/v1/commands/work/run", "/v1/direct/nobody.yet"]) {
    expect((await as(tenant, "POST", path, { raw: CANARY })).status, path).toBe(202);
  }
  const type = { "content-type": "text/plain" };
  for (const [path, headers] of [["own/one", {}], ["own/fork", { "stream-forked-from": "/v1/stream/own/one" }]] as const) {
    expect((await as(tenant, "PUT", `/v1/stream/${path}`, { headers: { ...type, ...headers }, raw: CANARY })).status, path).toBe(201);
  }
  expect((await as(tenant, "DELETE", "/v1/stream/own/one")).status).toBe(204); // what the fork reads from is there still
  await eventually(() => queuesOf(tenant), (urls) => urls.length >= 4);
  return { endpoint: endpoint.json.id };
}

describe("deleting a tenant", () => {
  it("takes along its streams with their messages, and its Amazon SQS queues; its neighbour keeps its own", async () => {
    const neighbour = await fill("neighbour");
    await fill("leaving");
    expect(filesWithCanary().length).toBeGreaterThan(5);
    expect((await call(gateway, "DELETE", "/v1/tenants/leaving")).status).toBe(204);
    expect(await queuesOf("leaving")).toEqual([]);
    expect((await queuesOf("neighbour")).length).toBeGreaterThanOrEqual(4);
    const content = await as("neighbour", "GET", "/v1/stream/own/fork");
    expect(content.bytes.toString()).toBe(CANARY + CANARY);
    const pulled = await as("neighbour", "GET", `/v1/endpoints/${neighbour.endpoint}/messages`);
    expect(pulled.json.messages).toMatchObject([{ data: CANARY }]);

    expect((await call(gateway, "DELETE", "/v1/tenants/neighbour")).status).toBe(204);
    expect(await queuesOf("neighbour")).toEqual([]);
    await eventually(async () => filesWithCanary(), (files) => files.length === 0);
  });
});
