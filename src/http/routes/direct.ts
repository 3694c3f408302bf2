import { createRoute, z } from "@hono/zod-openapi";
import { sendDirect } from "../../messages/send-direct.ts";
import { requireScope } from "../middleware/require-scope.ts";
import { requireWithinLimits } from "../publish-limits.ts";
import { identify, readPublish } from "../publish-request.ts";
import {
  anyContent, BODY_IS_THE_MESSAGE, publishAnswer, publishResponses, publishWorld, requestIdentity,
  requireAccepted, requireName,
} from "../published.ts";
import { createRouter } from "../router.ts";

const sendDirectRoute = createRoute({
  method: "post",
  path: "/v1/direct/{node}",
  tags: ["Publishing"],
  summary: "Send a direct message",
  description:
    "Goes to the endpoint with this node name; it need not exist yet, the message waits for it as long as its stream " +
    `keeps it. ${BODY_IS_THE_MESSAGE} An id chosen by the publisher (\`ce-id\`) de-duplicates on its node for 24 h.`,
  middleware: requireScope("publish"),
  request: {
    params: z.object({ node: z.string().openapi({ param: { name: "node", in: "path" }, example: "till.7" }) }),
    body: anyContent,
  },
  responses: publishResponses,
});

export const direct = createRouter();

direct.openapi(sendDirectRoute, async (c) => {
  const node = requireName("node", c.req.valid("param").node);
  const { batched, messages } = await readPublish(c.req.raw);
  requireWithinLimits(c, messages);
  const identified = await identify(messages, requestIdentity(c));
  const appended = await requireAccepted(c, sendDirect(publishWorld(c), c.get("principal").tenantId, node, identified));
  return publishAnswer(c, { kind: "nodes", name: node }, appended, batched);
});
