import { randomUUID } from "node:crypto";
import type { Publication } from "./compose.ts";
import type { Parameters, PublishedAttribute } from "./parameters.ts";
import { invalidParameter, SnsError } from "./sns-error.ts";
import type { Store, Topic } from "./store.ts";
import { element, text, type Xml } from "./xml.ts";

/** Sends a message to every confirmed subscription of its topic. */
export type Distribute = (topic: Topic, publication: Publication) => void;

/** A message with its attributes, or all of a batch. */
const MAX_PAYLOAD_BYTES = 256 * 1024;
const MAX_BATCH_ENTRIES = 10;
const MAX_SUBJECT_CHARACTERS = 100;
const ENTRY_ID = /^[A-Za-z0-9_-]{1,80}$/;

export function publish(store: Store, parameters: Parameters, distribute: Distribute): readonly Xml[] {
  const arn = parameters.optional("TopicArn") ?? parameters.optional("TargetArn");
  if (arn === undefined) throw invalidParameter("TopicArn or TargetArn Reason: no value for required parameter");
  const topic = store.topic(arn);
  const publication = readPublication(topic, parameters);
  if (payloadBytes(publication) > MAX_PAYLOAD_BYTES) throw invalidParameter("Message too long");
  distribute(topic, publication);
  return receipt(topic, publication);
}

/** Each entry succeeds or fails by itself; the batch as a whole fails only for its own form. */
export function publishBatch(store: Store, parameters: Parameters, distribute: Distribute): readonly Xml[] {
  const topic = store.topic(parameters.required("TopicArn"));
  const entries = parameters.list("PublishBatchRequestEntries.member");
  checkEntries(entries.map((entry) => entry.required("Id")));
  const successful: Xml[] = [];
  const failed: Xml[] = [];
  const publications: Publication[] = [];
  for (const entry of entries) {
    const id = text("Id", entry.required("Id"));
    try {
      const publication = readPublication(topic, entry);
      publications.push(publication);
      successful.push(element("member", id, ...receipt(topic, publication)));
    } catch (error) {
      if (!(error instanceof SnsError)) throw error;
      failed.push(element("member", id, text("Code", error.code), text("Message", error.message), text("SenderFault", "true")));
    }
  }
  const bytes = publications.reduce((sum, publication) => sum + payloadBytes(publication), 0);
  if (bytes > MAX_PAYLOAD_BYTES) {
    throw new SnsError("BatchRequestTooLong", 400, "The length of all the batch messages put together is more than the limit.");
  }
  for (const publication of publications) distribute(topic, publication);
  return [element("Successful", ...successful), element("Failed", ...failed)];
}

function checkEntries(ids: readonly string[]): void {
  if (ids.length === 0) throw new SnsError("EmptyBatchRequest", 400, "The batch request doesn't contain any entries.");
  if (ids.length > MAX_BATCH_ENTRIES) {
    throw new SnsError("TooManyEntriesInBatchRequest", 400, "The batch request contains more entries than permissible.");
  }
  if (new Set(ids).size < ids.length) {
    throw new SnsError("BatchEntryIdsNotDistinct", 400, "Two or more batch entries in the request have the same Id.");
  }
  if (!ids.every((id) => ENTRY_ID.test(id))) {
    throw new SnsError("InvalidBatchEntryId", 400, "The Id of a batch entry in a batch request doesn't abide by the specification.");
  }
}

function readPublication(topic: Topic, parameters: Parameters): Publication {
  const message = parameters.optional("Message") ?? "";
  if (message === "") throw invalidParameter("Empty message");
  const subject = parameters.optional("Subject");
  if (subject !== undefined && (!/^[^\p{Cc}\s][^\p{Cc}]*$/u.test(subject) || subject.length > MAX_SUBJECT_CHARACTERS)) {
    throw invalidParameter("Subject");
  }
  const groupId = parameters.optional("MessageGroupId");
  if (topic.fifo && groupId === undefined) throw invalidParameter("The MessageGroupId parameter is required for FIFO topics");
  return {
    messageId: randomUUID(),
    message: parameters.optional("MessageStructure") === "json" ? forHttp(message) : message,
    subject,
    attributes: parameters.messageAttributes(),
  };
}

/** With `MessageStructure=json`, the message holds one text for each protocol, and `default`. */
function forHttp(message: string): string {
  let value: unknown;
  try {
    value = JSON.parse(message);
  } catch {
    throw invalidParameter("Message Structure - JSON message body failed to parse");
  }
  if (typeof value !== "object" || value === null || !("default" in value) || typeof value.default !== "string") {
    throw invalidParameter("Message Structure - No default entry in JSON message body");
  }
  return "http" in value && typeof value.http === "string" ? value.http : value.default;
}

let sequence = 10_000_000_000_000_000_000n;

function receipt(topic: Topic, publication: Publication): readonly Xml[] {
  const messageId = text("MessageId", publication.messageId);
  return topic.fifo ? [messageId, text("SequenceNumber", String(sequence++))] : [messageId];
}

function payloadBytes({ message, attributes }: Publication): number {
  return attributes.reduce((sum, attribute) => sum + attributeBytes(attribute), Buffer.byteLength(message));
}

function attributeBytes({ name, type, value }: PublishedAttribute): number {
  return Buffer.byteLength(name) + Buffer.byteLength(type) + Buffer.byteLength(value);
}
