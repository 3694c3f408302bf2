import { messageIdFor } from "../messages/message-id.ts";
import { findMessage } from "../storage/history-read.ts";
import type { MessageEntry } from "../storage/history-row.ts";

/** History is about a second behind: a message that is not there yet is looked for again after these waits. */
const HISTORY_WAITS_MS = [100, 200, 300, 400, 500];

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
  for (const waitMs of [0, ...HISTORY_WAITS_MS]) {
    if (waitMs > 0) await new Promise((resolve) => setTimeout(resolve, waitMs));
    const message = await findMessage(db, tenantId, messageId, topic);
    if (message !== null) return message;
  }
  return null;
}
