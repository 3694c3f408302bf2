import { describeError, log } from "../log.ts";
import type { BoxRef, Mailbox } from "./mailbox.ts";

/**
 * Removes a box whose owner was deleted. Never throws: the owner is gone whatever becomes of its box, so a fault is
 * for the operator, who finds what is left by the box's name.
 */
export async function discardBox(open: () => Mailbox, box: BoxRef): Promise<void> {
  const about = { tenantId: box.tenantId, box: `${box.kind}/${box.id}` };
  try {
    const removed = await open().remove(box);
    if (!removed.ok) log("warn", "mailbox.not-removed", { ...about, code: removed.code, detail: removed.detail });
  } catch (error) {
    log("warn", "mailbox.not-removed", { ...about, error: describeError(error) });
  }
}
