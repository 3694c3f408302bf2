import {
  DeleteQueueCommand,
  GetQueueAttributesCommand,
  GetQueueUrlCommand,
  ListQueuesCommand,
  ListQueueTagsCommand,
  ReceiveMessageCommand,
  SendMessageCommand,
  SQSClient,
} from "@aws-sdk/client-sqs";
import { buildApp } from "fauxqs";
import { createServer, type RequestListener, type Server } from "node:http";
import { afterAll, afterEach, beforeAll, describe, expect, it } from "vitest";
import type { ContentLoader } from "../../src/mailbox/claim-check.ts";
import type { BoxRef } from "../../src/mailbox/mailbox.ts";
import type { SqsSettings } from "../../src/mailbox/sqs-client.ts";
import { SqsMailbox } from "../../src/mailbox/sqs-mailbox.ts";
import { bytes, everyCall, mailboxSuite, newBox, newMessage, noContent, receive, send } from "../unit/mailbox/mailbox-suite.ts";

const REGION = "us-east-1";
const KEYS = { accessKeyId: "AKIDEXAMPLE", secretAccessKey: "wJalrXUtnFEMIK7MDENGbPxRfiCYEXAMPLEKEY" };

const emulator = buildApp({ logger: false, host: "127.0.0.1" });
let endpoint = "";
let aws: SQSClient;

beforeAll(async () => {
  endpoint = await emulator.listen({ host: "127.0.0.1", port: 0 });
  aws = new SQSClient({ endpoint, region: REGION, credentials: KEYS, useQueueUrlAsEndpoint: false });
});

afterAll(async () => {
  aws.destroy();
  await emulator.close();
});

function settings(fields: Partial<SqsSettings> = {}): SqsSettings {
  return {
    sqsEndpoint: endpoint,
    awsRegion: REGION,
    awsAccessKeyId: KEYS.accessKeyId,
    awsSecretAccessKey: KEYS.secretAccessKey,
    awsSessionToken: null,
    queuePrefix: "postern",
    ...fields,
  };
}

const open = (loadContent: ContentLoader = noContent): SqsMailbox => new SqsMailbox(settings(), loadContent);

mailboxSuite("Amazon SQS", open);

