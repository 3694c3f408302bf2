import type { HistoryAttempt } from "../streams/history-records.ts";
import type { AttemptEntry } from "./history-row.ts";

/** Attempts at one endpoint for one stream that began in the same second, as a row of `attempt_packs`. */
export type AttemptPack = {
  readonly endpointId: string;
  /** The second, ms. */
  readonly timeMs: number;
  readonly number: number;
  readonly firstOffset: number;
  readonly lastOffset: number;
  readonly count: number;
  readonly failed: number;
  readonly durationsJson: string;
  readonly json: string;
};

/**
 * `[offset, ms into the second, duration, status or 0, message id, error or 0, response body, target or 0]`, where what
 * is as usual at the end is left out: no error, an empty body, the endpoint itself as target.
 */
type PackedAttempt = readonly [
  offset: number, afterMs: number, durationMs: number, statusCode: number, messageId: string, error?: string | 0, responseBody?: string, target?: string | 0,
];

/** Where the response body of an attempt is. */
export const RESPONSE_BODY_INDEX = 6;

export const PACK_SECOND_MS = 1_000;
/** As packs of messages: a list reads several to show a page. */
const MAX_PACK_UNITS = 60_000;
/** What waits while D1 does not answer. Beyond it history lists fewer attempts than were made. */
const MAX_WAITING = 50_000;
const MAX_WAITING_UNITS = 8_000_000;
/** How far from its message's time a first attempt is looked for. */
const EARLY_MS = 1_000;
const AT_ONCE_MS = 2_000;

/** Whether an attempt is found by the time of its message: it began at once. */
export function isFoundByMessage(messageTimeMs: number, startedAtMs: number): boolean {
  return startedAtMs >= messageTimeMs - EARLY_MS && startedAtMs <= messageTimeMs + AT_ONCE_MS;
}

/** The seconds in which attempts that are found by the time of their message began, from and to. */
export function secondsOfFirstAttempts(messageTimeMs: number): readonly [fromMs: number, toMs: number] {
  return [secondOf(messageTimeMs - EARLY_MS), secondOf(messageTimeMs + AT_ONCE_MS)];
}

/** The second a time is in, ms. */
export function secondOf(timeMs: number): number {
  return timeMs - (timeMs % PACK_SECOND_MS);
}

/** The middle of the class a duration is counted in: classes of at most a tenth of their value, so within 5 %. */
export function durationClass(durationMs: number): number {
  const width = durationMs < 100 ? 1 : durationMs < 1_000 ? 10 : durationMs < 10_000 ? 100 : 1_000;
  return Math.floor(durationMs / width) * width + Math.floor(width / 2);
}

type OpenPack = Omit<AttemptPack, "number" | "durationsJson" | "json" | "firstOffset" | "lastOffset" | "count" | "failed"> & {
  firstOffset: number;
  lastOffset: number;
  count: number;
  failed: number;
  readonly durations: Map<number, number>;
  text: string;
};

/** Packs attempts of one stream as they come, in memory and bounded. */
export class AttemptPacker {
  /** Those not full, by endpoint and second. */
  #open = new Map<string, Map<number, OpenPack>>();
  #full: OpenPack[] = [];
  #waiting = 0;
  #units = 0;

  get isEmpty(): boolean {
    return this.#waiting === 0;
  }

