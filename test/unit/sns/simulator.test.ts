import { createServer, type IncomingHttpHeaders, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import {
  ConfirmSubscriptionCommand, CreateTopicCommand, DeleteTopicCommand, GetSubscriptionAttributesCommand, GetTopicAttributesCommand,
  ListSubscriptionsByTopicCommand, ListSubscriptionsCommand, ListTopicsCommand, PublishBatchCommand, PublishCommand,
  SetSubscriptionAttributesCommand, SetTopicAttributesCommand, SNSClient, SubscribeCommand, UnsubscribeCommand,
} from "@aws-sdk/client-sns";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it, vi } from "vitest";
import type { PostReport } from "../../../src/local/sns-simulator/index.ts";
import { type SnsSimulator, startSnsSimulator } from "../../../src/local/sns-simulator/index.ts";
import { createCertificateCache } from "../../../src/sns/certificate-cache.ts";
import { confirmSubscription } from "../../../src/sns/confirm.ts";
import { verify } from "../../../src/sns/verify.ts";

type Received = { readonly headers: IncomingHttpHeaders; readonly body: Buffer; readonly json: Record<string, string> };

let reports: PostReport[] = [];
let received: Received[] = [];
/** Answers by turn; 200 when it is empty. */
let answers: number[] = [];
let simulator: SnsSimulator;
let client: SNSClient;
let subscriber: Server;
let endpoint: string;

beforeAll(async () => {
  subscriber = createServer((request, response) => {
    const chunks: Buffer[] = [];
    request.on("data", (chunk: Buffer) => chunks.push(chunk));
    request.on("end", () => {
      const body = Buffer.concat(chunks);
      const text = body.toString();
      received.push({ headers: request.headers, body, json: text.startsWith("{") ? JSON.parse(text) : {} });
      response.writeHead(answers.shift() ?? 200).end();
    });
  });
  await new Promise<void>((resolve) => subscriber.listen(0, "127.0.0.1", resolve));
  endpoint = `http://127.0.0.1:${(subscriber.address() as AddressInfo).port}/in/src_1`;
});

afterAll(async () => {
  subscriber.closeAllConnections();
  await new Promise((resolve) => subscriber.close(resolve));
});

beforeEach(async () => {
  [reports, received, answers] = [[], [], []];
  simulator = await startSnsSimulator({ retryDelaysMs: [0, 0, 0], onPost: (report) => reports.push(report) });
  client = new SNSClient({ endpoint: simulator.url, region: "us-east-1", credentials: { accessKeyId: "x", secretAccessKey: "y" }, maxAttempts: 1 });
});

afterEach(async () => {
  client.destroy();
  await simulator.close();
});

async function idle(): Promise<void> {
  await vi.waitFor(() => expect(simulator.openPosts()).toBe(0), { timeout: 10_000, interval: 5 });
}

function first(deliveries: readonly Received[]): Received {
  const [delivery] = deliveries;
  if (delivery === undefined) throw new Error("nothing arrived");
  return delivery;
}

async function makeTopic(name = "orders", attributes: Record<string, string> = {}): Promise<string> {
  const { TopicArn } = await client.send(new CreateTopicCommand({ Name: name, Attributes: attributes }));
  return TopicArn ?? "";
}

async function subscribeAndConfirm(topicArn: string): Promise<string> {
  await client.send(new SubscribeCommand({ TopicArn: topicArn, Protocol: "http", Endpoint: endpoint }));
  await idle();
  const token = received.at(-1)?.json["Token"] ?? "";
  const { SubscriptionArn } = await client.send(new ConfirmSubscriptionCommand({ TopicArn: topicArn, Token: token }));
  received = [];
  reports = [];
  return SubscriptionArn ?? "";
}

