import { timeOfId } from "../ids.ts";
import { messageIdFor } from "../messages/message-id.ts";
import { findMessage } from "../storage/history-messages.ts";
import type { MessageEntry } from "../storage/history-row.ts";

/** History is about a second behind: a message that is not there yet is looked for again after these waits. */
const HISTORY_WAITS_MS = [100, 200, 300, 400, 500, 500];
/** What is this old, by the time in its id, is there or does not come. */
const CERTAIN_AFTER_MS = 60_000;

/**
 * What {@link findMessage} finds, by the message's id or the one its publisher chose; looks again while history may be
 * behind, null when there is no such message.
 */
export async function awaitMessage(
  db: D1Database,
  tenantId: string,
  id: string,
  topic?: string,
): Promise<MessageEntry | null> {
  const messageId = await messageIdFor(id);
  const madeAtMs = timeOfId(messageId);
  const mayCome = madeAtMs === null || Math.abs(Date.now() - madeAtMs) < CERTAIN_AFTER_MS;
  for (const waitMs of mayCome ? [0, ...HISTORY_WAITS_MS] : [0]) {
    if (waitMs > 0) await new Promise((resolve) => setTimeout(resolve, waitMs));
    const message = await findMessage(db, tenantId, messageId, topic);
    if (message !== null) return message;
  }
  return null;
}
