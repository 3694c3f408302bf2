import type { Append, AppendResult } from "./contract.ts";

/** What a request brings: its own way to the stream, for the I/O of one request can not be used by another. */
export type AppendingRequest = {
  readonly call: (appends: readonly Append[]) => Promise<AppendResult>;
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

type Member = Pick<PromiseWithResolvers<AppendResult>, "resolve" | "reject"> & { readonly count: number };

/** Appends that wait for a call to end, so as to share the next one. */
type Group = { readonly appends: Append[]; bytes: number; readonly members: Member[]; readonly turn: PromiseWithResolvers<void> };

type Lane = { calls: number; lastCallAtMs: number; waiting: Group | null };

/**
 * The appends of one isolate. A call to an object costs more than what it carries, so under load requests share calls:
 * while one is under way the others gather, and the first of them takes all along with the next. A request that waits
 * for another one's call keeps a timer of its own: without any, the runtime takes it for hung.
 */
export class SharedAppends {
  readonly #lanes = new Map<string, Lane>();
  readonly #now: () => number;

  constructor(now: () => number) {
    this.#now = now;
  }

  /** As `StreamApi.append`. Rejects also when the request that made the shared call ended before its answer came. */
  append(stream: string, appends: readonly Append[], request: AppendingRequest): Promise<AppendResult> {
    const lane = this.#laneOf(stream);
    const group = lane.waiting;
    if (group === null && !this.#isCalling(lane)) return this.#call(stream, lane, () => request.call(appends));
    const bytes = appends.reduce((sum, { message }) => sum + message.body.length, 0);
    if (group !== null && hasRoom(group, appends, bytes)) return join(group, appends, bytes);
    if (group !== null) return this.#call(stream, lane, () => request.call(appends));
    return this.#lead(stream, lane, { appends: [...appends], bytes, members: [], turn: Promise.withResolvers() }, request);
  }

  async #lead(stream: string, lane: Lane, group: Group, request: AppendingRequest): Promise<AppendResult> {
    const own = group.appends.length;
    lane.waiting = group;
    const leading = this.#callInTurn(stream, lane, group, request);
    request.inBackground(leading.then((result) => answer(group, own, result), (error: unknown) => refuse(group, error)));
    return partOf(await leading, 0, own);
  }

  async #callInTurn(stream: string, lane: Lane, group: Group, { call }: AppendingRequest): Promise<AppendResult> {
    await Promise.race([group.turn.promise, pause(MAX_WAIT_MS)]);
    if (lane.waiting === group) lane.waiting = null;
    return this.#call(stream, lane, () => call(group.appends));
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

function hasRoom(group: Group, appends: readonly Append[], bytes: number): boolean {
  return group.appends.length + appends.length <= MAX_SHARED_APPENDS && group.bytes + bytes <= MAX_SHARED_BYTES;
}

async function join(group: Group, appends: readonly Append[], bytes: number): Promise<AppendResult> {
  const { promise, resolve, reject } = Promise.withResolvers<AppendResult>();
  group.appends.push(...appends);
  group.bytes += bytes;
  group.members.push({ count: appends.length, resolve, reject });
  const timer = setTimeout(() => reject(new Error("the call that was shared gave no answer")), GIVE_UP_MS);
  try {
    return await promise;
  } finally {
    clearTimeout(timer);
  }
}

/** Tells each member its part of the result; the first `start` messages are the leader's. */
function answer({ members }: Group, start: number, result: AppendResult): void {
  for (const { count, resolve } of members) {
    resolve(partOf(result, start, count));
    start += count;
  }
}

function refuse({ members }: Group, error: unknown): void {
  for (const { reject } of members) reject(error);
}

function partOf(result: AppendResult, start: number, count: number): AppendResult {
  return result.ok ? { ok: true, appended: result.appended.slice(start, start + count) } : result;
}

function pause(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}
