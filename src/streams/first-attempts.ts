import type { DelivererApi } from "../delivery/contract.ts";
import type { DeliveryRef, DeliveryResult } from "../delivery/outcome.ts";
import { deferAll } from "../delivery/settlement.ts";
import { describeError, log } from "../log.ts";
import type { DeliveryGroup, Work } from "./contract.ts";
import { type LogEntry, storedMessage } from "./segment-log.ts";

/** A fan-out beyond this is work for the queue, in chunks, so that it does not stand in the way of small ones. */
const MAX_DIRECT_TARGETS = 50;
/** One call to the deliverer. */
const MAX_GROUP_TARGETS = 64;
const MAX_GROUP_BYTES = 4 * 1024 * 1024;
/** Targets in calls that have not come back; beyond it commits wait, which is what slows publishers down. */
const MAX_TARGETS_OUT = 256;
const MAX_BYTES_OUT = 32 * 1024 * 1024;
/** A call that failed as a whole made no known attempt. */
const RETRY_CALL_MS = 3_000;

/** Hands committed messages to the deliverer, a group a call, and applies what comes back. */
export class FirstAttempts {
  readonly #deliverer: DelivererApi;
  readonly #apply: (results: readonly DeliveryResult[]) => void;
  #out = 0;
  #bytesOut = 0;
  #waiting: (() => void) | null = null;

  constructor(deliverer: DelivererApi, apply: (results: readonly DeliveryResult[]) => void) {
    this.#deliverer = deliverer;
    this.#apply = apply;
  }

  /** Resolves when there is room for another group: how many targets it may have. */
  async room(): Promise<number> {
    if (this.#out >= MAX_TARGETS_OUT || this.#bytesOut >= MAX_BYTES_OUT) {
      await new Promise<void>((resolve) => (this.#waiting = resolve));
    }
    return Math.max(1, MAX_TARGETS_OUT - this.#out);
  }

  /**
   * Starts the first attempts of a commit. `claim` is told of each message that goes out; the deliveries returned
   * are those of large fan-outs, to be put on the queue.
   */
  start(
    stream: string,
    entries: readonly LogEntry[],
    bodies: readonly Uint8Array[],
    claim: (offset: number, endpointIds: readonly string[]) => void,
  ): DeliveryRef[] {
    const queued: DeliveryRef[] = [];
    let group: Work[] = [];
    let targets = 0;
    let bytes = 0;
    const send = (): void => {
      if (group.length > 0) void this.#deliver({ stream, work: group }, targets, bytes);
      group = [];
      targets = 0;
      bytes = 0;
    };
    entries.forEach((entry, index) => {
      const { offset, endpointIds } = entry;
      if (endpointIds.length === 0) return;
      if (endpointIds.length > MAX_DIRECT_TARGETS) {
        queued.push(...endpointIds.map((endpointId) => ({ offset, endpointId })));
        return;
      }
      const body = bodies[index] ?? new Uint8Array();
      if (targets + endpointIds.length > MAX_GROUP_TARGETS || bytes + body.length > MAX_GROUP_BYTES) send();
      claim(offset, endpointIds);
      group.push(workOf(entry, body));
      targets += endpointIds.length;
      bytes += body.length;
    });
    send();
    return queued;
  }

  /** Starts attempts of work that is claimed already: heads of lanes whose turn has come. */
  send(stream: string, work: readonly Work[]): void {
    let group: Work[] = [];
    let bytes = 0;
    for (const one of work) {
      const size = one.message.body.length;
      if (group.length > 0 && (group.length >= MAX_GROUP_TARGETS || bytes + size > MAX_GROUP_BYTES)) {
        void this.#deliver({ stream, work: group }, group.length, bytes);
        group = [];
        bytes = 0;
      }
      group.push(one);
      bytes += size;
    }
    if (group.length > 0) void this.#deliver({ stream, work: group }, group.length, bytes);
  }

  async #deliver(group: DeliveryGroup, targets: number, bytes: number): Promise<void> {
    this.#out += targets;
    this.#bytesOut += bytes;
    let results: readonly DeliveryResult[];
    try {
      results = await this.#deliverer.deliver(group);
    } catch (error) {
      log("warn", "deliverer.failed", { stream: group.stream, error: describeError(error) });
      results = deferAll(group.work, Date.now() + RETRY_CALL_MS);
    }
    this.#out -= targets;
    this.#bytesOut -= bytes;
    this.#waiting?.();
    this.#waiting = null;
    this.#apply(results);
  }
}

function workOf(entry: LogEntry, body: Uint8Array): Work {
  const { offset, endpointIds } = entry;
  return {
    message: storedMessage(entry, body),
    claims: endpointIds.map((endpointId) => ({ offset, endpointId, attemptNumber: 1 })),
  };
}
