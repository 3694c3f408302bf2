import { type Answered, call, type Connection } from "./call.ts";
import { checkReceive, checkTarget } from "./checks.ts";
import type { ConsumeSource, Settled } from "./consume.ts";
import { encodeData } from "./content.ts";
import { problem } from "./errors.ts";
import type { Puller, SettleAction } from "./puller.ts";
import { readMessages, readSettled } from "./wire.ts";

const TIMEOUT_SECONDS = 30;
/** What a long poll may take beyond its wait. */
const POLL_GRACE_SECONDS = 10;
const ENDPOINT_ID = /^[A-Za-z0-9_-]{1,128}$/;

/** Pulls over HTTP. A receive is never repeated here: the consumer backs off by itself. */
export function createHttpPuller(connection: Connection, source: ConsumeSource): Puller {
  const { path, box, queues } = placeOf(source);
  return {
    receive: async (request) => {
      checkReceive(request); // a wait that is no number would be no timeout either
      const { max, waitSeconds, visibilitySeconds, signal } = request;
      const asked = new URLSearchParams({ max: String(max), wait: String(waitSeconds), visibility: String(visibilitySeconds) });
      for (const queue of queues.length > 1 ? queues : []) asked.append("queue", queue);
      const timeoutSeconds = waitSeconds + POLL_GRACE_SECONDS;
      const answered = await call(connection, {
        method: "GET",
        path: `${path}?${asked.toString()}`,
        timeoutSeconds,
        repeatable: false,
        signal,
      });
      return readMessages(answered).map(({ message, receipt }) => ({
        message: { ...message, queue: message.queue ?? queues[0] ?? null },
        receipt,
        box,
      }));
    },
    settle: (from, action, receipts) => settle(connection, from, action, receipts),
    reply: async (messageId, data, contentType) => {
      const { contentType: type, body } = encodeData(data, contentType);
      // Sent twice it would be told that it answered already, when it was the first that did.
      await call(connection, {
        method: "POST",
        path: `/v1/messages/${encodeURIComponent(messageId)}/reply`,
        headers: { "content-type": type },
        body,
        timeoutSeconds: TIMEOUT_SECONDS,
        repeatable: false,
      });
    },
  };
}

type Place = {
  /** Where it is received from. */
  readonly path: string;
  /** What the paths to settle begin with. */
  readonly box: string;
  readonly queues: readonly string[];
};

function placeOf(source: ConsumeSource): Place {
  if ("endpoint" in source) {
    if (!ENDPOINT_ID.test(source.endpoint)) throw problem("not-found", "There is no endpoint with this id.");
    const box = `/v1/endpoints/${source.endpoint}`;
    return { path: `${box}/messages`, box, queues: [] };
  }
  const queues = "queue" in source ? [source.queue] : source.queues;
  queues.forEach(checkTarget);
  const [queue, second] = queues;
  if (queue === undefined) throw problem("invalid-request", "Name at least one queue.");
  if (second === undefined) return { path: `/v1/queues/${queue}/messages`, box: `/v1/queues/${queue}`, queues };
  return { path: "/v1/pull", box: "/v1/pull", queues };
}

/** Settling twice is settling once, so it is repeated when no answer came. */
async function settle(connection: Connection, box: string, action: SettleAction, receipts: readonly string[]): Promise<readonly Settled[]> {
  const answered: Answered = await call(connection, {
    method: "POST",
    path: `${box}/${action.kind}`,
    headers: { "content-type": "application/json" },
    body: JSON.stringify({ receipts, ...parametersOf(action) }),
    timeoutSeconds: TIMEOUT_SECONDS,
    repeatable: true,
  });
  return readSettled(answered, receipts);
}

function parametersOf(action: SettleAction): Readonly<Record<string, number>> {
  switch (action.kind) {
    case "ack":
      return {};
    case "nack":
      return { delaySeconds: action.delaySeconds };
    case "extend":
      return { visibility: action.visibilitySeconds };
  }
}
