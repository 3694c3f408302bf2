import { createServer } from "node:http";
import { setTimeout as delay } from "node:timers/promises";
import {
  CreateTopicCommand, ListSubscriptionsByTopicCommand, PublishBatchCommand, PublishCommand, SetTopicAttributesCommand, SNSClient, SubscribeCommand,
  UnsubscribeCommand,
} from "@aws-sdk/client-sns";
import { Webhook } from "standardwebhooks";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { type SnsSimulator, startSnsSimulator } from "../../src/local/sns-simulator/index.ts";
import { call, createEndpoint, eventually } from "./api.ts";
import { type Gateway, startGateway } from "./gateway.ts";
import { type Receiver, startReceiver } from "./receiver.ts";

let gateway: Gateway;
let receiver: Receiver;
let simulator: SnsSimulator;
let client: SNSClient;

beforeAll(async () => {
  receiver = await startReceiver();
  simulator = await startSnsSimulator({ host: "127.0.0.1", port: 0, retryDelaysMs: [200, 200, 200, 200, 200] });
  gateway = await startGateway({ env: { POSTERN_ALLOW_HOSTS: receiver.host, POSTERN_SNS_ENDPOINT: simulator.url } });
  client = new SNSClient({ endpoint: simulator.url, region: simulator.region, credentials: { accessKeyId: "test", secretAccessKey: "test" } });
});
afterAll(async () => {
  await gateway.dispose();
  await simulator.close();
  await receiver.close();
});

/** An SNS topic whose pushes go to a source of the gateway, and an endpoint that gets what comes of them. */
async function connect(name: string, topic: string | null): Promise<{ topicArn: string; sourceId: string; subscriptionArn: string; secret: string }> {
  const { TopicArn: topicArn = "" } = await client.send(new CreateTopicCommand({ Name: name }));
  const source = await call(gateway, "POST", "/v1/sources", { body: { kind: "sns", topicArns: [topicArn], topic } });
  expect(source.status).toBe(201);
  const { secret } = await createEndpoint(gateway, { url: `${receiver.url}/${name}`, topics: [topic ?? name] });
  const { SubscriptionArn: subscriptionArn = "" } = await client.send(
    new SubscribeCommand({ TopicArn: topicArn, Protocol: "http", Endpoint: `${gateway.url}/in/${source.json.id}`, ReturnSubscriptionArn: true }),
  );
  await eventually(
    async () => (await client.send(new ListSubscriptionsByTopicCommand({ TopicArn: topicArn }))).Subscriptions ?? [],
    ([subscription]) => subscription?.SubscriptionArn?.startsWith("arn:") === true,
  );
  return { topicArn, sourceId: source.json.id, subscriptionArn, secret };
}

function arrivals(name: string) {
  return receiver.requests.filter(({ path }) => path === `/${name}`);
}

