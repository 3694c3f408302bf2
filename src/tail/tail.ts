import { describeError, log } from "../log.ts";
import type { LogRead, ReadableLog } from "../streams/protocol/readable-log.ts";
import type { TailCursor } from "./cursor.ts";
import { HandOver, NOTHING } from "./hand-over.ts";
import { Turns } from "./turns.ts";

/** A topic that is followed; `number` stands for it in cursors. */
export type TailedTopic = { readonly number: number; readonly name: string };

export type TailWorld = {
  readonly openLog: (topic: string) => ReadableLog;
  /** Topics to be followed that appeared since it was asked last; null when they are too many. */
  readonly newTopics: () => Promise<readonly TailedTopic[] | null>;
  /** The text of a cursor, which must hold no line break. */
  readonly cursorText: (cursor: TailCursor) => Promise<string>;
  readonly now: () => number;
  readonly pause: (ms: number) => Promise<void>;
  /** Keeps what runs beside the response. */
  readonly background: (work: Promise<void>) => void;
};

/** What was read of one topic: the envelopes as JSON with their offsets, or a stretch that is not there any more. */
type Batch =
  | { readonly topic: TailedTopic; readonly kind: "messages"; readonly events: readonly { readonly offset: number; readonly json: string }[] }
  | { readonly topic: TailedTopic; readonly kind: "gap"; readonly from: number; readonly to: number };

/** Where the reading of a topic is; one that is behind need not wait for messages. */
type Place = { readonly topic: TailedTopic; from: number | { readonly sinceMs: number }; isBehind: boolean };

const WAIT_MS = 15_000;
const KEEP_ALIVE_MS = 15_000;
const NEW_TOPICS_INTERVAL_MS = 2_000;
const FAILED_PAUSE_MS = 1_000;
/** Then the client comes again, perhaps to another machine. */
const LIFETIME_MS = 10 * 60_000;
/** A request may make 10,000 calls. */
const MAX_READS = 8_000;
const RETRY_MS = 1_000;
/** Topics that are read at once to catch up: what they bring is memory until the client takes it. */
const MAX_CATCHING_UP = 8;

/** The server-sent events of many topics at once, each message once and in the order of its topic. */
export class Tail {
  readonly #world: TailWorld;
  readonly #sinceMs: number;
  readonly #positions: Map<number, number>;
  readonly #batches = new HandOver<Batch>();
  readonly #catchingUp = new Turns(MAX_CATCHING_UP);
  readonly #endAtMs: number;
  #readsLeft = MAX_READS;
  #greeted = false;

  constructor(cursor: TailCursor, topics: readonly TailedTopic[], world: TailWorld) {
    this.#world = world;
    this.#sinceMs = cursor.sinceMs;
    this.#positions = new Map(cursor.positions);
    this.#endAtMs = world.now() + LIFETIME_MS;
    this.#followAll(topics);
    world.background(this.#watchForTopics());
  }

  /** The next events as text; null when it is over. Call it again once the client took what was returned. */
  async next(): Promise<string | null> {
    if (!this.#greeted) {
      this.#greeted = true;
      // An id without data is no event, but what a reconnecting client sends.
      return `retry: ${RETRY_MS}\nid: ${await this.#cursorText()}\n\n`;
    }
    const batch = await this.#batches.take(KEEP_ALIVE_MS);
    if (batch === null) return null;
    return batch === NOTHING ? ": keep-alive\n\n" : this.#eventsOf(batch);
  }

  /** The client left. */
  end(): void {
    this.#batches.close();
  }

  /** Each event's id is the place after it: of its topic, and of every other as of what was sent before. */
  async #eventsOf(batch: Batch): Promise<string> {
    const { number, name } = batch.topic;
    if (batch.kind === "gap") {
      this.#positions.set(number, batch.to);
      const data = JSON.stringify({ topic: name, from: batch.from, to: batch.to });
      return `event: gap\nid: ${await this.#cursorText()}\ndata: ${data}\n\n`;
    }
    let text = "";
    for (const { offset, json } of batch.events) {
      this.#positions.set(number, offset + 1);
      // JSON has no line break outside of its own escapes: nothing in it can end the line, or begin another field.
      text += `id: ${await this.#cursorText()}\ndata: ${json}\n\n`;
    }
    return text;
  }

  #cursorText(): Promise<string> {
    return this.#world.cursorText({ sinceMs: this.#sinceMs, positions: this.#positions });
  }

  #followAll(topics: readonly TailedTopic[]): void {
    for (const topic of topics) this.#world.background(this.#follow(topic));
  }

  async #watchForTopics(): Promise<void> {
    const { newTopics, now, pause } = this.#world;
    while (!this.#batches.isClosed) {
      await pause(NEW_TOPICS_INTERVAL_MS);
      if (now() >= this.#endAtMs) this.#batches.close();
      if (this.#batches.isClosed) return;
      try {
        const found = await newTopics();
        if (found === null) this.#batches.close();
        else this.#followAll(found);
      } catch (error) {
        log("warn", "tail.topics-unreadable", { error: describeError(error) });
      }
    }
  }

  async #follow(topic: TailedTopic): Promise<void> {
    const source = this.#world.openLog(topic.name);
    const place: Place = { topic, from: this.#positions.get(topic.number) ?? { sinceMs: this.#sinceMs }, isBehind: true };
    while (!this.#batches.isClosed) {
      if (this.#readsLeft-- <= 0) return this.#batches.close();
      if (place.isBehind) await this.#catchingUp.run(async () => this.#advance(place, await this.#read(source, place, 0)));
      else await this.#advance(place, await this.#read(source, place, WAIT_MS));
    }
  }

  /** Hands over what was read, and moves on once it was taken. */
  async #advance(place: Place, read: LogRead | null): Promise<void> {
    if (read === null || (!read.ok && read.code !== "trimmed" && read.code !== "beyond-head")) {
      return this.#world.pause(FAILED_PAUSE_MS);
    }
    const { topic, from: asked } = place;
    if (!read.ok) {
      place.from = read.code === "trimmed" ? read.earliest : read.tail;
      if (typeof asked === "number") await this.#batches.offer({ topic, kind: "gap", from: asked, to: place.from });
      return;
    }
    const { from, next, bytes } = read.stretch;
    place.from = next;
    place.isBehind = next < read.info.tail;
    if (next > from) await this.#batches.offer({ topic, kind: "messages", events: eventsIn(bytes, from) });
  }

  /** Null when the log did not answer: an object that is moved or restarted does a moment later. */
  async #read(source: ReadableLog, { from }: Place, waitMs: number): Promise<LogRead | null> {
    try {
      return await source.read(from, waitMs);
    } catch (error) {
      log("warn", "tail.read-failed", { error: describeError(error) });
      return null;
    }
  }
}

/** The envelopes of a stretch, which are comma-joined; the first has the offset `first`. */
function eventsIn(bytes: Uint8Array, first: number): { offset: number; json: string }[] {
  const envelopes: unknown[] = JSON.parse(`[${new TextDecoder().decode(bytes)}]`);
  return envelopes.map((envelope, index) => ({ offset: first + index, json: JSON.stringify(envelope) }));
}
