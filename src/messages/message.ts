/** Message attributes: names in lower case, as HTTP header names compare. A value is any string. */
export type Attributes = Readonly<Record<string, string>>;

/**
 * CloudEvents 1.0 context attributes kept beside the bytes, without `specversion` and `datacontenttype`, which the
 * message has in fields of its own, and without `id` unless it can not be a `webhook-id` and the message's id was
 * derived from it. An SNS notification fills `source` (TopicArn), `subject`, `time`.
 */
export type EventContext = Readonly<Record<string, string>>;

/** What a publisher sent, parsed: not yet accepted. */
export type NewMessage = {
  /** Goes out as `webhook-id`: `^[A-Za-z0-9_-]{1,128}$`. */
  readonly id: string;
  /** Whether the publisher chose the id, so that it de-duplicates for 24 h. */
  readonly deduplicate: boolean;
  readonly contentType: string;
  readonly attributes: Attributes;
  readonly event?: EventContext;
  /** W3C Trace Context of the publisher, or a new one. */
  readonly traceparent: string;
  readonly body: Uint8Array;
  /** Of a command or query: what the members of its queue are to do. */
  readonly method?: string;
  /** Of an event in a queue: the topic it was published on. */
  readonly publishedOn?: string;
  /** Of a query: until when its caller waits for the answer, ms; after that nobody wants it done. */
  readonly answerByMs?: number;
};

/** A message in its stream. `offset` counts from 0, `timeMs` is when the stream committed it. */
export type StoredMessage = Omit<NewMessage, "deduplicate"> & {
  readonly offset: number;
  readonly timeMs: number;
};

export const MAX_BODY_BYTES = 1024 * 1024;
