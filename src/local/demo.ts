import {
  CreateTopicCommand,
  ListSubscriptionsByTopicCommand,
  PublishCommand,
  SNSClient,
  SubscribeCommand,
} from "@aws-sdk/client-sns";
import { setTimeout as delay } from "node:timers/promises";
import { type Api, findInList, gatewayApi, jsonObject, textField } from "./api.ts";

export type DemoOptions = {
  readonly gatewayUrl: string;
  readonly token: string;
  readonly subscriberUrl: string;
  readonly subscriberSecret: string;
  /** The simulator of SNS; null when the gateway was pointed at another: then the demo publishes over HTTP. */
  readonly snsUrl: string | null;
};

const DEADLINE_MS = 5_000;
const POLL_MS = 25;
const ENDPOINT_NAME = "demo-subscriber";
const SOURCE_NAME = "demo";
const TOPIC_PATTERN = "demo.**";

/**
 * Sends one message through everything, over the public API only, and returns a line that says what arrived. What
 * it makes it finds again by name at the next start. Throws when the message did not arrive within 5 s.
 */
export async function runDemo(options: DemoOptions): Promise<string> {
  const signal = AbortSignal.timeout(DEADLINE_MS);
  const api = gatewayApi(options.gatewayUrl, options.token, signal);
  const startedAt = Date.now();
  try {
    await ensureEndpoint(api, options);
    const marker = `Hello at ${new Date().toISOString()}`;
    const sent = options.snsUrl === null ? await publishDirectly(api, marker) : await publishThroughSns(api, options, options.snsUrl, marker, signal);
    const arrived = await arrival(options.subscriberUrl, marker, signal);
    return `${sent} → signed, sent, and verified by the demo subscriber as ${arrived} (${Date.now() - startedAt} ms with the set-up)`;
  } catch (error) {
    if (signal.aborted) throw new Error(`nothing arrived within ${DEADLINE_MS / 1000} s`, { cause: error });
    throw error;
  }
}

async function ensureEndpoint(api: Api, options: DemoOptions): Promise<void> {
  const url = `${options.subscriberUrl}/webhooks`;
  const secret = options.subscriberSecret;
  const known = await findInList(api, "/v1/endpoints", "name", ENDPOINT_NAME);
  if (known === null) {
    await api("POST", "/v1/endpoints", { name: ENDPOINT_NAME, kind: "push", url, topics: [TOPIC_PATTERN], secret });
    return;
  }
  const path = `/v1/endpoints/${textField(known, "id")}`;
  if (known["url"] !== url) await api("PATCH", path, { url });
  if (textField(await api("GET", `${path}/secret`), "secret") !== secret) {
    await api("POST", `${path}/secret/rotate`, { secret });
  }
  if (known["status"] === "disabled") await api("POST", `${path}/enable`);
}

async function publishDirectly(api: Api, marker: string): Promise<string> {
  await api("POST", "/v1/events/demo.hello", { hello: marker });
  return "POST /v1/events/demo.hello";
}

async function publishThroughSns(api: Api, options: DemoOptions, snsUrl: string, marker: string, signal: AbortSignal): Promise<string> {
  const sns = new SNSClient({
    endpoint: snsUrl,
    region: "us-east-1",
    credentials: { accessKeyId: "local", secretAccessKey: "local" },
  });
  const { TopicArn } = await sns.send(new CreateTopicCommand({ Name: DEMO_SNS_TOPIC }), { abortSignal: signal });
  if (TopicArn === undefined) throw new Error("the SNS simulator made no topic");
  const source = await findInList(api, "/v1/sources", "name", SOURCE_NAME) ??
    (await api("POST", "/v1/sources", { kind: "sns", name: SOURCE_NAME, topicArns: [TopicArn], topic: "demo.sns" }));
  const Endpoint = `${options.gatewayUrl}/in/${textField(source, "id")}`;
  await sns.send(new SubscribeCommand({ TopicArn, Protocol: "http", Endpoint }), { abortSignal: signal });
  while (!(await isConfirmed(sns, TopicArn, Endpoint, signal))) await delay(POLL_MS, undefined, { signal });

  const Message = JSON.stringify({ hello: marker });
  const { MessageId } = await sns.send(new PublishCommand({ TopicArn, Message }), { abortSignal: signal });
  sns.destroy();
  return `SNS message ${MessageId}`;
}

/** The name of the demo's topic in the simulator. */
export const DEMO_SNS_TOPIC = "postern-demo";

async function isConfirmed(sns: SNSClient, TopicArn: string, endpoint: string, signal: AbortSignal): Promise<boolean> {
  const { Subscriptions } = await sns.send(new ListSubscriptionsByTopicCommand({ TopicArn }), { abortSignal: signal });
  const ours = Subscriptions?.find((subscription) => subscription.Endpoint === endpoint);
  return ours?.SubscriptionArn?.startsWith("arn:") === true;
}

/** Waits until the subscriber shows a message with this text in it, and returns the message's id. */
async function arrival(subscriberUrl: string, marker: string, signal: AbortSignal): Promise<string> {
  for (;;) {
    const response = await fetch(`${subscriberUrl}/received`, { signal });
    const { data } = jsonObject(await response.json());
    const messages = Array.isArray(data) ? data.map(jsonObject) : [];
    const found = messages.find((message) => textField(message, "body").includes(marker));
    if (found !== undefined) return textField(found, "id");
    await delay(POLL_MS, undefined, { signal });
  }
}
