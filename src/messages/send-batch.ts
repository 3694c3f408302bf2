import type { Appended } from "../streams/contract.ts";
import type { Address } from "./address.ts";
import type { NewMessage } from "./message.ts";
import { publish, type PublishResult, type PublishWorld } from "./publish.ts";
import { sendCommand } from "./send-command.ts";
import { sendDirect } from "./send-direct.ts";

export type AddressedMessage = { readonly address: Address; readonly message: NewMessage };

export type BatchWorld = PublishWorld & { readonly pause: (ms: number) => Promise<void> };

/** `partly`: some streams took theirs, so that the batch sent again without ids of its own adds those once more. */
export type BatchResult =
  | { readonly ok: true; readonly appended: readonly Appended[] }
  | { readonly ok: false; readonly code: "overloaded"; readonly retryAfterSeconds: number; readonly partly: boolean };

/** The messages of a batch that go into the same stream, and what came of them. */
type Part = { readonly indexes: readonly number[]; readonly send: () => Promise<PublishResult> };

type Refused = { readonly part: Part; readonly retryAfterSeconds: number };

/** A full stream has room again soon; while others have taken their part, the rest is worth this much waiting. */
const RETRY_MS = 250;
const MAX_RETRIES = 8;

/**
 * Sends messages to any addresses; the results are in their order. Those of one stream are accepted as one. When no
 * stream is full all are accepted; when all are full none is; and when only some are, those are asked again for two
 * seconds, for the others can not take back what is on its way. Throws when D1 or a stream can not be reached.
 */
export async function sendBatch(world: BatchWorld, tenantId: string, batch: readonly AddressedMessage[]): Promise<BatchResult> {
  const parts = partsOf(world, tenantId, batch);
  const appended: Appended[] = [];
  let open: readonly Part[] = parts;
  for (let retries = 0; ; retries++) {
    const refused = await sendAll(open, appended);
    if (refused.length === 0) return { ok: true, appended };
    const partly = refused.length < parts.length;
    if (!partly || retries === MAX_RETRIES) {
      const retryAfterSeconds = Math.max(...refused.map((one) => one.retryAfterSeconds));
      return { ok: false, code: "overloaded", retryAfterSeconds, partly };
    }
    open = refused.map(({ part }) => part);
    await world.pause(RETRY_MS);
  }
}

/** Fills in the results of the parts that were taken, and returns those that were not. */
async function sendAll(parts: readonly Part[], appended: Appended[]): Promise<Refused[]> {
  // waits for all of them, also when one fails: what a stream was asked to take is not left hanging
  const settled = await Promise.allSettled(parts.map(({ send }) => send()));
  return parts.flatMap((part, position) => {
    const one = settled[position];
    if (one === undefined) return [];
    if (one.status === "rejected") throw one.reason;
    if (!one.value.ok) return [{ part, retryAfterSeconds: one.value.retryAfterSeconds }];
    one.value.appended.forEach((result, at) => {
      const index = part.indexes[at];
      if (index !== undefined) appended[index] = result;
    });
    return [];
  });
}

function partsOf(world: PublishWorld, tenantId: string, batch: readonly AddressedMessage[]): Part[] {
  const entries = batch.map((entry, index) => ({ ...entry, index }));
  const groups = Map.groupBy(entries, ({ address }) => `${address.kind}/${address.name}`);
  return [...groups.values()].map((group) => ({
    indexes: group.map(({ index }) => index),
    send: () => sendTo(world, tenantId, group),
  }));
}

/** Sends messages of one stream. */
async function sendTo(world: PublishWorld, tenantId: string, group: readonly AddressedMessage[]): Promise<PublishResult> {
  const [first] = group;
  if (first === undefined) return { ok: true, appended: [] };
  const messages = group.map(({ message }) => message);
  switch (first.address.kind) {
    case "topics":
      return publish(world, tenantId, first.address.name, messages);
    case "queues":
      return sendCommand(world, tenantId, first.address.name, group.map(toOrder));
    case "nodes":
      return sendDirect(world, tenantId, first.address.name, messages);
  }
}

function toOrder({ address, message }: AddressedMessage) {
  if (address.kind !== "queues") throw new Error("a command without a queue");
  return { ...message, method: address.method };
}
