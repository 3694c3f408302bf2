/** A stretch of offsets, `to` without. */
export type OffsetRange = { readonly from: number; readonly to: number };

/** What of a log has to stay. */
export type Keep = {
  /** What was committed at this time or later, ms. */
  readonly sinceMs: number;
  /** As many bytes of the newest; the newest segment in any case. */
  readonly bytes: number;
  /** Everything from here on, for it is not delivered yet. */
  readonly fromOffset: number;
};

type Segment = { first_offset: number; count: number; time: number; bytes_before: number };

/** One step of a trim: a moment's work, whatever there is to remove. */
const MAX_STEP_SEGMENTS = 200;
const MAX_STEP_BYTES = 16 * 1024 * 1024;

/** The first offset of the range that was committed at this time or later; `to` when none was. Reads a few segments. */
export function offsetAtTime(sql: SqlStorage, { from, to }: OffsetRange, timeMs: number): number {
  let low = from;
  let high = to;
  while (low < high) {
    const middle = low + Math.floor((high - low) / 2);
    const { first_offset, count, time } = sql
      .exec<Pick<Segment, "first_offset" | "count" | "time">>(
        "SELECT first_offset, count, time FROM segments WHERE first_offset <= ? ORDER BY first_offset DESC LIMIT 1",
        middle,
      )
      .one();
    if (time >= timeMs) high = first_offset;
    else low = first_offset + count;
  }
  return low;
}

/**
 * Up to where one step of a trim removes (null: nothing), and what comes after it.
 *
 * @param bytesEver the end of the log, as `bytes_before` counts
 */
export function oldestToKeep(
  sql: SqlStorage,
  bytesEver: number,
  keep: Keep,
): { readonly beforeOffset: number | null; readonly next: "nothing" | "more" | "blocked" } {
  const segments = sql
    .exec<Segment>(
      "SELECT first_offset, count, time, bytes_before FROM segments ORDER BY first_offset LIMIT ?",
      MAX_STEP_SEGMENTS + 1,
    )
    .toArray();
  const [oldest] = segments;
  let beforeOffset: number | null = null;
  for (const [index, segment] of segments.entries()) {
    const isNewest = index === segments.length - 1 && index < MAX_STEP_SEGMENTS;
    const isTooMuch = !isNewest && bytesEver - segment.bytes_before > keep.bytes;
    if (segment.time >= keep.sinceMs && !isTooMuch) return { beforeOffset, next: "nothing" };
    const end = segment.first_offset + segment.count;
    if (end > keep.fromOffset) return { beforeOffset, next: "blocked" };
    const stepBytes = segment.bytes_before - (oldest?.bytes_before ?? 0);
    if (index === MAX_STEP_SEGMENTS || stepBytes > MAX_STEP_BYTES) return { beforeOffset, next: "more" };
    beforeOffset = end;
  }
  return { beforeOffset, next: "nothing" };
}
