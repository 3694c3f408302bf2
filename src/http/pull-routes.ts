import { createRoute, z } from "@hono/zod-openapi";
import { requireScope } from "./middleware/require-scope.ts";
import { AckBody, ExtendBody, NackBody, PulledMessages, ReceiptResults, ReceiveQuery, SeveralQueuesQuery } from "./pull-schemas.ts";
import { IdParam, jsonBody, jsonResponse, problemResponses } from "./schemas.ts";

const tags = ["Pull"];
const middleware = requireScope("consume");

const QueueParam = z.object({
  queue: z.string().min(1).openapi({ param: { name: "queue", in: "path" }, example: "billing" }),
});
const ReceiptParam = z.object({ receipt: z.string().min(1).openapi({ param: { name: "receipt", in: "path" } }) });

const ENDPOINT = "/v1/endpoints/{id}";
const QUEUE = "/v1/queues/{queue}";
const SEVERAL = "/v1/pull";
const endpointProblems = problemResponses("not-found", "conflict", "invalid-request", "unavailable");
const queueProblems = problemResponses("malformed-target", "unknown-queue", "invalid-request", "unavailable");

/** Typed as a response with whatever body, for it may have to begin before it is known. */
const received: { description: string; content: Record<string, { schema: typeof PulledMessages }> } = jsonResponse(
  PulledMessages,
  "None to `max` messages",
);

const RECEIVE =
  "A message that is not acknowledged is there again after `visibility` seconds; received too often, it becomes a dead letter. " +
  "With `wait` the answer ends as soon as there is a message. Until then it is white space, a byte a second, which JSON " +
  "allows before a value. When the client leaves, its receive ends, and what had come for it is there again at once.";

export const receiveOfEndpoint = createRoute({
  method: "get",
  path: `${ENDPOINT}/messages`,
  tags,
  summary: "Pull messages of an endpoint",
  description: `Of a pull endpoint, or of a push endpoint with \`fallback: "pull"\`. ${RECEIVE}`,
  middleware,
  request: { params: IdParam, query: ReceiveQuery },
  responses: { 200: received, ...endpointProblems },
});

export const receiveOfQueue = createRoute({
  method: "get",
  path: `${QUEUE}/messages`,
  tags,
  summary: "Pull messages of a queue",
  description: `Its consumers compete: each message goes to one of them. ${RECEIVE}`,
  middleware,
  request: { params: QueueParam, query: ReceiveQuery },
  responses: { 200: received, ...queueProblems },
});

export const receiveOfSeveral = createRoute({
  method: "get",
  path: SEVERAL,
  tags,
  summary: "Pull messages of several queues at once",
  description: `Each queue has its share of \`max\`, and each message says its \`queue\`. ${RECEIVE}`,
  middleware,
  request: { query: SeveralQueuesQuery },
  responses: { 200: received, ...queueProblems },
});

const ACK = {
  verb: "ack",
  summary: "Acknowledge messages",
  description: "Deletes them. A receipt that is stale deletes nothing, and its result says so.",
  body: AckBody,
} as const;
const NACK = {
  verb: "nack",
  summary: "Give messages back",
  description: "They are there again after `delaySeconds`, for whoever asks first.",
  body: NackBody,
} as const;
const EXTEND = {
  verb: "extend",
  summary: "Keep messages hidden for longer",
  description: "Sets their visibility timeout anew, counted from now; 12 hours after a message was received it ends in any case.",
  body: ExtendBody,
} as const;

type Verb<Body extends z.ZodType> = {
  readonly verb: "ack" | "nack" | "extend";
  readonly summary: string;
  readonly description: string;
  readonly body: Body;
};

function settleOfEndpoint<Body extends z.ZodType>({ verb, summary, description, body }: Verb<Body>) {
  return createRoute({
    method: "post",
    path: `${ENDPOINT}/${verb}`,
    tags,
    summary: `${summary} of an endpoint`,
    description,
    middleware,
    request: { params: IdParam, body: jsonBody(body) },
    responses: { 200: jsonResponse(ReceiptResults, "A result for each receipt, in order"), ...endpointProblems },
  });
}

function settleOfQueue<Body extends z.ZodType>({ verb, summary, description, body }: Verb<Body>) {
  return createRoute({
    method: "post",
    path: `${QUEUE}/${verb}`,
    tags,
    summary: `${summary} of a queue`,
    description,
    middleware,
    request: { params: QueueParam, body: jsonBody(body) },
    responses: { 200: jsonResponse(ReceiptResults, "A result for each receipt, in order"), ...queueProblems },
  });
}

function settleOfSeveral<Body extends z.ZodType>({ verb, summary, description, body }: Verb<Body>) {
  return createRoute({
    method: "post",
    path: `${SEVERAL}/${verb}`,
    tags,
    summary: `${summary} of any endpoint or queue`,
    description: `A receipt knows where it is from. ${description}`,
    middleware,
    request: { body: jsonBody(body) },
    responses: {
      200: jsonResponse(ReceiptResults, "A result for each receipt, in order"),
      ...problemResponses("invalid-request", "unavailable"),
    },
  });
}

export const ackOfEndpoint = settleOfEndpoint(ACK);
export const nackOfEndpoint = settleOfEndpoint(NACK);
export const extendOfEndpoint = settleOfEndpoint(EXTEND);
export const ackOfQueue = settleOfQueue(ACK);
export const nackOfQueue = settleOfQueue(NACK);
export const extendOfQueue = settleOfQueue(EXTEND);
export const ackOfSeveral = settleOfSeveral(ACK);
export const nackOfSeveral = settleOfSeveral(NACK);
export const extendOfSeveral = settleOfSeveral(EXTEND);

const ONE = "The same as `ack` with this one receipt.";

export const deleteOfEndpoint = createRoute({
  method: "delete",
  path: `${ENDPOINT}/messages/{receipt}`,
  tags,
  summary: "Acknowledge one message of an endpoint",
  description: ONE,
  middleware,
  request: { params: IdParam.extend(ReceiptParam.shape) },
  responses: { 204: { description: "Deleted" }, ...endpointProblems },
});

export const deleteOfQueue = createRoute({
  method: "delete",
  path: `${QUEUE}/messages/{receipt}`,
  tags,
  summary: "Acknowledge one message of a queue",
  description: ONE,
  middleware,
  request: { params: QueueParam.extend(ReceiptParam.shape) },
  responses: { 204: { description: "Deleted" }, ...queueProblems },
});