/** Verifies what a subscriber received with the gateway's own code, against this simulator. */
async function accepts(topicArn: string, { headers, body }: Received) {
  const plain = Object.entries(headers).map(([name, value]): [string, string] => [name, String(value)]);
  const cache = createCertificateCache({ fetch, sleep: () => Promise.resolve(), snsEndpoint: simulator.url });
  return verify({ headers: new Headers(plain), body }, { sourceId: "src_1", topicArns: [topicArn], minVersion: 1 }, cache, Date.now());
}

describe("topics", () => {
  it("are made once, listed by the hundred, and deleted", async () => {
    const arn = await makeTopic();
    expect(arn).toBe("arn:aws:sns:us-east-1:123456789012:orders");
    expect(await makeTopic()).toBe(arn);
    expect(await makeTopic("orders.fifo", { FifoTopic: "true" })).toBe(`${arn}.fifo`);
    for (let index = 0; index < 100; index++) await makeTopic(`topic-${index}`);
    const first = await client.send(new ListTopicsCommand({}));
    const second = await client.send(new ListTopicsCommand({ NextToken: first.NextToken }));
    expect([first.Topics?.length, second.Topics?.length, second.NextToken]).toEqual([100, 2, undefined]);
    await client.send(new DeleteTopicCommand({ TopicArn: arn }));
    await client.send(new DeleteTopicCommand({ TopicArn: arn }));
    await expect(client.send(new GetTopicAttributesCommand({ TopicArn: arn }))).rejects.toMatchObject({
      name: "NotFoundException", message: "Topic does not exist", $metadata: { httpStatusCode: 404 },
    });
  });

  it("have attributes", async () => {
    const arn = await makeTopic("orders", { DisplayName: "A & <B>\r\n\"c\"" });
    await client.send(new SetTopicAttributesCommand({ TopicArn: arn, AttributeName: "SignatureVersion", AttributeValue: "2" }));
    const { Attributes } = await client.send(new GetTopicAttributesCommand({ TopicArn: arn }));
    expect(Attributes).toMatchObject({
      TopicArn: arn, Owner: "123456789012", DisplayName: "A & <B>\r\n\"c\"", SignatureVersion: "2", SubscriptionsConfirmed: "0", SubscriptionsPending: "0",
    });
  });

  it("refuse what SNS refuses", async () => {
    await makeTopic();
    for (const refused of [
      new CreateTopicCommand({ Name: "or.ders" }),
      new CreateTopicCommand({ Name: "orders.fifo" }),
      new CreateTopicCommand({ Name: "orders", Attributes: { DisplayName: "other" } }),
      new CreateTopicCommand({ Name: "new", Attributes: { SignatureVersion: "3" } }),
    ]) {
      await expect(client.send(refused)).rejects.toMatchObject({ name: "InvalidParameterException", $metadata: { httpStatusCode: 400 } });
    }
  });
});

