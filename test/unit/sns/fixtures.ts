import { createPrivateKey, generateKeyPairSync, type KeyObject } from "node:crypto";
import { certificatePath, makeCertificate, makeSigningIdentity } from "../../../src/local/sns-simulator/certificate.ts";
import { signMessage, type SignatureVersion } from "../../../src/local/sns-simulator/sign-message.ts";
import type { Fetch } from "../../../src/sns/bounded-fetch.ts";
import { createCertificateCache } from "../../../src/sns/certificate-cache.ts";
import { type Verification, type VerificationPolicy, verify } from "../../../src/sns/verify.ts";

export const NOW_MS = Date.UTC(2026, 10, 20, 12);
export const TOPIC_ARN = "arn:aws:sns:eu-central-1:123456789012:orders";
export const HOST = "https://sns.eu-central-1.amazonaws.com";
export const MINUTE_MS = 60_000;

export type Identity = { readonly privateKey: KeyObject; readonly certificatePem: string };

const made = makeSigningIdentity(NOW_MS);
export const identity: Identity = { privateKey: createPrivateKey(made.privateKeyPem), certificatePem: made.certificatePem };
export const CERTIFICATE_URL = HOST + certificatePath(identity.certificatePem);

/** An identity that is wrong in one way. */
export function makeIdentity(key: "rsa-2048" | "rsa-1024" | "ec", notBeforeMs = NOW_MS - MINUTE_MS, notAfterMs = NOW_MS + MINUTE_MS): Identity {
  const { privateKey } =
    key === "ec"
      ? generateKeyPairSync("ec", { namedCurve: "P-256" })
      : generateKeyPairSync("rsa", { modulusLength: key === "rsa-2048" ? 2048 : 1024 });
  return { privateKey, certificatePem: makeCertificate({ privateKey, notBeforeMs, notAfterMs }) };
}

export type Fields = Record<string, unknown>;

/** A notification as SNS sends it, but for its signature. */
export function notificationFields(): Record<string, string> {
  return {
    Type: "Notification",
    MessageId: "0ae5ddb2-7a1c-5f3c-8e43-8a1f9f9a2f10",
    TopicArn: TOPIC_ARN,
    Subject: "An order",
    Message: '{"order": 1,\n "total": 2.50}',
    Timestamp: new Date(NOW_MS).toISOString(),
  };
}

export function confirmationFields(type: "SubscriptionConfirmation" | "UnsubscribeConfirmation"): Record<string, string> {
  return {
    Type: type,
    MessageId: "1f0a9d34-91b6-4a5e-a3b8-1f2b6a7c8d90",
    Token: "2336412f37fb687f5d51e6e241d09c805a5a57b30d712f794cc5f6a988666d92",
    TopicArn: TOPIC_ARN,
    Message: `You have chosen to subscribe to the topic ${TOPIC_ARN}.\nTo confirm the subscription, visit the SubscribeURL included in this message.`,
    SubscribeURL: "https://attacker.example/?Action=ConfirmSubscription",
    Timestamp: new Date(NOW_MS).toISOString(),
  };
}

/** The body SNS would post: the fields, and a signature over them by `signer`. */
export function signedBody(fields: Record<string, string>, version: SignatureVersion = "1", signer = identity): Record<string, string> {
  const { Type = "", MessageId = "", TopicArn = "", Message = "", Timestamp = "", Subject, Token, SubscribeURL } = fields;
  const signed = {
    Type, MessageId, TopicArn, Message, Timestamp,
    ...(Subject === undefined ? {} : { Subject }),
    ...(Token === undefined ? {} : { Token }),
    ...(SubscribeURL === undefined ? {} : { SubscribeURL }),
  };
  return {
    ...fields,
    SignatureVersion: version,
    Signature: signMessage(signed, signer.privateKey, version),
    SigningCertURL: CERTIFICATE_URL,
    ...(Type === "Notification" ? { UnsubscribeURL: `${HOST}/?Action=Unsubscribe&SubscriptionArn=${TopicArn}:1` } : {}),
  };
}

/** SNS's headers for a body. */
export function headersOf(body: Fields): Record<string, string> {
  return {
    "x-amz-sns-message-type": String(body["Type"]),
    "x-amz-sns-message-id": String(body["MessageId"]),
    "x-amz-sns-topic-arn": String(body["TopicArn"]),
    "content-type": "text/plain; charset=UTF-8",
    "user-agent": "Amazon Simple Notification Service Agent",
  };
}

export function encode(body: unknown): Uint8Array {
  return new TextEncoder().encode(typeof body === "string" ? body : JSON.stringify(body));
}

/** Stands in for AWS's hosts: remembers every URL that was asked for, and answers with `respond`. */
export function fakeFetch(respond: (url: string) => Response | Promise<Response> = servingCertificate()): { fetch: Fetch; urls: string[] } {
  const urls: string[] = [];
  return {
    urls,
    fetch: async (url) => {
      urls.push(url);
      return respond(url);
    },
  };
}

export function servingCertificate(pem = identity.certificatePem): () => Response {
  return () => new Response(pem);
}

export const POLICY: VerificationPolicy = { sourceId: "src_1", topicArns: [TOPIC_ARN], minVersion: 1 };

export type Attempted = { readonly verification: Verification; readonly urls: readonly string[] };

/** Verifies one delivery with a cache of its own, and says what was fetched for it. */
export async function attempt(
  body: Fields | string | Uint8Array,
  options: {
    readonly headers?: Record<string, string>;
    readonly policy?: Partial<VerificationPolicy>;
    readonly respond?: (url: string) => Response | Promise<Response>;
    readonly nowMs?: number;
  } = {},
): Promise<Attempted> {
  const { fetch, urls } = fakeFetch(options.respond);
  const bytes = body instanceof Uint8Array ? body : encode(body);
  const plain = typeof body === "string" || body instanceof Uint8Array ? signedBody(notificationFields()) : body;
  const headers = new Headers(options.headers ?? headersOf(plain));
  const cache = createCertificateCache({ fetch, sleep: tick, snsEndpoint: null });
  const verification = await verify({ headers, body: bytes }, { ...POLICY, ...options.policy }, cache, options.nowMs ?? NOW_MS);
  return { verification, urls };
}

/** Lets everything that is ready run. */
export function tick(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}