  /** What finds no room is left out. */
  add(attempt: HistoryAttempt): void {
    if (this.#waiting >= MAX_WAITING || this.#units >= MAX_WAITING_UNITS) return;
    const { offset, endpointId: target, by = target, record } = attempt;
    const pack = this.#packOf(by, secondOf(record.startedAtMs), offset);
    const text = packed(attempt, by, record.startedAtMs - pack.timeMs);
    const duration = durationClass(wholeMs(record.durationMs));
    pack.text += `${pack.count === 0 ? "" : ","}${text}`;
    pack.firstOffset = Math.min(pack.firstOffset, offset);
    pack.lastOffset = Math.max(pack.lastOffset, offset);
    pack.count++;
    if (record.error !== null) pack.failed++;
    pack.durations.set(duration, (pack.durations.get(duration) ?? 0) + 1);
    this.#waiting++;
    this.#units += text.length;
    if (pack.text.length < MAX_PACK_UNITS) return;
    this.#full.push(pack);
    this.#open.get(by)?.delete(pack.timeMs);
  }

  /** Forgets what was answered to attempts at this message. */
  forgetResponses(offset: number): void {
    const packs = [...this.#full, ...[...this.#open.values()].flatMap((open) => [...open.values()])];
    for (const pack of packs) if (holds(pack, offset)) pack.text = withoutResponses(`[${pack.text}]`, offset).slice(1, -1);
  }

  /** Takes all of them out; `nextNumber` gives each a number that no other of the stream has. */
  take(nextNumber: () => number): AttemptPack[] {
    const open = [...this.#open.values()].flatMap((packs) => [...packs.values()]);
    const packs = [...this.#full, ...open].map(({ durations, text, ...pack }) => ({
      ...pack,
      number: nextNumber(),
      durationsJson: JSON.stringify(Object.fromEntries(durations)),
      json: `[${text}]`,
    }));
    this.#open = new Map();
    this.#full = [];
    this.#waiting = 0;
    this.#units = 0;
    return packs;
  }

  #packOf(endpointId: string, timeMs: number, offset: number): OpenPack {
    let packs = this.#open.get(endpointId);
    if (packs === undefined) this.#open.set(endpointId, (packs = new Map()));
    let pack = packs.get(timeMs);
    if (pack === undefined) {
      pack = { endpointId, timeMs, firstOffset: offset, lastOffset: offset, count: 0, failed: 0, durations: new Map(), text: "" };
      packs.set(timeMs, pack);
    }
    return pack;
  }
}

function packed({ offset, messageId, endpointId: target, record }: HistoryAttempt, by: string, afterMs: number): string {
  const { durationMs, statusCode, error, responseBody } = record;
  const head = `[${offset},${afterMs},${wholeMs(durationMs)},${statusCode ?? 0},${JSON.stringify(messageId)}`;
  if (error === null && responseBody === "" && by === target) return `${head}]`;
  const said = error === null ? "0" : JSON.stringify(`${error.code}: ${error.detail}`.toWellFormed());
  const body = JSON.stringify(responseBody.toWellFormed());
  return `${head},${said},${body}${by === target ? "" : `,${JSON.stringify(target)}`}]`;
}

/** A pack without what was answered to attempts at this message. */
export function packWithoutResponses(pack: AttemptPack, offset: number): AttemptPack {
  return holds(pack, offset) ? { ...pack, json: withoutResponses(pack.json, offset) } : pack;
}

function holds({ firstOffset, lastOffset }: Pick<AttemptPack, "firstOffset" | "lastOffset">, offset: number): boolean {
  return firstOffset <= offset && lastOffset >= offset;
}

function withoutResponses(json: string, offset: number): string {
  const attempts: readonly PackedAttempt[] = JSON.parse(json);
  return JSON.stringify(attempts.map((attempt) => (attempt[0] === offset && attempt.length > RESPONSE_BODY_INDEX ? attempt.with(RESPONSE_BODY_INDEX, "") : attempt)));
}

/** A clock that was set back must not make it negative. */
function wholeMs(durationMs: number): number {
  return Math.max(0, Math.round(durationMs));
}

/** A pack, or one attempt of it, as it is read. */
export type AttemptPackRow = {
  readonly endpoint_id: string;
  readonly time: number;
  readonly stream: string;
  readonly topic: string;
  /** JSON array of them. */
  readonly attempts: string;
};

/** The attempts of a pack, in no order. */
export function attemptsOf(row: AttemptPackRow): AttemptEntry[] {
  const attempts: readonly PackedAttempt[] = JSON.parse(row.attempts);
  return attempts.map(([offset, afterMs, durationMs, statusCode, messageId, error = 0, responseBody = "", target = 0]) => ({
    stream: row.stream,
    offset,
    endpointId: row.endpoint_id,
    target: target === 0 ? row.endpoint_id : target,
    messageId,
    topic: row.topic,
    timeMs: row.time + afterMs,
    durationMs,
    statusCode: statusCode === 0 ? null : statusCode,
    error: error === 0 ? null : error,
    responseBody,
  }));
}