describe("a mailbox in Amazon SQS, as other programs see it", () => {
  const nameOf = (box: BoxRef): string => `postern-${box.tenantId}-${box.id}`;
  const urlOf = async (name: string): Promise<string> => (await aws.send(new GetQueueUrlCommand({ QueueName: name }))).QueueUrl ?? "";
  const attributesOf = async (name: string) =>
    (await aws.send(new GetQueueAttributesCommand({ QueueUrl: await urlOf(name), AttributeNames: ["All"] }))).Attributes ?? {};
  const bodyOf = async (name: string): Promise<unknown> => {
    const { Messages } = await aws.send(new ReceiveMessageCommand({ QueueUrl: await urlOf(name) }));
    return JSON.parse(Messages?.[0]?.Body ?? "null");
  };

  it("is a queue with a dead-letter queue, named, tagged and set as the box is", async () => {
    const box = newBox({ maxReceives: 7, retentionSeconds: 7_200 });
    await send(open(), box, [newMessage(0)]);
    const [main, dead] = [await attributesOf(nameOf(box)), await attributesOf(`${nameOf(box)}-dlq`)];
    expect(main).toMatchObject({ VisibilityTimeout: "30", MessageRetentionPeriod: "7200", ApproximateNumberOfMessages: "1" });
    expect(JSON.parse(main.RedrivePolicy ?? "")).toEqual({ deadLetterTargetArn: dead.QueueArn, maxReceiveCount: 7 });
    expect(dead.MessageRetentionPeriod).toBe("1209600");
    for (const name of [nameOf(box), `${nameOf(box)}-dlq`]) {
      const { Tags } = await aws.send(new ListQueueTagsCommand({ QueueUrl: await urlOf(name) }));
      expect(Tags).toEqual({ "postern:tenant": "default", "postern:box": `queue/${box.id}` });
    }
  });

  it("is a FIFO queue when ordered, its messages by group", async () => {
    const box = newBox({ ordered: true });
    await send(open(), box, [newMessage(3, { groupKey: "customer-1" }), newMessage(4), newMessage(5, { groupKey: "grün & frei" })]);
    expect(await attributesOf(`${nameOf(box)}.fifo`)).toMatchObject({ FifoQueue: "true" });
    expect(await attributesOf(`${nameOf(box)}-dlq.fifo`)).toMatchObject({ FifoQueue: "true" });
    const { Messages } = await aws.send(
      new ReceiveMessageCommand({
        QueueUrl: await urlOf(`${nameOf(box)}.fifo`),
        MaxNumberOfMessages: 10,
        MessageSystemAttributeNames: ["MessageGroupId", "MessageDeduplicationId"],
      }),
    );
    const hash = expect.stringMatching(/^[0-9a-f]{64}$/);
    expect(Messages?.map(({ Attributes }) => [Attributes?.MessageGroupId, Attributes?.MessageDeduplicationId])).toEqual([
      ["customer-1", hash],
      ["default", hash],
      [hash, hash],
    ]);
    expect(new Set(Messages?.map(({ Attributes }) => Attributes?.MessageDeduplicationId)).size).toBe(3);
  });

  it("keeps a repeated send to an ordered box once", async () => {
    const box = newBox({ ordered: true });
    await send(open(), box, [newMessage(0)]);
    await send(open(), box, [newMessage(0), newMessage(1)]);
    expect(await attributesOf(`${nameOf(box)}.fifo`)).toMatchObject({ ApproximateNumberOfMessages: "2" });
  });

  it("holds the envelope as JSON: text as text, other bytes in base 64, large content by reference", async () => {
    const [text, binary, large] = [newBox(), newBox(), newBox()];
    const event = { source: "/shop" };
    await send(open(), text, [newMessage(9, { event, body: bytes("grüße 😀") })]);
    await send(open(), binary, [newMessage(9, { body: Uint8Array.from([0, 255]) })]);
    await send(open(), large, [newMessage(9, { body: new Uint8Array(256 * 1024 + 1) })]);
    const common = {
      id: "msg_9",
      topic: "orders.completed",
      offset: 9,
      time: "2026-11-17T12:00:00.009Z",
      contentType: "application/json",
      attributes: { region: "eu" },
      stream: "default/topics/orders.completed",
    };
    expect(await bodyOf(nameOf(text))).toEqual({ ...common, event, data: "grüße 😀" });
    expect(await bodyOf(nameOf(binary))).toEqual({ ...common, dataBase64: "AP8=" });
    expect(await bodyOf(nameOf(large))).toEqual({ ...common, contentRef: { stream: common.stream, offset: 9 } });
  });

  it("makes the queue anew when someone deleted it", async () => {
    const mailbox = open();
    const box = newBox();
    await send(mailbox, box, [newMessage(0)]);
    await aws.send(new DeleteQueueCommand({ QueueUrl: await urlOf(nameOf(box)) }));
    await send(mailbox, box, [newMessage(1)]);
    expect((await receive(mailbox, box)).map(({ offset }) => offset)).toEqual([1]);
  });

  it("gives an existing queue the settings its box has now, also from another isolate", async () => {
    const box = newBox();
    const first = open();
    await send(first, box, [newMessage(0)]);
    await send(first, { ...box, maxReceives: 9 }, [newMessage(1)]);
    expect(JSON.parse((await attributesOf(nameOf(box))).RedrivePolicy ?? "")).toMatchObject({ maxReceiveCount: 9 });
    await send(open(), { ...box, maxReceives: 3, retentionSeconds: 60 }, [newMessage(2)]);
    const changed = await attributesOf(nameOf(box));
    expect(JSON.parse(changed.RedrivePolicy ?? "")).toMatchObject({ maxReceiveCount: 3, deadLetterTargetArn: expect.stringContaining("-dlq") });
    expect(changed).toMatchObject({ MessageRetentionPeriod: "60", ApproximateNumberOfMessages: "3" });
  });

  it("clamps settings to what SQS accepts", async () => {
    const box = newBox({ maxReceives: 100_000, retentionSeconds: 1 });
    await send(open(), box, [newMessage(0)]);
    const attributes = await attributesOf(nameOf(box));
    expect(attributes.MessageRetentionPeriod).toBe("60");
    expect(JSON.parse(attributes.RedrivePolicy ?? "")).toMatchObject({ maxReceiveCount: 1_000 });
  });

  it("can be made by many at once", async () => {
    const box = newBox();
    const sent = await Promise.all(Array.from({ length: 8 }, (_, offset) => open().send(box, [newMessage(offset)])));
    expect(sent.flat()).toEqual(Array.from({ length: 8 }, () => ({ ok: true })));
    expect((await attributesOf(nameOf(box))).ApproximateNumberOfMessages).toBe("8");
  });

  it("takes a handle past its first deadline from any isolate while its message is held, and once only", async () => {
    const box = newBox();
    const first = open();
    await send(first, box, [newMessage(0)]);
    const handles = (await receive(first, box, { visibilitySeconds: 1 })).map(({ handle }) => handle);
    expect(await first.extend(box, handles, 60)).toEqual([{ ok: true }]);
    expect(await receive(first, box, { waitSeconds: 2 })).toEqual([]);
    expect(await open().ack(box, handles)).toEqual([{ ok: true }]);
    expect(await open().ack(box, handles)).toEqual([{ ok: false, reason: "stale" }]);
  });

  it("removes both queues", async () => {
    const mailbox = open();
    const box = newBox();
    await send(mailbox, box, [newMessage(0)]);
    await mailbox.remove(box);
    const { QueueUrls } = await aws.send(new ListQueuesCommand({ QueueNamePrefix: nameOf(box) }));
    expect(QueueUrls ?? []).toEqual([]);
  });

  it("leaves alone what is no envelope, and what references another tenant's stream", async () => {
    const mailbox = open(async () => ({ ok: true, contentType: "text/plain", body: bytes("another tenant's") }));
    const box = newBox();
    await send(mailbox, box, [newMessage(0)]);
    const QueueUrl = await urlOf(nameOf(box));
    const foreign = JSON.stringify({
      id: "msg_1",
      topic: "a",
      stream: "other/topics/a",
      offset: 0,
      time: "2026-11-17T12:00:00Z",
      contentType: "text/plain",
      attributes: {},
      contentRef: { stream: "other/topics/a", offset: 0 },
    });
    for (const MessageBody of ["hello", "{}", foreign]) await aws.send(new SendMessageCommand({ QueueUrl, MessageBody }));
    const received = await receive(mailbox, box);
    expect(received.map(({ id }) => id)).toEqual(["msg_0"]);
    await mailbox.ack(box, received.map(({ handle }) => handle));
    expect(await mailbox.depth(box)).toMatchObject({ visible: 0, inFlight: 3 });
  });
});

