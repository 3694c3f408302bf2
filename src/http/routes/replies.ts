import { createRoute, z } from "@hono/zod-openapi";
import { MAX_BODY_BYTES } from "../../messages/message.ts";
import { answerQuery } from "../../queries/answer-query.ts";
import { awaitMessage } from "../await-message.ts";
import { requireScope } from "../middleware/require-scope.ts";
import { DEFAULT_CONTENT_TYPE, tooLarge } from "../publish-request.ts";
import { anyContent } from "../published.ts";
import { readBody } from "../read-body.ts";
import { createRouter, fail } from "../router.ts";
import { IdParam, jsonResponse, problemResponses } from "../schemas.ts";

const replyRoute = createRoute({
  method: "post",
  path: "/v1/messages/{id}/reply",
  tags: ["Pull"],
  summary: "Answer a query",
  description:
    "The body is the answer: any content type, any bytes, up to 1 MiB, handed to the caller as it is; also an error such " +
    "as `{error, code, params}`. Acknowledge the query's receipt as well, or it comes again.",
  middleware: requireScope("consume"),
  request: { params: IdParam, body: anyContent },
  responses: {
    202: jsonResponse(z.object({ id: z.string() }), "The answer is with the caller"),
    ...problemResponses("not-found", "conflict", "gone", "payload-too-large"),
  },
});

export const replies = createRouter();

replies.openapi(replyRoute, async (c) => {
  const { id } = c.req.valid("param");
  const { tenantId } = c.get("principal");
  const body = await readBody(c.req.raw, MAX_BODY_BYTES);
  if (body === null) return fail(tooLarge(MAX_BODY_BYTES));
  const contentType = c.req.header("content-type") ?? DEFAULT_CONTENT_TYPE;
  const answered = await answerQuery(c.env, tenantId, id, { contentType, body });
  if (answered.ok) return c.json({ id }, 202);
  switch (answered.code) {
    case "late":
      return fail({ code: "gone", detail: "The answer came too late and was dropped: its caller no longer waits." });
    case "answered":
      return fail({ code: "conflict", detail: "The query has its answer already: this one was dropped." });
    case "not-a-query":
      if ((await awaitMessage(c.env.DB, tenantId, id)) === null) return fail({ code: "not-found", detail: "There is no message with this id." });
      return fail({ code: "conflict", detail: "Nobody waits for an answer: the message is no query, or its caller left long ago." });
  }
});
