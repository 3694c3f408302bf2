import { type Handshake, handshakeOf } from "../inbound/facts.ts";
import { openVerifyingKeys, type SealedSourceSecret } from "../inbound/open-keys.ts";
import { toMessage } from "../inbound/to-message.ts";
import { verify } from "../inbound/verify.ts";
import { isolateOf } from "../isolate.ts";
import { describeError, log } from "../log.ts";
import { MAX_BODY_BYTES } from "../messages/message.ts";
import { newTraceparent } from "../messages/traceparent.ts";
import type { WebhookSource } from "../storage/sources.ts";
import { askAgain, type InboundCall, publishInbound, type PublishedInbound, refused } from "./inbound-answer.ts";
import { readBody } from "./read-body.ts";
import { fail } from "./router.ts";

/** What a handshake is answered with. */
export type HandshakeAnswer = { challenge: string } | { pong: true };

/** Takes a delivery of a webhook sender: verified over the bytes as they came, then an event; or a handshake. */
export async function receiveWebhook(
  call: InboundCall,
  source: WebhookSource,
  secrets: readonly SealedSourceSecret[],
): Promise<PublishedInbound | HandshakeAnswer> {
  const body = await readBody(call.request, MAX_BODY_BYTES);
  if (body === null) return fail({ code: "payload-too-large", detail: `A message has at most ${MAX_BODY_BYTES} bytes.` });
  const delivery = { headers: call.request.headers, body };
  const keys = await openKeys(call, source, secrets);
  const verification = await verify(delivery, { kind: source.kind, scheme: source.scheme, keys }, Date.now());
  if (!verification.ok) return refused(call, source, "inbound.refused", verification.reason);
  const handshake = handshakeOf(source.kind, delivery);
  if (handshake !== null) return answer(handshake);
  const origin = { sourceId: source.id, kind: source.kind, deduplicateBy: source.deduplicateBy };
  const traceparent = newTraceparent(isolateOf(call.env).world.fillRandom);
  return publishInbound(call, source.tenantId, source.topic, await toMessage(delivery, verification.claim, origin, traceparent));
}

async function openKeys(call: InboundCall, source: WebhookSource, secrets: readonly SealedSourceSecret[]): Promise<CryptoKey[]> {
  try {
    return await openVerifyingKeys(source, secrets, isolateOf(call.env).keyRing, Date.now());
  } catch (thrown) {
    log("error", "a source's secret can not be opened", {
      event: "inbound.unreadable", requestId: call.requestId, sourceId: source.id, error: describeError(thrown),
    });
    return fail(askAgain("The message could not be verified now: send it again."));
  }
}

function answer(handshake: Handshake): HandshakeAnswer {
  switch (handshake.kind) {
    case "challenge":
      return { challenge: handshake.challenge };
    case "ping":
      return { pong: true };
  }
}
