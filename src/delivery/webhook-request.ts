import { attributeHeaders } from "../messages/attributes.ts";
import { binaryHeaders, structuredBody } from "../messages/cloudevents.ts";
import type { StoredMessage } from "../messages/message.ts";
import { childTraceparent } from "../messages/traceparent.ts";
import type { FillRandom } from "../ids.ts";
import type { DeliveryEndpoint } from "./endpoint.ts";
import { webhookSignature } from "./sign.ts";

/** What goes on the wire: headers and the bytes that were signed. */
export type WebhookRequest = { readonly headers: Record<string, string>; readonly body: Uint8Array };

export type RequestContext = {
  readonly topic: string;
  readonly attemptNumber: number;
  readonly nowMs: number;
  readonly userAgent: string;
  readonly fillRandom: FillRandom;
  /** The bearer token of an endpoint that is authenticated to, else null. */
  readonly token: string | null;
};

/**
 * Builds the request of one attempt (§4): the endpoint's own headers, then the message's, then those of Standard
 * Webhooks, so that none of ours can be overridden. The body is the published bytes, or in `cloudevents-json` an
 * envelope around them, and the signature is over exactly what is sent.
 */
export async function webhookRequest(
  endpoint: DeliveryEndpoint,
  message: StoredMessage,
  context: RequestContext,
): Promise<WebhookRequest> {
  const { contentType, body, formatHeaders } = formatted(endpoint, message, context.topic);
  const timestampSeconds = Math.floor(context.nowMs / 1000);
  return {
    body,
    headers: {
      "user-agent": context.userAgent,
      ...endpoint.headers,
      ...(context.token === null ? {} : { authorization: `Bearer ${context.token}` }),
      ...attributeHeaders(message.attributes),
      ...formatHeaders,
      "content-type": contentType,
      ...(endpoint.requestOrigin === undefined ? {} : { "webhook-request-origin": endpoint.requestOrigin }),
      "postern-topic": context.topic,
      "postern-attempt": String(context.attemptNumber),
      traceparent: childTraceparent(message.traceparent, context.fillRandom),
      "webhook-id": message.id,
      "webhook-timestamp": String(timestampSeconds),
      "webhook-signature": await webhookSignature(
        message.id,
        timestampSeconds,
        body,
        endpoint.signingKeys,
        endpoint.asymmetricKey,
      ),
    },
  };
}

function formatted(
  endpoint: DeliveryEndpoint,
  message: StoredMessage,
  topic: string,
): { contentType: string; body: Uint8Array; formatHeaders: Record<string, string> } {
  switch (endpoint.format) {
    case "raw":
      return { contentType: message.contentType, body: message.body, formatHeaders: {} };
    case "cloudevents":
      return { contentType: message.contentType, body: message.body, formatHeaders: binaryHeaders({ ...message, topic }) };
    case "cloudevents-json":
      return { ...structuredBody({ ...message, topic }, message.body), formatHeaders: {} };
  }
}
