import { createRoute, z } from "@hono/zod-openapi";
import type { Context } from "hono";
import { ask, type AskWorld } from "../../queries/ask.ts";
import { rendezvousStub } from "../../queries/contract.ts";
import { requireScope } from "../middleware/require-scope.ts";
import { requireWithinLimits } from "../publish-limits.ts";
import { identify, readPublish } from "../publish-request.ts";
import {
  anyContent, BODY_IS_THE_MESSAGE, orUnavailable, overloaded, pause, publishProblems, publishWorld,
  requestIdentity, requireQueueMethod,
} from "../published.ts";
import { type AppEnv, createRouter, fail } from "../router.ts";
import { problemResponses } from "../schemas.ts";

const DEFAULT_TIMEOUT_SECONDS = 15;
const MAX_TIMEOUT_SECONDS = 60;
const NOT_A_TIMEOUT = `Must be a number of seconds from 1 to ${MAX_TIMEOUT_SECONDS}.`;
/** An answer is whatever its worker made it: nothing of it may run under our origin. */
const SANDBOX = "default-src 'none'; sandbox";

const Timeout = z
  .string()
  .regex(/^[0-9]{1,2}(?:\.[0-9]{1,3})?$/, { error: NOT_A_TIMEOUT })
  .transform(Number)
  .refine((seconds) => seconds >= 1 && seconds <= MAX_TIMEOUT_SECONDS, { error: NOT_A_TIMEOUT })
  .default(DEFAULT_TIMEOUT_SECONDS)
  .openapi({
    type: "number",
    minimum: 1,
    maximum: MAX_TIMEOUT_SECONDS,
    default: DEFAULT_TIMEOUT_SECONDS,
    description: "Seconds to wait for the answer",
  });

const askRoute = createRoute({
  method: "post",
  path: "/v1/queries/{queue}/{method}",
  tags: ["Publishing"],
  summary: "Ask a query and wait for its answer",
  description:
    "Goes to exactly one member of the queue; the body of its 2xx response, or its reply, is the answer, whatever that " +
    `says. After the timeout it is delivered no more, and a late answer is dropped. ${BODY_IS_THE_MESSAGE.replace(", structured and batched", " and structured")} ` +
    "Asked again by the same token under the same id (`ce-id`), it is not sent again: the call waits for the one answer.",
  middleware: requireScope("publish"),
  request: {
    params: z.object({
      queue: z.string().openapi({ param: { name: "queue", in: "path" }, example: "prices" }),
      method: z.string().openapi({ param: { name: "method", in: "path" }, example: "quote" }),
    }),
    query: z.object({ timeout: Timeout }),
    body: anyContent,
  },
  responses: {
    200: { ...anyContent, description: "The answer as it was given, with its own content type; `Postern-Message-Id` is the query's" },
    ...publishProblems,
    ...problemResponses("unknown-queue", "query-timeout"),
  },
});

export const queries = createRouter();

queries.openapi(askRoute, async (c) => {
  const answerByMs = Date.now() + c.req.valid("query").timeout * 1000;
  const { queue, method } = await requireQueueMethod(c, c.req.valid("param"));
  const message = await readQuestion(c, `${queue}/${method}`);
  const asking = ask(askWorld(c), c.get("principal").tenantId, queue, { ...message, method, answerByMs }, c.req.raw.signal);
  const asked = await orUnavailable(c.get("requestId"), asking, "It may be on its way, but its answer will not reach you: ask again in a moment.");
  const headers = { "postern-message-id": message.id };
  if (asked.ok) {
    const { contentType, body } = asked.answer;
    return c.body(new Uint8Array(body), 200, { ...headers, "content-type": contentType, "content-security-policy": SANDBOX });
  }
  switch (asked.code) {
    case "timed-out":
      return fail({ code: "query-timeout", detail: "No worker answered in time; an answer that still comes is dropped.", headers });
    case "overloaded":
      return overloaded(asked.retryAfterSeconds, "The queue takes no more right now: ask again after `Retry-After`.");
  }
});

/**
 * A chosen id is its asker's: whoever else uses the same one must get an answer of their own, and workers reply to an
 * id alone, so it must name no other message of the tenant.
 */
async function readQuestion(c: Context<AppEnv>, target: string) {
  const { batched, messages } = await readPublish(c.req.raw);
  requireWithinLimits(c, messages);
  const idScope = `query ${c.get("principal").tokenId} ${target}`;
  const [message] = await identify(messages, { ...requestIdentity(c), idScope });
  if (!batched && message !== undefined) return message;
  return fail({ code: "unsupported-media-type", detail: "A query is one message: send its event in binary or structured mode." });
}

function askWorld(c: Context<AppEnv>): AskWorld {
  const { append, now } = publishWorld(c);
  return {
    append,
    rendezvous: (name) => rendezvousStub(c.env.RENDEZVOUS, name),
    now,
    pause,
    waitUntil: (promise) => c.executionCtx.waitUntil(promise),
  };
}
