import type { DeliveredMessage } from "../storage/history-row.ts";
import type { StreamApi } from "./contract.ts";
import type { LogReadRequest } from "./log-reading.ts";
import { parseStreamName } from "./ref.ts";
import { entriesOf } from "./segment-log.ts";

const READ_BYTES = 1024 * 1024;
const MAX_READS = 16;

/**
 * The first message with this id that a stream has committed at this time or later; null when it is not among the next
 * megabytes of its log.
 */
export async function findInLog(api: StreamApi, stream: string, id: string, sinceMs: number): Promise<DeliveredMessage | null> {
  let from: LogReadRequest["from"] = { sinceMs };
  for (let reads = 0; reads < MAX_READS; reads++) {
    const read = await api.readLog(stream, { from, maxBytes: READ_BYTES, waitMs: 0 });
    if (!read.ok) return null;
    const entries = read.segments.flatMap(({ firstOffset, timeMs, messages }) => entriesOf({ first_offset: firstOffset, time: timeMs, messages }));
    const found = entries.find((entry) => entry.id === id && entry.offset >= read.from);
    if (found !== undefined) {
      const { offset, timeMs, endpointIds, orderedIds } = found;
      return { id, stream, topic: parseStreamName(stream).name, offset, timeMs, targets: [...endpointIds, ...orderedIds], takers: [] };
    }
    from = (entries.at(-1)?.offset ?? read.tail) + 1;
    if (from >= read.tail) return null;
  }
  return null;
}