describe("a subscription", () => {
  it("is pending until it is confirmed with the token that was posted", async () => {
    const arn = await makeTopic();
    const { SubscriptionArn } = await client.send(new SubscribeCommand({ TopicArn: arn, Protocol: "http", Endpoint: endpoint }));
    expect(SubscriptionArn).toBe("pending confirmation");
    await idle();
    const { headers, json } = first(received);
    expect(headers).toMatchObject({
      "x-amz-sns-message-type": "SubscriptionConfirmation", "x-amz-sns-topic-arn": arn, "x-amz-sns-message-id": json["MessageId"],
      "content-type": "text/plain; charset=UTF-8", "user-agent": "Amazon Simple Notification Service Agent",
    });
    expect(headers).not.toHaveProperty("x-amz-sns-subscription-arn");
    expect(Object.keys(json)).toEqual([
      "Type", "MessageId", "Token", "TopicArn", "Message", "SubscribeURL", "Timestamp", "SignatureVersion", "Signature", "SigningCertURL",
    ]);

    await client.send(new PublishCommand({ TopicArn: arn, Message: "too early" }));
    expect(simulator.openPosts()).toBe(0);
    await expect(client.send(new ConfirmSubscriptionCommand({ TopicArn: arn, Token: "wrong" }))).rejects.toMatchObject({ name: "InvalidParameterException" });
    const pending = await client.send(new ListSubscriptionsByTopicCommand({ TopicArn: arn }));
    expect(pending.Subscriptions).toMatchObject([{ SubscriptionArn: "PendingConfirmation", Protocol: "http", Endpoint: endpoint, TopicArn: arn }]);

    const confirmed = await client.send(new ConfirmSubscriptionCommand({ TopicArn: arn, Token: json["Token"] }));
    expect(confirmed.SubscriptionArn).toMatch(new RegExp(`^${arn}:[0-9a-f-]{36}$`));
    const { Subscriptions } = await client.send(new ListSubscriptionsCommand({}));
    expect(Subscriptions?.map((each) => each.SubscriptionArn)).toEqual([confirmed.SubscriptionArn]);
  });

  it("tells its ARN at once when asked to, and keeps its attributes", async () => {
    const arn = await makeTopic();
    const { SubscriptionArn } = await client.send(
      new SubscribeCommand({ TopicArn: arn, Protocol: "http", Endpoint: endpoint, ReturnSubscriptionArn: true, Attributes: { FilterPolicy: '{"a":["b"]}' } }),
    );
    await client.send(new SetSubscriptionAttributesCommand({ SubscriptionArn, AttributeName: "RawMessageDelivery", AttributeValue: "true" }));
    const { Attributes } = await client.send(new GetSubscriptionAttributesCommand({ SubscriptionArn }));
    expect(Attributes).toMatchObject({ SubscriptionArn, PendingConfirmation: "true", FilterPolicy: '{"a":["b"]}', RawMessageDelivery: "true" });
  });

  it("is refused for other protocols, for FIFO topics and with an endpoint of another scheme", async () => {
    const TopicArn = await makeTopic();
    const fifo = await makeTopic("orders.fifo", { FifoTopic: "true" });
    for (const refused of [
      { TopicArn, Protocol: "sqs", Endpoint: "arn:aws:sqs:us-east-1:123456789012:q" },
      { TopicArn, Protocol: "https", Endpoint: endpoint },
      { TopicArn: fifo, Protocol: "http", Endpoint: endpoint },
      { TopicArn, Protocol: "http", Endpoint: endpoint, Attributes: { FilterPolicy: "no JSON" } },
    ]) {
      await expect(client.send(new SubscribeCommand(refused))).rejects.toMatchObject({ name: "InvalidParameterException" });
    }
  });

  it("ends with a message that can bring it back", async () => {
    const arn = await makeTopic();
    const SubscriptionArn = await subscribeAndConfirm(arn);
    await client.send(new UnsubscribeCommand({ SubscriptionArn }));
    await idle();
    const confirmation = first(received);
    expect(confirmation.json["Type"]).toBe("UnsubscribeConfirmation");
    expect(await accepts(arn, confirmation)).toMatchObject({ ok: true, message: { type: "UnsubscribeConfirmation" } });
    await client.send(new PublishCommand({ TopicArn: arn, Message: "to nobody" }));
    expect(simulator.openPosts()).toBe(0);
    await client.send(new UnsubscribeCommand({ SubscriptionArn }));

    await client.send(new ConfirmSubscriptionCommand({ TopicArn: arn, Token: confirmation.json["Token"] }));
    await client.send(new PublishCommand({ TopicArn: arn, Message: "back again" }));
    await idle();
    expect(received.at(-1)?.json["Message"]).toBe("back again");
  });
});

