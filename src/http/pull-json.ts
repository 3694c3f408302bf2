import type { z } from "@hono/zod-openapi";
import { contentFields } from "../messages/content-fields.ts";
import { type ReceiptKeys, sealReceipt } from "../mailbox/receipt.ts";
import type { Taken } from "./pull-receive.ts";
import type { PulledMessage, PulledMessages } from "./pull-schemas.ts";
import { toTime } from "./schemas.ts";

/** For whom messages are shown. */
export type Reader = {
  readonly keys: ReceiptKeys;
  readonly tenantId: string;
  /** Whether each message says which queue it came from. */
  readonly severalQueues: boolean;
};

export async function presentMessages(taken: readonly Taken[], reader: Reader): Promise<z.infer<typeof PulledMessages>> {
  return { messages: await Promise.all(taken.map((one) => presentMessage(one, reader))) };
}

async function presentMessage({ box, message }: Taken, reader: Reader): Promise<z.infer<typeof PulledMessage>> {
  const { id, topic, offset, timeMs, receiveCount, contentType, attributes, event, answerByMs, body, handle } = message;
  return {
    id,
    topic,
    offset,
    time: toTime(timeMs),
    receiveCount,
    contentType,
    attributes,
    ...(event === undefined ? {} : { event }),
    ...(answerByMs === undefined ? {} : { answerBy: toTime(answerByMs) }),
    ...(reader.severalQueues ? { queue: box.id } : {}),
    ...contentFields(body),
    receipt: await sealReceipt(reader.keys, reader.tenantId, { kind: box.kind, id: box.id, handle }),
  };
}
