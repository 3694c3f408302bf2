import { createPrivateKey, type KeyObject, randomUUID } from "node:crypto";
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import { certificatePath, makeSigningIdentity } from "./certificate.ts";
import { composeConfirmation, composeNotifications, type Signer } from "./compose.ts";
import { Parameters } from "./parameters.ts";
import { Poster, type PostReport } from "./poster.ts";
import { type Distribute, publish, publishBatch } from "./publish-actions.ts";
import { SnsError } from "./sns-error.ts";
import { Store } from "./store.ts";
import {
  type AskToConfirm,
  confirmSubscription,
  getSubscriptionAttributes,
  listSubscriptions,
  listSubscriptionsByTopic,
  setSubscriptionAttributes,
  subscribe,
  unsubscribe,
} from "./subscription-actions.ts";
import { createTopic, deleteTopic, getTopicAttributes, listTopics, setTopicAttributes } from "./topic-actions.ts";
import { actionResponse, errorResponse, type Xml } from "./xml.ts";

export type SnsSimulatorOptions = {
  /** Default 127.0.0.1. */
  readonly host?: string;
  /** Default: any free one. */
  readonly port?: number;
  readonly accountId?: string;
  readonly region?: string;
  /** PEM, with `privateKeyPem`: the identity of an earlier run. Default: a new one. */
  readonly certificate?: string;
  readonly privateKeyPem?: string;
  /** Before each retry of a post that met a 5xx, a 429 or no answer; after the last the post is dropped. */
  readonly retryDelaysMs?: readonly number[];
  readonly onPost?: (report: PostReport) => void;
};

export type SnsSimulator = {
  /** Without a slash at its end; the endpoint for an SDK, and `POSTERN_SNS_ENDPOINT` for the gateway. */
  readonly url: string;
  readonly accountId: string;
  readonly region: string;
  readonly certificatePem: string;
  readonly privateKeyPem: string;
  readonly signingKey: KeyObject;
  /** What messages name in `SigningCertURL`: SNS's own host; the certificate is served here under the same path. */
  readonly certificateUrl: string;
  /** Posts that have neither been delivered nor dropped yet. */
  openPosts(): number;
  close(): Promise<void>;
};

type Action = (parameters: Parameters) => readonly Xml[] | null;

const MAX_REQUEST_BYTES = 4 * 1024 * 1024;
/** About as long as SNS keeps trying in all, but sooner at first, for nobody waits 20 s at a desk. */
const DEFAULT_RETRY_DELAYS_MS: readonly number[] = [1, 1, 2, 4, 8, ...Array<number>(175).fill(20)].map((seconds) => seconds * 1000);

/**
 * Starts a small Amazon SNS: the query API (2010-03-31) for topics with HTTP and HTTPS subscriptions, and posts to
 * the subscribers that are signed for real. State is in memory. No credentials are checked, and filter policies are
 * stored but not applied.
 */
