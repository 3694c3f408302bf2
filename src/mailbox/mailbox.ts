import type { Attributes, EventContext } from "../messages/message.ts";

/** Whose mailbox: a pull endpoint's (or a push endpoint's fallback), or a queue's. */
export type BoxRef = {
  readonly tenantId: string;
  readonly kind: "endpoint" | "queue";
  /** `ep_…`, or the queue's name. */
  readonly id: string;
  /** FIFO by message group. */
  readonly ordered: boolean;
  /** Receives after which a message is a dead letter of its box. */
  readonly maxReceives: number;
  /** Unread messages are dropped after this long; 60 s to 14 days, as in SQS. */
  readonly retentionSeconds: number;
};

/** A message on its way into a mailbox. */
export type BoxMessage = {
  readonly id: string;
  /** `orders.created`, `queue/method`, or the node. */
  readonly topic: string;
  /** `tenant/kind/name` and `offset`: where its bytes stay, for content too large for the mailbox. */
  readonly stream: string;
  readonly offset: number;
  readonly timeMs: number;
  readonly contentType: string;
  readonly attributes: Attributes;
  readonly event?: EventContext;
  readonly body: Uint8Array;
  /** Of a query: until when its caller waits, ms. */
  readonly answerByMs?: number;
  /** Ordered boxes: messages of one group come one after the other. */
  readonly groupKey?: string;
  /** When it was opened again, ms: then it is to come though it came before. */
  readonly reopenedAtMs?: number;
};

/** Why a mailbox could not do it; all but `refused` are worth another try. */
export type MailboxFault = {
  readonly ok: false;
  readonly code: "not-configured" | "unreachable" | "throttled" | "refused";
  /** Says what is missing or wrong, for an operator; holds no credential. */
  readonly detail: string;
};

export type ReceivedMessage = Omit<BoxMessage, "stream" | "groupKey" | "reopenedAtMs"> & {
  readonly receiveCount: number;
  /** The implementation's own handle; what clients see is sealed (see receipts). */
  readonly handle: string;
};

export type ReceiveOptions = {
  /** 1..10 */
  readonly max: number;
  /** 0..20; resolves at once when there is a message. */
  readonly waitSeconds: number;
  /** 0..43200 */
  readonly visibilitySeconds: number;
  /**
   * Aborted when the asker is gone: then nothing more is received for it, and what was received meanwhile is made
   * visible again. The receive itself ends within seconds: give it to `waitUntil`, or the release dies with the request.
   */
  readonly signal?: AbortSignal;
};

/** Per handle, in the order given. */
export type HandleResult = { readonly ok: true } | { readonly ok: false; readonly reason: "stale" | "invalid" | "failed" };

export type BoxDepth = {
  readonly visible: number;
  readonly inFlight: number;
  readonly dead: number;
  readonly oldestAgeSeconds: number | null;
};

/**
 * Where messages wait to be pulled (§5). Two implementations with the same semantics: Amazon SQS, and Durable Objects
 * for deployments without AWS. At least once: a message that is received and not deleted comes again after its
 * visibility timeout, and after `maxReceives` it is a dead letter of the box.
 */
export interface Mailbox {
  readonly kind: "sqs" | "durable-object";
  /** Whether it can be reached, by one cheap call. */
  check(): Promise<{ readonly ok: true } | MailboxFault>;
  /** Puts messages in, in order; per message whether it is kept. Makes the box where it does not exist yet. */
  send(box: BoxRef, messages: readonly BoxMessage[]): Promise<readonly ({ readonly ok: true } | MailboxFault)[]>;
  receive(box: BoxRef, options: ReceiveOptions): Promise<{ readonly ok: true; readonly messages: readonly ReceivedMessage[] } | MailboxFault>;
  /** Deletes what the handles stand for; a stale one deletes nothing. */
  ack(box: BoxRef, handles: readonly string[]): Promise<readonly HandleResult[] | MailboxFault>;
  /** Makes messages visible again after `delaySeconds` (0..43200). */
  nack(box: BoxRef, handles: readonly string[], delaySeconds: number): Promise<readonly HandleResult[] | MailboxFault>;
  /** Sets the visibility timeout anew, counted from now. */
  extend(box: BoxRef, handles: readonly string[], visibilitySeconds: number): Promise<readonly HandleResult[] | MailboxFault>;
  depth(box: BoxRef): Promise<({ readonly ok: true } & BoxDepth) | MailboxFault>;
  /** Deletes all messages, dead letters excepted. */
  purge(box: BoxRef): Promise<{ readonly ok: true } | MailboxFault>;
  /** Deletes a message, dead letter or not, whoever holds it. A service that can not leaves it to who receives it next. */
  expunge(box: BoxRef, message: { readonly id: string; readonly offset: number }): Promise<{ readonly ok: true } | MailboxFault>;
  /** Moves the dead letters back; how many (an estimate where the service moves them in the background). */
  redrive(box: BoxRef): Promise<{ readonly ok: true; readonly count: number } | MailboxFault>;
  /** Deletes the box with all that is in it; one that does not exist is no fault. */
  remove(box: BoxRef): Promise<{ readonly ok: true } | MailboxFault>;
}
