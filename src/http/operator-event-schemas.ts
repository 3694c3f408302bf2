import { type OpenAPIHono, z } from "@hono/zod-openapi";
import type { OperatorTopic } from "../operator-events/event.ts";
import type { AppEnv } from "./router.ts";
import { Time } from "./schemas.ts";

const EndpointId = z.string().openapi({ example: "ep_01jd2r8w3mabcdefghjkmnpqrs" });
const EndpointName = z.string().nullable().openapi({ description: "As it is at that time" });
const QueueName = z.string().openapi({ example: "billing" });

const endpointData = { endpointId: EndpointId, name: EndpointName, reason: z.string().nullable() };
const circuitData = { endpointId: EndpointId };

/** What each of the gateway's own events carries in `data`. */
const EVENTS = {
  "postern.endpoint.disabled": { summary: "An endpoint was disabled by the gateway, and why", data: endpointData },
  "postern.endpoint.enabled": { summary: "A disabled endpoint was enabled", data: endpointData },
  "postern.endpoint.circuit-opened": {
    summary: "An endpoint fails so often that it is tried now and then only, until it answers again",
    data: { ...circuitData, failures: z.int(), attempts: z.int().openapi({ description: "Of which so many failed" }), probeAt: Time },
  },
  "postern.endpoint.circuit-closed": { summary: "It answers again; what waited flows, slowly at first", data: circuitData },
  "postern.delivery.dead": {
    summary: "A delivery has used up its attempts",
    data: {
      deliveryId: z.string(),
      messageId: z.string(),
      topic: z.string(),
      offset: z.int(),
      target: z.string(),
      endpointId: EndpointId.nullable(),
      queue: QueueName.nullable(),
      reason: z.string().nullable(),
    },
  },
  "postern.queue.backlog": {
    summary: "Much waits in a queue, or for long; told once an hour while it lasts",
    data: { queue: QueueName, depth: z.int(), oldestAgeSeconds: z.int().nullable() },
  },
} as const satisfies Record<OperatorTopic, { readonly summary: string; readonly data: z.core.$ZodLooseShape }>;

/** For the API's description. */
export const OPERATOR_EVENTS_TEXT = `The gateway publishes events of its own, on topics that nobody else may publish on: ${Object.keys(EVENTS)
  .map((topic) => `\`${topic}\``)
  .join(", ")}. Subscribe to one, or to \`postern.**\`; a pattern that begins with a wildcard leaves them out.`;

/** Describes the gateway's own events as the webhooks that they are to whoever subscribes. */
export function registerOperatorEvents(app: OpenAPIHono<AppEnv>): void {
  for (const [topic, { summary, data }] of Object.entries(EVENTS)) {
    app.openAPIRegistry.registerWebhook({
      method: "post",
      path: topic,
      summary,
      request: {
        body: {
          required: true,
          content: { "application/json": { schema: z.object({ type: z.literal(topic), timestamp: Time, data: z.object(data) }) } },
        },
      },
      responses: { "2XX": { description: "Taken" } },
    });
  }
}