export async function startSnsSimulator(options: SnsSimulatorOptions = {}): Promise<SnsSimulator> {
  const { host = "127.0.0.1", port = 0, accountId = "123456789012", region = "us-east-1" } = options;
  const { certificatePem, privateKeyPem } = identity(options);
  const signingKey = createPrivateKey(privateKeyPem);
  const snsHost = `https://sns.${region}.amazonaws.com`;
  const certificateUrl = `${snsHost}${certificatePath(certificatePem)}`;

  const store = new Store(accountId, region);
  const poster = new Poster({
    retryDelaysMs: options.retryDelaysMs ?? DEFAULT_RETRY_DELAYS_MS,
    onPost: options.onPost ?? (() => undefined),
  });
  const actions = actionsOf(store, poster, { privateKey: signingKey, certificateUrl, host: snsHost });
  const server = createServer((request, response) => {
    if (request.method === "GET" && request.url === certificatePath(certificatePem)) {
      response.setHeader("content-type", "application/x-pem-file").end(certificatePem);
      return;
    }
    void answer(request, response, actions);
  });
  const url = await listen(server, host, port);
  return {
    url,
    accountId,
    region,
    certificatePem,
    privateKeyPem,
    signingKey,
    certificateUrl,
    openPosts: () => poster.open,
    async close() {
      poster.close();
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}

function identity(options: SnsSimulatorOptions): { certificatePem: string; privateKeyPem: string } {
  const { certificate, privateKeyPem } = options;
  if (certificate !== undefined && privateKeyPem !== undefined) return { certificatePem: certificate, privateKeyPem };
  return makeSigningIdentity(Date.now());
}

function actionsOf(store: Store, poster: Poster, signer: Signer): ReadonlyMap<string, Action> {
  const askToConfirm: AskToConfirm = (type, topic, subscription) =>
    poster.post(composeConfirmation(type, topic, subscription, signer));
  const distribute: Distribute = (topic, publication) => {
    const confirmed = store.subscriptions(topic.arn).filter((subscription) => subscription.confirmed);
    for (const post of composeNotifications(topic, confirmed, publication, signer)) poster.post(post);
  };
  return new Map<string, Action>([
    ["CreateTopic", (parameters) => createTopic(store, parameters)],
    ["DeleteTopic", (parameters) => deleteTopic(store, parameters)],
    ["ListTopics", (parameters) => listTopics(store, parameters)],
    ["GetTopicAttributes", (parameters) => getTopicAttributes(store, parameters)],
    ["SetTopicAttributes", (parameters) => setTopicAttributes(store, parameters)],
    ["Subscribe", (parameters) => subscribe(store, parameters, askToConfirm)],
    ["ConfirmSubscription", (parameters) => confirmSubscription(store, parameters)],
    ["Unsubscribe", (parameters) => unsubscribe(store, parameters, askToConfirm)],
    ["ListSubscriptions", (parameters) => listSubscriptions(store, parameters)],
    ["ListSubscriptionsByTopic", (parameters) => listSubscriptionsByTopic(store, parameters)],
    ["GetSubscriptionAttributes", (parameters) => getSubscriptionAttributes(store, parameters)],
    ["SetSubscriptionAttributes", (parameters) => setSubscriptionAttributes(store, parameters)],
    ["Publish", (parameters) => publish(store, parameters, distribute)],
    ["PublishBatch", (parameters) => publishBatch(store, parameters, distribute)],
  ]);
}

async function answer(request: IncomingMessage, response: ServerResponse, actions: ReadonlyMap<string, Action>): Promise<void> {
  const requestId = randomUUID();
  const { status, xml } = await perform(request, actions, requestId);
  response.writeHead(status, { "content-type": "text/xml", "x-amzn-requestid": requestId }).end(xml);
}

async function perform(
  request: IncomingMessage,
  actions: ReadonlyMap<string, Action>,
  requestId: string,
): Promise<{ status: number; xml: string }> {
  try {
    const values = await readParameters(request);
    const name = values.get("Action");
    const action = actions.get(name ?? "");
    if (name === null) throw new SnsError("MissingAction", 400, "The request must contain the parameter Action.");
    if (action === undefined) throw new SnsError("InvalidAction", 400, `The action ${name} is not valid for this web service.`);
    return { status: 200, xml: actionResponse(name, action(new Parameters(values)), requestId) };
  } catch (error) {
    if (error instanceof SnsError) {
      return { status: error.status, xml: errorResponse({ type: "Sender", code: error.code, message: error.message }, requestId) };
    }
    console.error("sns simulator:", error);
    return { status: 500, xml: errorResponse({ type: "Receiver", code: "InternalFailure", message: "Internal failure" }, requestId) };
  }
}

/** The query of a GET, the form of a POST. */
async function readParameters(request: IncomingMessage): Promise<URLSearchParams> {
  if (request.method === "GET") return new URL(request.url ?? "/", "http://simulator").searchParams;
  const chunks: Buffer[] = [];
  let length = 0;
  for await (const chunk of request) {
    if (!Buffer.isBuffer(chunk)) throw new TypeError("a request without an encoding yields buffers");
    length += chunk.length;
    if (length > MAX_REQUEST_BYTES) throw new SnsError("RequestEntityTooLarge", 413, "The request is too large.");
    chunks.push(chunk);
  }
  return new URLSearchParams(Buffer.concat(chunks).toString("utf8"));
}

function listen(server: Server, host: string, port: number): Promise<string> {
  return new Promise((resolve, reject) => {
    server.once("error", reject);
    server.listen(port, host, () => {
      server.off("error", reject);
      const address = server.address();
      if (address === null || typeof address === "string") throw new TypeError("a TCP server has a numeric address");
      resolve(`http://${host}:${address.port}`);
    });
  });
}
