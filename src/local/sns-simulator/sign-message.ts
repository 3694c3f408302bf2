import { type KeyObject, sign } from "node:crypto";

export type SignatureVersion = "1" | "2";

/** The body of an SNS post by its keys; `MessageAttributes` is the one that is not a text. */
export type MessageFields = {
  readonly Type: string;
  readonly MessageId: string;
  readonly TopicArn: string;
  readonly Message: string;
  readonly Timestamp: string;
  readonly Subject?: string;
  readonly Token?: string;
  readonly SubscribeURL?: string;
};

const HASHES: Readonly<Record<SignatureVersion, string>> = { "1": "sha1", "2": "sha256" };

/** Byte order of the names, which is the order SNS signs them in. */
const SIGNED_IN_NOTIFICATION = ["Message", "MessageId", "Subject", "Timestamp", "TopicArn", "Type"] as const;
const SIGNED_IN_CONFIRMATION = ["Message", "MessageId", "SubscribeURL", "Timestamp", "Token", "TopicArn", "Type"] as const;

/**
 * Signs as SNS does: RSASSA-PKCS1-v1_5 over `Key\nValue\n` of the signed fields that are there, base 64. Written
 * apart from the gateway's own reading of the same page, so that one tests the other.
 */
export function signMessage(fields: MessageFields, privateKey: KeyObject, version: SignatureVersion): string {
  const names = fields.Type === "Notification" ? SIGNED_IN_NOTIFICATION : SIGNED_IN_CONFIRMATION;
  let text = "";
  for (const name of names) {
    const value = fields[name];
    if (value !== undefined) text += `${name}\n${value}\n`;
  }
  return sign(HASHES[version], Buffer.from(text, "utf8"), privateKey).toString("base64");
}
