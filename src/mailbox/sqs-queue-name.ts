import { sha256Hex } from "../crypto/digest.ts";
import type { BoxRef } from "./mailbox.ts";

/** What SQS calls the queues of a box. */
export type QueueNames = { readonly main: string; readonly deadLetters: string };

const DEAD_LETTER_SUFFIX = "-dlq";
const FIFO_SUFFIX = ".fifo";
/** SQS allows 80 characters, suffixes included. */
const MAX_BASE_CHARACTERS = 80 - DEAD_LETTER_SUFFIX.length - FIFO_SUFFIX.length;
const HASH_CHARACTERS = 24;
const READABLE_TENANT_CHARACTERS = 12;

const ENDPOINT_ID = /^ep_[0-9a-z]+$/;
/** Without `-`, which separates the tenant from what follows it. */
const PLAIN_TENANT = /^[A-Za-z0-9_]+$/;
const PLAIN_QUEUE = /^[A-Za-z0-9_-]+$/;
/** What would read as an endpoint's id, as another queue's dead letters, or as a name with a hash. */
const AMBIGUOUS_QUEUE = /(?:^|-)ep_|-dlq$|-x[0-9a-f]{24}$/;

/**
 * `<prefix>-<tenant>-<id>`. Where that would not fit, holds a character SQS refuses, or could be read as another
 * box's name, a shortened form and a hash of all of it: no two boxes share a name. The queue's tags hold the names
 * as they are.
 */
export async function queueNames(prefix: string, box: Pick<BoxRef, "tenantId" | "kind" | "id" | "ordered">): Promise<QueueNames> {
  const plain = `${prefix}-${box.tenantId}-${box.id}`;
  const base = isPlain(box) && plain.length <= MAX_BASE_CHARACTERS ? plain : await hashedName(prefix, box);
  const fifo = box.ordered ? FIFO_SUFFIX : "";
  return { main: `${base}${fifo}`, deadLetters: `${base}${DEAD_LETTER_SUFFIX}${fifo}` };
}

function isPlain({ tenantId, kind, id }: Pick<BoxRef, "tenantId" | "kind" | "id">): boolean {
  // An endpoint's id holds no `-`, so whatever is before the last one is prefix and tenant.
  if (kind === "endpoint") return ENDPOINT_ID.test(id) && PLAIN_QUEUE.test(tenantId);
  return PLAIN_TENANT.test(tenantId) && PLAIN_QUEUE.test(id) && !AMBIGUOUS_QUEUE.test(id);
}

async function hashedName(prefix: string, { tenantId, kind, id }: Pick<BoxRef, "tenantId" | "kind" | "id">): Promise<string> {
  const hash = (await sha256Hex(`${tenantId}/${kind}/${id}`)).slice(0, HASH_CHARACTERS);
  const start = `${prefix}-${readable(tenantId).slice(0, READABLE_TENANT_CHARACTERS)}-`;
  const end = `-x${hash}`;
  return `${start}${readable(id).slice(0, MAX_BASE_CHARACTERS - start.length - end.length)}${end}`;
}

function readable(text: string): string {
  return text.replaceAll(/[^A-Za-z0-9_-]/g, "_");
}