describe("a published message", () => {
  for (const version of ["1", "2"]) {
    it(`arrives signed, with signature version ${version}, and the gateway accepts it`, async () => {
      const arn = await makeTopic("orders", { SignatureVersion: version });
      const subscriptionArn = await subscribeAndConfirm(arn);
      const { MessageId } = await client.send(
        new PublishCommand({
          TopicArn: arn, Message: "line 1\nline 2 é😀", Subject: "A subject",
          MessageAttributes: {
            colour: { DataType: "String", StringValue: "red" },
            blob: { DataType: "Binary", BinaryValue: new Uint8Array([0, 1, 2]) },
          },
        }),
      );
      await idle();
      const delivery = first(received);
      expect(delivery.headers).toMatchObject({
        "x-amz-sns-message-type": "Notification", "x-amz-sns-message-id": MessageId, "x-amz-sns-topic-arn": arn,
        "x-amz-sns-subscription-arn": subscriptionArn, "content-type": "text/plain; charset=UTF-8",
      });
      expect(delivery.json["SigningCertURL"]).toMatch(/^https:\/\/sns\.us-east-1\.amazonaws\.com\/SimpleNotificationService-[0-9a-f]{32}\.pem$/);
      expect(await accepts(arn, delivery)).toMatchObject({
        ok: true,
        message: {
          type: "Notification", messageId: MessageId, message: "line 1\nline 2 é😀", subject: "A subject", signatureVersion: Number(version),
          attributes: [{ name: "colour", type: "String", value: "red" }, { name: "blob", type: "Binary", value: "AAEC" }],
        },
      });
    });
  }

  it("is confirmed for by the gateway's own code", async () => {
    const arn = await makeTopic();
    await client.send(new SubscribeCommand({ TopicArn: arn, Protocol: "http", Endpoint: endpoint }));
    await idle();
    const delivery = first(received);
    const verification = await accepts(arn, delivery);
    if (!verification.ok || verification.message.type !== "SubscriptionConfirmation") throw new Error("refused");
    const { topic, token } = verification.message;
    const result = await confirmSubscription(topic, token, { fetch, snsEndpoint: simulator.url });
    expect(result).toEqual({ ok: true, subscriptionArn: expect.stringContaining(`${arn}:`) });
    const { Attributes } = await client.send(new GetTopicAttributesCommand({ TopicArn: arn }));
    expect(Attributes?.["SubscriptionsConfirmed"]).toBe("1");
  });

  it("arrives bare where raw delivery is set", async () => {
    const arn = await makeTopic();
    const SubscriptionArn = await subscribeAndConfirm(arn);
    await client.send(new SetSubscriptionAttributesCommand({ SubscriptionArn, AttributeName: "RawMessageDelivery", AttributeValue: "true" }));
    await client.send(new PublishCommand({ TopicArn: arn, Message: "bare" }));
    await idle();
    const delivery = first(received);
    expect([delivery.body.toString(), delivery.headers["x-amz-sns-rawdelivery"]]).toEqual(["bare", "true"]);
    expect(await accepts(arn, delivery)).toEqual({ ok: false, kind: "refused", reason: "raw-delivery" });
  });

  it("of a structure arrives as its text for HTTP", async () => {
    const arn = await makeTopic();
    await subscribeAndConfirm(arn);
    await client.send(new PublishCommand({ TopicArn: arn, MessageStructure: "json", Message: '{"default":"d","http":"h"}' }));
    await idle();
    expect(received[0]?.json["Message"]).toBe("h");
  });

  it("of a batch arrives by itself, and a broken entry fails by itself", async () => {
    const arn = await makeTopic();
    await subscribeAndConfirm(arn);
    const entries = Array.from({ length: 10 }, (_, index) => ({ Id: `e${index}`, Message: index === 3 ? "" : `message ${index}` }));
    const { Successful, Failed } = await client.send(new PublishBatchCommand({ TopicArn: arn, PublishBatchRequestEntries: entries }));
    expect(Failed).toMatchObject([{ Id: "e3", Code: "InvalidParameter", SenderFault: true }]);
    await idle();
    expect(received).toHaveLength(9);
    expect(new Set(received.map(({ json }) => json["MessageId"]))).toEqual(new Set(Successful?.map(({ MessageId }) => MessageId)));
    for (const [refused, name] of [
      [entries.concat({ Id: "e10", Message: "x" }), "TooManyEntriesInBatchRequestException"],
      [[{ Id: "a", Message: "x" }, { Id: "a", Message: "y" }], "BatchEntryIdsNotDistinctException"],
      [[{ Id: "a b", Message: "x" }], "InvalidBatchEntryIdException"],
      [[{ Id: "a", Message: "x".repeat(200_000) }, { Id: "b", Message: "y".repeat(200_000) }], "BatchRequestTooLongException"],
    ] as const) {
      await expect(client.send(new PublishBatchCommand({ TopicArn: arn, PublishBatchRequestEntries: [...refused] }))).rejects.toMatchObject({ name });
    }
  });

  it("is refused empty, too long, with a bad subject, or for no topic", async () => {
    const TopicArn = await makeTopic();
    for (const refused of [
      { TopicArn, Message: "" }, { TopicArn, Message: "x".repeat(256 * 1024 + 1) }, { TopicArn, Message: "x", Subject: "a\nb" }, { Message: "x" },
    ]) {
      await expect(client.send(new PublishCommand(refused))).rejects.toMatchObject({ name: "InvalidParameterException" });
    }
    await expect(client.send(new PublishCommand({ TopicArn: `${TopicArn}2`, Message: "x" }))).rejects.toMatchObject({ name: "NotFoundException" });
  });
});

