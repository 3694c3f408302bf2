import type { Append, Appended, AppendResult } from "./contract.ts";

/** Makes one call to a stream's object on behalf of the request that was given this. */
export type CallAppend = (appends: readonly Append[]) => Promise<AppendResult>;

/** What a request brings: its own way to the stream, for the I/O of one request can not be used by another. */
export type AppendingRequest = {
  readonly call: CallAppend;
  /** Keeps what others wait for going when this request's caller leaves. */
  readonly inBackground: (promise: Promise<unknown>) => void;
};

/** What comes while a call is under way waits for its end, but no longer than this: the object may be far away. */
const MAX_WAIT_MS = 20;
/** What one call carries at most: it is all taken, or all refused. */
const MAX_SHARED_APPENDS = 128;
const MAX_SHARED_BYTES = 1024 * 1024;
/** A call without an answer after this long is taken for dead, with the request that made it. */
const GIVE_UP_MS = 10_000;

/** Appends that wait for a call to end, so as to share the next; its first request makes that call. */
type Group = {
  readonly appends: Append[];
  bytes: number;
  readonly done: PromiseWithResolvers<AppendResult>;
  readonly turn: PromiseWithResolvers<void>;
};

type Lane = { calls: number; lastCallAtMs: number; waiting: Group | null };

/**
 * The appends of one isolate. A call to an object costs more than what it carries, so under load requests share calls:
 * a few go out by themselves, and while those are under way the others gather, and the first of them takes all along.
 * A request that waits for another one's call keeps a timer of its own: without any, the runtime takes it for hung.
 */
export class SharedAppends {
  readonly #lanes = new Map<string, Lane>();
  readonly #now: () => number;

  constructor(now: () => number) {
    this.#now = now;
  }

  /** As `StreamApi.append`. Rejects also when the request that made the shared call ended before its answer came. */
  async append(stream: string, appends: readonly Append[], request: AppendingRequest): Promise<AppendResult> {
    const lane = this.#laneOf(stream);
    if (lane.waiting === null && !this.#isCalling(lane)) return this.#call(stream, lane, () => request.call(appends));
    const bytes = appends.reduce((sum, { message }) => sum + message.body.length, 0);
    const group = lane.waiting;
    if (group !== null && group.appends.length + appends.length <= MAX_SHARED_APPENDS && group.bytes + bytes <= MAX_SHARED_BYTES) {
      const start = group.appends.push(...appends) - appends.length;
      group.bytes += bytes;
      return partOf(await guarded(group.done.promise), start, appends.length);
    }
    if (group !== null || appends.length > MAX_SHARED_APPENDS) return this.#call(stream, lane, () => request.call(appends));
    return this.#lead(stream, lane, { appends: [...appends], bytes, done: Promise.withResolvers(), turn: Promise.withResolvers() }, request);
  }

  async #lead(stream: string, lane: Lane, group: Group, { call, inBackground }: AppendingRequest): Promise<AppendResult> {
    const own = group.appends.length;
    lane.waiting = group;
    group.done.promise.catch(() => undefined); // whoever waits for it has it rejected too
    const leading = (async () => {
      await Promise.race([group.turn.promise, pause(MAX_WAIT_MS)]);
      if (lane.waiting === group) lane.waiting = null;
      return this.#call(stream, lane, () => call(group.appends));
    })();
    leading.then(group.done.resolve, group.done.reject);
    inBackground(group.done.promise);
    return partOf(await leading, 0, own);
  }

  async #call(stream: string, lane: Lane, call: () => Promise<AppendResult>): Promise<AppendResult> {
    lane.calls++;
    lane.lastCallAtMs = this.#now();
    try {
      return await call();
    } finally {
      lane.calls--;
      lane.waiting?.turn.resolve();
      if (lane.calls === 0 && lane.waiting === null) this.#lanes.delete(stream);
    }
  }

  /** A call whose request was cut off never ends, and is not waited for without end. */
  #isCalling({ calls, lastCallAtMs }: Lane): boolean {
    return calls > 0 && this.#now() - lastCallAtMs < GIVE_UP_MS;
  }

  #laneOf(stream: string): Lane {
    const known = this.#lanes.get(stream);
    if (known !== undefined) return known;
    const lane: Lane = { calls: 0, lastCallAtMs: 0, waiting: null };
    this.#lanes.set(stream, lane);
    return lane;
  }
}

function partOf(result: AppendResult, start: number, count: number): AppendResult {
  if (!result.ok || (start === 0 && result.appended.length === count)) return result;
  const appended: readonly Appended[] = result.appended.slice(start, start + count);
  return { ok: true, appended };
}

/** The promise, while a timer of this request runs; rejects when it takes too long. */
async function guarded<Result>(promise: Promise<Result>): Promise<Result> {
  const late = Promise.withResolvers<never>();
  const timer = setTimeout(() => late.reject(new Error("the call that was shared gave no answer")), GIVE_UP_MS);
  try {
    return await Promise.race([promise, late.promise]);
  } finally {
    clearTimeout(timer);
  }
}

function pause(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}
