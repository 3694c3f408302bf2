import { sha256Hex } from "../crypto/digest.ts";
import type { Attributes, NewMessage } from "../messages/message.ts";
import type { Claim } from "./claim.ts";
import { bodyFacts } from "./facts.ts";
import type { WebhookKind } from "./scheme.ts";
import type { Delivery } from "./verify.ts";

/** What makes two deliveries the same: the sender's name for them, or their bytes. */
export type DeduplicateBy = "delivery" | "content";

/** The source a delivery came in by. */
export type Origin = { readonly sourceId: string; readonly kind: WebhookKind; readonly deduplicateBy: DeduplicateBy };

const DEFAULT_CONTENT_TYPE = "application/octet-stream";
const ID_CHARACTERS = 32;
const PLAIN = /^[\x20-\x7e]{1,256}$/;

/**
 * A verified delivery as a message: the bytes as they are. Its id is made of the source and what names the delivery,
 * so that a repeat within 24 h is the same message, and no sender can take an id away from another source's.
 */
export async function toMessage(delivery: Delivery, claim: Claim, origin: Origin, traceparent: string): Promise<NewMessage> {
  const { headers, body } = delivery;
  const facts = bodyFacts(origin.kind, body);
  const deliveryId = claim.deliveryId ?? facts.deliveryId;
  const name = await deliveryName(origin.deduplicateBy === "content" ? null : deliveryId, claim, origin, body);
  return {
    id: `msg_${(await sha256Hex(`${origin.sourceId}\n${name}`)).slice(0, ID_CHARACTERS)}`,
    deduplicate: true,
    contentType: headers.get("content-type") ?? DEFAULT_CONTENT_TYPE,
    attributes: plainAttributes({
      event: claim.eventName ?? facts.eventName,
      "delivery-id": deliveryId,
      shop: origin.kind === "shopify" ? headers.get("x-shopify-shop-domain") : null,
    }),
    event: { source: `/in/${origin.sourceId}` },
    traceparent,
    body,
  };
}

/** Without a name of its own a delivery is what was signed; `content` leaves the time out, which a repeat may change. */
async function deliveryName(deliveryId: string | null, claim: Claim, origin: Origin, body: Uint8Array): Promise<string> {
  if (deliveryId !== null) return `id\n${deliveryId}`;
  const digest = await sha256Hex(body);
  return origin.deduplicateBy === "content" ? `content\n${digest}` : `signed\n${claim.before}\n${claim.after}\n${digest}`;
}

/** Those there are, of text that a header can carry as it is. */
function plainAttributes(values: Readonly<Record<string, string | null>>): Attributes {
  return Object.fromEntries(
    Object.entries(values).filter((entry): entry is [string, string] => entry[1] !== null && PLAIN.test(entry[1])),
  );
}