describe("a delivery that fails", () => {
  async function publishAgainst(statuses: number[]): Promise<(number | null)[]> {
    const arn = await makeTopic();
    await subscribeAndConfirm(arn);
    answers = statuses;
    await client.send(new PublishCommand({ TopicArn: arn, Message: "x" }));
    await idle();
    return reports.map(({ statusCode }) => statusCode);
  }

  it("is tried again after a 5xx or a 429, with the same message", async () => {
    expect(await publishAgainst([500, 429, 503])).toEqual([500, 429, 503, 200]);
    expect(new Set(received.map(({ body }) => body.toString())).size).toBe(1);
    expect(reports.map(({ outcome }) => outcome)).toEqual(["retried", "retried", "retried", "delivered"]);
  });

  it("is dropped after the last retry", async () => {
    expect(await publishAgainst([500, 500, 500, 500, 200])).toEqual([500, 500, 500, 500]);
    expect(reports.at(-1)?.outcome).toBe("dropped");
  });

  for (const status of [400, 403, 404, 413, 301]) {
    it(`is dropped for good at ${status}`, async () => {
      expect(await publishAgainst([status])).toEqual([status]);
      expect(reports.at(-1)?.outcome).toBe("dropped");
    });
  }

  it("is tried again when there is no connection", async () => {
    const arn = await makeTopic();
    await client.send(new SubscribeCommand({ TopicArn: arn, Protocol: "http", Endpoint: "http://127.0.0.1:1/" }));
    await idle();
    expect(reports.map(({ statusCode, outcome }) => [statusCode, outcome])).toEqual([
      [null, "retried"], [null, "retried"], [null, "retried"], [null, "dropped"],
    ]);
  });
});

describe("the simulator", () => {
  it("answers what it does not know as SNS does", async () => {
    const unknown = await fetch(`${simulator.url}/`, { method: "POST", body: new URLSearchParams({ Action: "Fly" }) });
    expect([unknown.status, await unknown.text()]).toEqual([400, expect.stringContaining("<Code>InvalidAction</Code>")]);
    const none = await fetch(`${simulator.url}/?a=b`);
    expect([none.status, await none.text()]).toEqual([400, expect.stringContaining("<Code>MissingAction</Code>")]);
  });

  it("keeps its identity when it is given the one of an earlier run", async () => {
    const { certificatePem, privateKeyPem, certificateUrl } = simulator;
    const again = await startSnsSimulator({ certificate: certificatePem, privateKeyPem });
    expect(again.certificateUrl).toBe(certificateUrl);
    const served = await fetch(again.url + new URL(certificateUrl).pathname);
    expect(await served.text()).toBe(certificatePem);
    await again.close();
  });
});
