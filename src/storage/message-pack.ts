import { timeOfId } from "../ids.ts";
import type { Attributes, EventContext } from "../messages/message.ts";
import type { MessageEntry } from "./history-row.ts";

/** What a pack keeps of a message. The targets are absent where they are too many; `matched` counts them all. */
export type PackableMessage = {
  readonly id: string;
  readonly contentType: string;
  readonly attributes?: Attributes;
  readonly event?: EventContext;
  readonly size: number;
  readonly matched: number;
  readonly endpointIds?: readonly string[];
  readonly orderedIds?: readonly string[];
};

/** Messages of one stream whose offsets follow one another, as a row of `message_packs`. */
export type MessagePack = {
  readonly firstOffset: number;
  readonly count: number;
  readonly firstTimeMs: number;
  /** Of the newest. */
  readonly timeMs: number;
  readonly indexedIds: number;
  readonly json: string;
};

/** A message that is found by a row of `message_ids`. */
export type IndexedId = { readonly id: string; readonly timeMs: number; readonly offset: number };

/**
 * `[id, ms since the pack's oldest, content type, bytes, targets, attributes, event, matched]`, where content type and
 * targets are indexes, and what is as usual at the end is left out: no attributes, no event, as many matched as targets.
 */
type PackedMessage = readonly [
  id: string, afterMs: number, type: number, size: number, targets: number, attributes?: Attributes | 0, event?: EventContext | 0, matched?: number,
];

type PackJson = {
  readonly types: readonly string[];
  readonly targets: readonly (readonly string[])[];
  /** Endpoints that were attempted for targets that are none themselves. */
  readonly takers: readonly string[];
  readonly messages: readonly PackedMessage[];
};

/** The newest message of a pack is at most this much newer than its oldest. */
export const PACK_SPAN_MS = 1_000;
/** A list reads a few packs to show a page: they stay small beside the 2 MB that a row may have. */
const MAX_PACK_UNITS = 60_000;
/** A row of D1 may have 2 MB. A message with more beside its bytes than this is shown without that. */
const MAX_TAIL_UNITS = 500_000;
/** How far from the time in its id a message is looked for: machines' clocks differ, and a commit may have to wait. */
const ID_EARLY_MS = 1_000;
const ID_LATE_MS = 3_000;

/** The times at which a message of this id was committed, if its id leads to it; null when only `message_ids` does. */
export function timesById(id: string): { readonly fromMs: number; readonly toMs: number } | null {
  const madeAtMs = timeOfId(id);
  return madeAtMs === null ? null : { fromMs: madeAtMs - ID_EARLY_MS, toMs: madeAtMs + ID_LATE_MS };
}

function isFoundByTime(id: string, timeMs: number): boolean {
  const times = timesById(id);
  return times !== null && timeMs >= times.fromMs && timeMs <= times.toMs;
}

/** Packs messages of one stream in the order of their offsets. */
export class MessagePacker {
  readonly #takers: readonly string[];
  readonly #packs: MessagePack[] = [];
  readonly #ids: IndexedId[] = [];
  #open: OpenPack | null = null;

  /** @param takers endpoints that were attempted for targets that are none themselves, such as the member of a queue */
  constructor(takers: readonly string[] = []) {
    this.#takers = takers;
  }

