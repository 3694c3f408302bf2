import { createHmac } from "node:crypto";
import { headerOf } from "./load/http1.ts";
import type { Sample } from "./load/receiver.ts";
import { readStamp, stampedBody } from "./load/stamp.ts";

/**
 * Throws unless the request is what a subscriber is promised: the published bytes, signed as Standard Webhooks says.
 * Without it a system that sends rubbish could look fast.
 */
export function assertAsPublished(sample: Sample, secret: string): void {
  const id = headerOf(sample.head, "webhook-id");
  const timestamp = headerOf(sample.head, "webhook-timestamp");
  const signatures = headerOf(sample.head, "webhook-signature")?.split(" ") ?? [];
  const key = Buffer.from(secret.slice("whsec_".length), "base64");
  const expected = createHmac("sha256", key).update(`${id}.${timestamp}.`).update(sample.body).digest("base64");
  if (!signatures.includes(`v1,${expected}`)) throw new Error(`a delivery to subscriber ${sample.subscriber} is not signed as it must be`);

  const stamp = readStamp(Buffer.from(sample.body));
  const published = stamp === null ? null : stampedBody(stamp.tag, stamp.index, sample.body.length);
  if (published === null || !published.equals(sample.body)) throw new Error("a delivery does not carry the published bytes");
}
