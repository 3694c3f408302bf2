import { isJsonMode, isText, shown } from "./content.ts";
import { nextCursor } from "./cursor.ts";
import { formatOffset } from "./offset.ts";
import type { LogRead, ReadableLog } from "./readable-log.ts";
import { controlEvent, dataEvent, wholeCharacters } from "./sse.ts";

type GoodRead = LogRead & { readonly ok: true };

export type FeedWorld = { readonly now: () => number; readonly random: () => number };

/** A control event at least this often, which also shows that somebody is there. */
const WAIT_MS = 15_000;
/** Protocol §8.2: then the client comes again, perhaps to another machine. */
const LIFETIME_MS = 60_000;

/** The SSE events of a reader that follows a log: bounded reads, one after the other, at the reader's pace. */
export class LiveFeed {
  readonly #log: ReadableLog;
  readonly #world: FeedWorld;
  readonly #endAtMs: number;
  readonly #cursor: string | undefined;
  #ahead: GoodRead | null;
  #position: number;
  /** The tail, when the bytes before it are the start of a character whose rest is still to come. */
  #heldBackAt: number | null = null;
  #ended = false;

  /** @param first what was read to know that there is something to follow */
  constructor(log: ReadableLog, first: GoodRead, cursor: string | undefined, world: FeedWorld) {
    this.#log = log;
    this.#ahead = first;
    this.#position = first.stretch.from;
    this.#cursor = cursor;
    this.#world = world;
    this.#endAtMs = world.now() + LIFETIME_MS;
  }

  /** The next events; null when the feed is over. */
  async next(): Promise<string | null> {
    if (this.#ended) return null;
    const read = this.#ahead ?? (await this.#read());
    this.#ahead = null;
    if (read === null || !read.ok) {
      this.#ended = true;
      return null;
    }
    return this.#events(read);
  }

  async #read(): Promise<LogRead | null> {
    const leftMs = this.#endAtMs - this.#world.now();
    if (leftMs <= 0) return null;
    const waitMs = Math.min(WAIT_MS, leftMs);
    if (this.#heldBackAt === null) return this.#log.read(this.#position, waitMs);
    const more = await this.#log.read(this.#heldBackAt, waitMs);
    return more.ok ? this.#log.read(this.#position, 0) : more;
  }

  #events({ info, stretch }: GoodRead): string {
    const atTail = stretch.next === info.tail;
    const isOver = info.closed && atTail;
    const cutsCharacters = isText(info.contentType) && !isJsonMode(info.contentType) && !isOver;
    const whole = cutsCharacters ? wholeCharacters(stretch.bytes) : stretch.bytes.length;
    const heldBack = stretch.bytes.length - whole;
    this.#position = stretch.next - heldBack;
    this.#heldBackAt = heldBack > 0 && atTail ? info.tail : null;
    this.#ended = isOver;
    const streamNextOffset = formatOffset(this.#position);
    const { now, random } = this.#world;
    const control = isOver
      ? { streamNextOffset, streamClosed: true as const }
      : { streamNextOffset, streamCursor: nextCursor(this.#cursor, now(), random()), ...(atTail ? { upToDate: true as const } : {}) };
    const bytes = stretch.bytes.subarray(0, whole);
    return (bytes.length > 0 ? dataEvent(shown(bytes, info.contentType), isText(info.contentType)) : "") + controlEvent(control);
  }
}
