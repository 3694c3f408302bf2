import { sha256Hex } from "../crypto/digest.ts";

/** What goes out as `webhook-id`: no dot, for the signed text is `id.timestamp.body`. */
const PLAIN_ID = /^[A-Za-z0-9_-]{1,128}$/;
const DERIVED_CHARACTERS = 32;

/**
 * The message id for an id that a publisher chose: the same one where it can be a `webhook-id`, else `msg_` and
 * a digest of it, so that the same chosen id is the same message.
 */
export async function messageIdFor(chosenId: string): Promise<string> {
  if (PLAIN_ID.test(chosenId)) return chosenId;
  return `msg_${(await sha256Hex(chosenId)).slice(0, DERIVED_CHARACTERS)}`;
}