describe("an SNS topic in front of the gateway", () => {
  it.each(["1", "2"])("is confirmed, and its messages arrive signed, with signature version %s", async (version) => {
    const name = `orders-v${version}`;
    const { topicArn, secret, sourceId } = await connect(name, "orders.completed");
    await client.send(new SetTopicAttributesCommand({ TopicArn: topicArn, AttributeName: "SignatureVersion", AttributeValue: version }));
    const message = '{"order": 1.00,\n "order": 2}';
    const { MessageId } = await client.send(
      new PublishCommand({ TopicArn: topicArn, Message: message, Subject: "An order", MessageAttributes: { Colour: { DataType: "String", StringValue: "red" } } }),
    );
    await receiver.until(() => arrivals(name).some(({ headers }) => headers["webhook-id"] === MessageId));
    const request = arrivals(name).find(({ headers }) => headers["webhook-id"] === MessageId)!;
    expect(request.body.toString()).toBe(message);
    expect(request.headers).toMatchObject({ "postern-topic": "orders.completed", "postern-attribute-colour": "red" });
    expect(() => new Webhook(secret).verify(request.body, request.headers)).not.toThrow();
    const stored = await eventually(() => call(gateway, "GET", `/v1/messages/${MessageId}`), ({ status }) => status === 200);
    expect(stored.json.event).toMatchObject({ subject: "An order", source: topicArn });
    const source = await call(gateway, "GET", `/v1/sources/${sourceId}`);
    expect(JSON.stringify(source.json)).toContain("confirmed");
  });

  it("takes the SNS topic's own name when the source names no topic, also for a batch", async () => {
    const { topicArn } = await connect("own-name", null);
    await client.send(
      new PublishBatchCommand({ TopicArn: topicArn, PublishBatchRequestEntries: [{ Id: "a", Message: "1" }, { Id: "b", Message: "2" }] }),
    );
    await receiver.until(() => arrivals("own-name").length === 2);
    expect(arrivals("own-name").map(({ body }) => body.toString()).sort()).toEqual(["1", "2"]);
  });

  it("records that it was unsubscribed", async () => {
    const { sourceId, subscriptionArn } = await connect("leaving", null);
    await client.send(new UnsubscribeCommand({ SubscriptionArn: subscriptionArn }));
    await eventually(() => call(gateway, "GET", `/v1/sources/${sourceId}`), ({ json }) => JSON.stringify(json).includes("unsubscribed"));
  });

  it("delivers a message once that SNS pushes twice", async () => {
    const { topicArn, sourceId } = await connect("twice", null);
    const posts: { headers: Record<string, string>; body: string }[] = [];
    const tap = createServer((request, response) => {
      const chunks: Buffer[] = [];
      request.on("data", (chunk: Buffer) => chunks.push(chunk)).on("end", () => {
        const headers = Object.fromEntries(Object.entries(request.headers).filter(([name]) => name.startsWith("x-amz") || name === "content-type"));
        posts.push({ headers: headers as Record<string, string>, body: Buffer.concat(chunks).toString() });
        response.end();
      });
    });
    await new Promise<void>((resolve) => tap.listen(0, "127.0.0.1", resolve));
    const address = tap.address();
    const tapUrl = `http://127.0.0.1:${typeof address === "object" && address !== null ? address.port : 0}/`;
    await client.send(new SubscribeCommand({ TopicArn: topicArn, Protocol: "http", Endpoint: tapUrl, ReturnSubscriptionArn: true }));
    await eventually(async () => posts.length, (count) => count === 1);
    // What SNS posts to a subscriber it can not tell from the gateway: confirmation by hand, then a message.
    const { Token, TopicArn } = JSON.parse(posts[0]!.body);
    await fetch(`${simulator.url}/?Action=ConfirmSubscription&Version=2010-03-31&TopicArn=${TopicArn}&Token=${Token}`);
    await client.send(new PublishCommand({ TopicArn: topicArn, Message: "once" }));
    await eventually(async () => posts.length, (count) => count === 2);
    await receiver.until(() => arrivals("twice").length === 1);
    for (let repeat = 0; repeat < 3; repeat++) {
      const answer = await call(gateway, "POST", `/in/${sourceId}`, { token: null, raw: posts[1]!.body, headers: posts[1]!.headers });
      expect(answer.status).toBe(200);
    }
    await delay(500);
    expect(arrivals("twice")).toHaveLength(1);

    const forged = posts[1]!.body.replace('"once"', '"forged"');
    const refused = await call(gateway, "POST", `/in/${sourceId}`, { token: null, raw: forged, headers: posts[1]!.headers });
    expect(refused.status).toBe(403);
    const bare = await call(gateway, "POST", `/in/${sourceId}`, { token: null, raw: "{}", headers: { "content-type": "text/plain" } });
    expect(bare.status).toBe(403);
    expect({ ...bare.json, instance: "" }).toEqual({ ...refused.json, instance: "" });
    expect(gateway.logs()).toMatch(/"reason":"signature/);
    tap.close();
  });
});

it("answers 5xx while a certificate can not be fetched, so that SNS tries again and nothing is lost", async () => {
  const port = 20_000 + (process.pid % 10_000);
  const proxied = { down: false };
  const proxy = createServer((request, response) => {
    if (proxied.down && request.url?.endsWith(".pem") === true) return void response.writeHead(503).end();
    const chunks: Buffer[] = [];
    request.on("data", (chunk: Buffer) => chunks.push(chunk)).on("end", () => {
      const body = Buffer.concat(chunks);
      void fetch(simulator.url + request.url, { method: request.method ?? "GET", ...(body.length > 0 ? { body } : {}), headers: { "content-type": request.headers["content-type"] ?? "" } }).then(
        async (answer) => response.writeHead(answer.status).end(Buffer.from(await answer.arrayBuffer())),
        () => response.writeHead(502).end(),
      );
    });
  });
  await new Promise<void>((resolve) => proxy.listen(port, "127.0.0.1", resolve));
  const other = await startGateway({ env: { POSTERN_ALLOW_HOSTS: receiver.host, POSTERN_SNS_ENDPOINT: `http://127.0.0.1:${port}` } });
  try {
    proxied.down = true;
    const { TopicArn: topicArn = "" } = await client.send(new CreateTopicCommand({ Name: "unjudged" }));
    const source = await call(other, "POST", "/v1/sources", { body: { kind: "sns", topicArns: [topicArn], topic: null } });
    await createEndpoint(other, { url: `${receiver.url}/unjudged`, topics: ["unjudged"] });
    await client.send(new SubscribeCommand({ TopicArn: topicArn, Protocol: "http", Endpoint: `${other.url}/in/${source.json.id}`, ReturnSubscriptionArn: true }));
    await delay(300);
    expect(other.logs()).toMatch(/"status":503/);
    proxied.down = false;
    await eventually(
      async () => (await client.send(new ListSubscriptionsByTopicCommand({ TopicArn: topicArn }))).Subscriptions ?? [],
      ([subscription]) => subscription?.SubscriptionArn?.startsWith("arn:") === true,
    );
    await client.send(new PublishCommand({ TopicArn: topicArn, Message: "at last" }));
    await receiver.until(() => arrivals("unjudged").length === 1);
  } finally {
    await other.dispose();
    proxy.close();
    proxy.closeAllConnections();
  }
});