describe("a mailbox whose Amazon SQS is not to be had", () => {
  const HANDLE = `${(Date.now() + 60_000).toString(36)}.nonce1234.AQEBreceipt`;
  let server: Server | null = null;

  async function stub(listener: RequestListener): Promise<SqsMailbox> {
    const started = createServer(listener);
    server = started;
    await new Promise<void>((resolve) => started.listen(0, "127.0.0.1", resolve));
    const address = started.address();
    if (address === null || typeof address === "string") throw new Error("no port");
    return new SqsMailbox(settings({ sqsEndpoint: `http://127.0.0.1:${address.port}`, awsSessionToken: "FQoGZXIvYXdzEXAMPLESESSIONTOKEN" }), noContent);
  }

  /** Answers as SQS does: an error code, and words that quote what was sent. */
  const refusing = (status: number, code: string): Promise<SqsMailbox> =>
    stub((request, response) => {
      const quoted = request.headers.authorization ?? "";
      response.writeHead(status, { "content-type": "application/x-amz-json-1.0" });
      response.end(JSON.stringify({ __type: `com.amazonaws.sqs#${code}`, message: `${quoted} ${KEYS.secretAccessKey}` }));
    });

  afterEach(() => {
    server?.closeAllConnections();
    server?.close();
    server = null;
  });

  it("names the credentials that are missing, without a call", async () => {
    const half = new SqsMailbox(settings({ awsSecretAccessKey: null }), noContent);
    const none = new SqsMailbox(settings({ awsAccessKeyId: null, awsSecretAccessKey: null }), noContent);
    for (const fault of await everyCall(half, HANDLE)) {
      expect(fault).toMatchObject({ ok: false, code: "not-configured", detail: expect.stringContaining("set AWS_SECRET_ACCESS_KEY,") });
    }
    expect(await none.check()).toMatchObject({ detail: expect.stringContaining("AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY") });
  });

  it.each([
    [403, "UnrecognizedClientException", "AWS_ACCESS_KEY_ID"],
    [403, "InvalidClientTokenId", "AWS_ACCESS_KEY_ID"],
    [403, "SignatureDoesNotMatch", "AWS_SECRET_ACCESS_KEY"],
    [403, "InvalidSignatureException", "AWS_SECRET_ACCESS_KEY"],
    [403, "ExpiredToken", "AWS_SESSION_TOKEN"],
    [403, "AccessDenied", "sqs:ListQueues"],
    [400, "AccessDeniedException", "sqs:ListQueues"],
  ])("is not configured when SQS answers %i %s, and says what to mend", async (status, code, named) => {
    const mailbox = await refusing(status, code);
    expect(await mailbox.check()).toMatchObject({ ok: false, code: "not-configured", detail: expect.stringContaining(named) });
  });

  it("says so of every call, and repeats no credential and no signature", async () => {
    for (const [status, code, expected] of [[403, "SignatureDoesNotMatch", "not-configured"], [400, "InvalidSomething", "refused"]] as const) {
      const mailbox = await refusing(status, code);
      for (const fault of await everyCall(mailbox, HANDLE)) {
        expect(fault.code).toBe(expected);
        expect(fault.detail).not.toMatch(/EXAMPLE|Signature=|[0-9a-f]{32}/);
        expect(fault.detail).toContain(code);
      }
      server?.close();
    }
  });

  it.each([
    [400, "RequestThrottled", "throttled"],
    [403, "PurgeQueueInProgress", "throttled"],
    [400, "QueueDeletedRecently", "throttled"],
    [500, "InternalFailure", "unreachable"],
    [503, "ServiceUnavailable", "unreachable"],
    [400, "InvalidAddress", "refused"],
  ])("tells %i %s as %s", async (status, code, expected) => {
    expect(await (await refusing(status, code)).purge(newBox())).toMatchObject({ ok: false, code: expected });
  });

  it("is unreachable where nothing listens", async () => {
    const mailbox = await stub(() => undefined);
    await new Promise((resolve) => server?.close(resolve));
    for (const fault of await everyCall(mailbox, HANDLE)) expect(fault).toMatchObject({ ok: false, code: "unreachable" });
  });

  it("gives up a call that is not answered, and does not try the rest of the messages", { timeout: 20_000 }, async () => {
    let asked = 0;
    const mailbox = await stub(() => void asked++);
    const sent = await mailbox.send(newBox(), Array.from({ length: 30 }, (_, offset) => newMessage(offset)));
    expect(sent).toHaveLength(30);
    for (const fault of sent) expect(fault).toMatchObject({ ok: false, code: "unreachable", detail: expect.stringContaining("in time") });
    expect(asked).toBeLessThanOrEqual(2);
  });

  it("does not follow what a queue's URL names", async () => {
    const mailbox = await stub((_request, response) => {
      response.writeHead(200, { "content-type": "application/x-amz-json-1.0" });
      response.end(JSON.stringify({ QueueUrl: "http://127.0.0.1:1/000000000000/elsewhere", Attributes: {}, Successful: [{ Id: "0" }] }));
    });
    expect(await mailbox.send(newBox(), [newMessage(0)])).toEqual([{ ok: true }]);
  });
});