  add(message: PackableMessage, offset: number, timeMs: number): void {
    if (this.#open !== null && !this.#open.takes(offset, timeMs)) this.#close();
    this.#open ??= new OpenPack(offset, timeMs);
    const isIndexed = !isFoundByTime(message.id, timeMs);
    if (isIndexed) this.#ids.push({ id: message.id, timeMs, offset });
    this.#open.add(message, timeMs, isIndexed);
  }

  /** All of them, and the ids that need a row of their own. */
  finish(): { readonly packs: readonly MessagePack[]; readonly ids: readonly IndexedId[] } {
    this.#close();
    return { packs: this.#packs, ids: this.#ids };
  }

  #close(): void {
    if (this.#open !== null) this.#packs.push(this.#open.close(this.#takers));
    this.#open = null;
  }
}

class OpenPack {
  readonly #firstOffset: number;
  readonly #firstTimeMs: number;
  readonly #types = new Map<string, number>();
  readonly #targets = new Map<string, number>();
  #targetsJson = "";
  #messages = "";
  #timeMs: number;
  #count = 0;
  #indexedIds = 0;

  constructor(firstOffset: number, firstTimeMs: number) {
    this.#firstOffset = firstOffset;
    this.#firstTimeMs = firstTimeMs;
    this.#timeMs = firstTimeMs;
  }

  /** Whether the message may be the next one of this pack. */
  takes(offset: number, timeMs: number): boolean {
    return (
      offset === this.#firstOffset + this.#count &&
      timeMs >= this.#timeMs && timeMs - this.#firstTimeMs <= PACK_SPAN_MS &&
      this.#messages.length + this.#targetsJson.length < MAX_PACK_UNITS
    );
  }

  add(message: PackableMessage, timeMs: number, isIndexed: boolean): void {
    const { id, contentType, size } = message;
    const type = indexOf(this.#types, contentType);
    const head = `[${JSON.stringify(id)},${timeMs - this.#firstTimeMs},${type},${size},${this.#targetsOf(message)}`;
    this.#messages += `${this.#count === 0 ? "" : ","}${head}${tailOf(message)}]`;
    this.#timeMs = timeMs;
    this.#count++;
    if (isIndexed) this.#indexedIds++;
  }

  close(takers: readonly string[]): MessagePack {
    const types = JSON.stringify([...this.#types.keys()]);
    return {
      firstOffset: this.#firstOffset,
      count: this.#count,
      firstTimeMs: this.#firstTimeMs,
      timeMs: this.#timeMs,
      indexedIds: this.#indexedIds,
      json: `{"types":${types},"targets":[${this.#targetsJson}],"takers":${JSON.stringify(takers)},"messages":[${this.#messages}]}`,
    };
  }

  /** Most messages of a pack have the same targets: each list is in it once. */
  #targetsOf({ endpointIds = [], orderedIds = [] }: PackableMessage): number {
    const [only] = endpointIds;
    const key = endpointIds.length === 1 && orderedIds.length === 0 && only !== undefined ? only : `${endpointIds.join(" ")} ${orderedIds.join(" ")}`;
    const known = this.#targets.get(key);
    if (known !== undefined) return known;
    this.#targetsJson += `${this.#targets.size === 0 ? "" : ","}${JSON.stringify([...endpointIds, ...orderedIds])}`;
    return indexOf(this.#targets, key);
  }
}

function indexOf(known: Map<string, number>, text: string): number {
  const index = known.get(text) ?? known.size;
  if (index === known.size) known.set(text, index);
  return index;
}

/** What most messages do not have. */
function tailOf({ attributes, event, matched, endpointIds = [], orderedIds = [] }: PackableMessage): string {
  const isCut = matched !== endpointIds.length + orderedIds.length;
  if (attributes === undefined && event === undefined && !isCut) return "";
  const tail = `,${JSON.stringify(attributes ?? 0)},${JSON.stringify(event ?? 0)}`;
  return `${tail.length > MAX_TAIL_UNITS ? ",0,0" : tail}${isCut ? `,${matched}` : ""}`;
}

/** A pack as it is read, with what was expunged of it: a JSON array of `[offset, time]`. */
export type MessagePackRow = {
  readonly time: number;
  readonly stream: string;
  readonly first_offset: number;
  readonly first_time: number;
  readonly topic: string;
  readonly messages: string;
  readonly expunged: string;
};

/** The messages of a pack, in order. */
export function messagesOf(row: MessagePackRow): MessageEntry[] {
  const { types, targets, takers, messages }: PackJson = JSON.parse(row.messages);
  const expunged = new Map<number, number>(JSON.parse(row.expunged));
  return messages.map(([id, afterMs, type, size, list, attributes, event, matched], index) => ({
    id,
    stream: row.stream,
    topic: row.topic,
    offset: row.first_offset + index,
    timeMs: row.first_time + afterMs,
    contentType: types[type] ?? "",
    size,
    attributes: attributes === undefined || attributes === 0 ? {} : attributes,
    event: event === undefined || event === 0 ? null : event,
    matched: matched ?? targets[list]?.length ?? 0,
    expungedAtMs: expunged.get(row.first_offset + index) ?? null,
    targets: targets[list] ?? [],
    takers,
  }));
}
