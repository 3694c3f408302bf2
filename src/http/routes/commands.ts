import { createRoute, z } from "@hono/zod-openapi";
import { sendCommand } from "../../messages/send-command.ts";
import { requireScope } from "../middleware/require-scope.ts";
import { requireWithinLimits } from "../publish-limits.ts";
import { identify, readPublish } from "../publish-request.ts";
import {
  anyContent, BODY_IS_THE_MESSAGE, publishAnswer, publishResponses, publishWorld, requestIdentity,
  requireAccepted, requireQueueMethod,
} from "../published.ts";
import { createRouter } from "../router.ts";
import { problemResponses } from "../schemas.ts";

const sendCommandRoute = createRoute({
  method: "post",
  path: "/v1/commands/{queue}/{method}",
  tags: ["Publishing"],
  summary: "Send a command",
  description:
    `Goes to exactly one member of the queue, and waits for one as long as the queue keeps it. ${BODY_IS_THE_MESSAGE} ` +
    "An id chosen by the publisher (`ce-id`) de-duplicates on its queue and method for 24 h.",
  middleware: requireScope("publish"),
  request: {
    params: z.object({
      queue: z.string().openapi({ param: { name: "queue", in: "path" }, example: "invoices" }),
      method: z.string().openapi({ param: { name: "method", in: "path" }, example: "print" }),
    }),
    body: anyContent,
  },
  responses: { ...publishResponses, ...problemResponses("unknown-queue") },
});

export const commands = createRouter();

commands.openapi(sendCommandRoute, async (c) => {
  const { queue, method } = await requireQueueMethod(c, c.req.valid("param"));
  const { batched, messages } = await readPublish(c.req.raw);
  requireWithinLimits(c, messages);
  const identified = await identify(messages, requestIdentity(c));
  const orders = identified.map((message) => ({ ...message, method }));
  const appended = await requireAccepted(c, sendCommand(publishWorld(c), c.get("principal").tenantId, queue, orders));
  return publishAnswer(c, { kind: "queues", name: queue, method }, appended, batched);
});
