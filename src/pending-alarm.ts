/**
 * When the object's alarm is to run; null when none is set, or its time has passed: a process that was killed may have
 * lost it (seen with workerd on one machine), so that one is to be set again, which does no harm where it still comes.
 */
export async function pendingAlarm(storage: DurableObjectStorage, nowMs: number): Promise<number | null> {
  const atMs = await storage.getAlarm();
  return atMs !== null && atMs > nowMs ? atMs : null;
}
