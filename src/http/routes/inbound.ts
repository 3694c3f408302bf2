import { createRoute, z } from "@hono/zod-openapi";
import { type InboundCall, principalOf } from "../inbound-answer.ts";
import { receiveInbound } from "../inbound-lane.ts";
import { receiverOf } from "../receivers.ts";
import { requestWorld } from "../request-world.ts";
import { createRouter } from "../router.ts";
import { jsonResponse, problemResponses, Time } from "../schemas.ts";

const Accepted = z.union([
  z
    .object({ id: z.string(), topic: z.string(), offset: z.number().int(), time: Time, matched: z.number().int() })
    .openapi({ description: "The message became an event, now or when it came before" }),
  z
    .object({ topicArn: z.string(), state: z.enum(["confirmed", "unsubscribed"]) })
    .openapi({ description: "Of SNS: a subscription was confirmed, or its end recorded" }),
  z.object({ challenge: z.string() }).openapi({ description: "Of Slack: the challenge of `url_verification`" }),
  z.object({ pong: z.literal(true) }).openapi({ description: "Of GitHub: its `ping`" }),
]);

const receive = createRoute({
  method: "post",
  path: "/in/{sourceId}",
  tags: ["Sources"],
  summary: "Receive from another sender",
  description:
    "For the sender itself, which needs no token: what it signed is what counts. 403 is for good, and says no more than " +
    "that; after a 5xx senders send the message again. Message attributes are not signed by SNS, nor are event names " +
    "and delivery ids by GitHub and Shopify.",
  security: [],
  request: { params: z.object({ sourceId: z.string().openapi({ param: { name: "sourceId", in: "path" } }) }) },
  responses: {
    200: jsonResponse(Accepted, "Committed"),
    ...problemResponses("verification-failed", "not-found", "payload-too-large", "rate-limited", "overloaded", "unavailable"),
  },
});

export const inbound = createRouter();

inbound.openapi(receive, async (c) => {
  const world = requestWorld(c);
  const receiver = await receiverOf(world, c.req.valid("param").sourceId, Date.now());
  c.set("principal", principalOf(receiver.source));
  const call: InboundCall = {
    ...world,
    request: c.req.raw,
    limits: receiver.limits,
    onRateLimit: (state) => c.set("rateLimit", state),
  };
  return c.json(await receiveInbound(call, receiver), 200);
});
