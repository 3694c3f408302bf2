import type { DelivererApi } from "../delivery/contract.ts";
import type { DeliveryRef, DeliveryResult } from "../delivery/outcome.ts";
import { deferAll } from "../delivery/settlement.ts";
import { describeError, log as writeLog } from "../log.ts";
import { CircuitRows } from "./circuit-rows.ts";
import type { Claim, Work } from "./contract.ts";
import { type Circuit, FlowControl, type FlowOutcome } from "./flow-control.ts";
import type { Head } from "./lanes.ts";
import type { Outbox } from "./outbox.ts";
import { Parked } from "./parked.ts";
import type { LogEntry, SegmentLog } from "./segment-log.ts";

/** What the flow takes from its stream. */
export type FlowWorld = {
  readonly sql: SqlStorage;
  readonly log: SegmentLog;
  readonly outbox: Outbox;
  readonly deliverer: DelivererApi;
  readonly stream: () => string;
  readonly apply: (results: readonly DeliveryResult[]) => void;
  /** Tells the control plane of a circuit; null: it is closed. */
  readonly tell: (endpointId: string, circuit: Circuit | null) => Promise<void>;
  readonly inBackground: (promise: Promise<unknown>) => void;
};

/** More of one endpoint than this that are due at once flow through a window. */
const BURST = 32;
/** One call to the deliverer. */
const MAX_CALL_BYTES = 4 * 1024 * 1024;
/** Those that find no room among all that are under way are looked at again after this. */
const MIN_PAUSE_MS = 50;
/** A call that failed as a whole made no known attempt. */
const RETRY_CALL_MS = 3_000;

/** Parks the deliveries of endpoints that can not take them as they come, and lets them out as `FlowControl` says. */
export class FlowRunner {
  readonly #world: FlowWorld;
  readonly #control: FlowControl;
  readonly #parked: Parked;
  readonly #circuits: CircuitRows;
  /** By endpoint, the offsets of what was under way when it was released last, and still is. */
  readonly #fromBefore = new Map<string, Set<number>>();
  #timer: ReturnType<typeof setTimeout> | null = null;

  constructor(world: FlowWorld) {
    this.#world = world;
    this.#parked = new Parked(world.sql, world.outbox);
    this.#circuits = new CircuitRows(world.sql);
    this.#control = new FlowControl(Math.random, this.#circuits.open());
  }

  /** Of messages just committed, what goes out at once: the rest is parked. */
  admitFirst(entries: readonly LogEntry[], nowMs: number): readonly LogEntry[] {
    if (this.#control.allFree) return entries;
    return entries.map((entry) => {
      const metered = entry.endpointIds.filter((endpointId) => !this.#control.isFree(endpointId));
      if (metered.length === 0) return entry;
      this.#parked.first(entry, metered, nowMs);
      return { ...entry, endpointIds: entry.endpointIds.filter((endpointId) => this.#control.isFree(endpointId)) };
    });
  }

  /** Of deliveries whose time has come, those that go out; the rest is parked. */
  admit(refs: readonly DeliveryRef[], nowMs: number): readonly DeliveryRef[] {
    if (this.#control.allFree) return refs;
    return refs.filter((ref) => {
      if (this.#control.isFree(ref.endpointId)) return true;
      this.#parked.due(ref, nowMs);
      return false;
    });
  }

  /** The same for heads of lanes, which are claimed already. */
  admitHeads(refs: readonly Head[], nowMs: number): readonly Head[] {
    if (this.#control.allFree) return refs;
    return refs.filter((ref) => {
      if (this.#control.isFree(ref.endpointId)) return true;
      this.#world.outbox.unclaim(ref);
      this.#parked.now(ref, nowMs);
      return false;
    });
  }

  /** The same for what the sweep found; many of one endpoint, as after an outage, flow through a window. */
  admitSwept(refs: readonly DeliveryRef[], nowMs: number): readonly DeliveryRef[] {
    for (const [endpointId, ofOne] of Map.groupBy(refs, (ref) => ref.endpointId)) {
      for (const { offset } of ofOne) this.#control.settled(endpointId, offset, "not-made", nowMs);
      if (ofOne.length > BURST && this.#control.isFree(endpointId)) this.#control.drain(endpointId);
    }
    return refs.filter((ref) => {
      if (this.#control.isFree(ref.endpointId)) return true;
      this.#parked.now(ref, nowMs);
      return false;
    });
  }

  /** Takes the result of an attempt; whether its delivery may be sent for again when its time has come. */
  settled(result: DeliveryResult, nowMs: number): boolean {
    const { endpointId, offset, verdict } = result;
    const isFromBefore = this.#takeFromBefore(result);
    if (verdict.status === "open" && isFromBefore && this.#control.circuitOf(endpointId) === null) return this.#flowOn(result, nowMs);
    if (verdict.status === "held") this.#forget(endpointId, nowMs);
    else if (isMetered(endpointId)) this.#turn(endpointId, this.#control.settled(endpointId, offset, outcomeOf(result), nowMs), nowMs);
    else if (!this.#control.isFree(endpointId)) this.#control.settled(endpointId, offset, "succeeded", nowMs);
    if (verdict.status !== "open") return false;
    if (verdict.busy === true && isMetered(endpointId)) this.#parked.now(result, nowMs);
    return verdict.busy !== true && this.#control.circuitOf(endpointId) === null;
  }

  /** Lets everything of an endpoint flow that waits, whatever it waits for; how much that is. */
  release(endpointId: string, nowMs: number): number {
    if (this.#control.circuitOf(endpointId) !== null) this.#turn(endpointId, "closed", nowMs);
    this.#control.drain(endpointId);
    // of a queue another member has its turn, by the schedule
    const underWay = isMetered(endpointId) ? this.#world.outbox.claimedOffsets(endpointId, nowMs) : [];
    if (underWay.length > 0) this.#fromBefore.set(endpointId, new Set(underWay));
    const count = this.#parked.all(endpointId, nowMs);
    this.pump(nowMs);
    return count;
  }

  /** Whether it was an attempt that began before its endpoint was released. */
  #takeFromBefore({ endpointId, offset, attempt }: DeliveryResult): boolean {
    const underWay = this.#fromBefore.get(endpointId);
    if (underWay?.delete(offset) !== true) return false;
    if (underWay.size === 0) this.#fromBefore.delete(endpointId);
    return attempt !== undefined;
  }

  /**
   * What failed says something of the time before the release: it is no failure of now, and flows with all that waited
   * then, not by its schedule.
   */
  #flowOn({ endpointId, offset }: DeliveryResult, nowMs: number): false {
    this.#control.drain(endpointId);
    this.#control.ended(endpointId, offset);
    this.#parked.now({ endpointId, offset }, nowMs);
    return false;
  }

  isFree(endpointId: string): boolean {
    return this.#control.isFree(endpointId);
  }

  /** Lets out what may go now, and comes back when more may. */
  pump(nowMs: number): void {
    if (this.#control.allFree && this.#timer === null) return;
    const claims: Claim[] = [];
    for (const endpointId of this.#control.metered) claims.push(...this.#takeOf(endpointId, nowMs));
    if (claims.length > 0) this.#send(claims, nowMs);
    this.#setTimer(nowMs);
  }

  /** When something may go out at the earliest that waits, ms; null when nothing does. */
  nextWakeMs(): number | null {
    if (this.#control.allFree) return null;
    const due = this.#control.metered.filter((id) => this.#parked.has(id)).map((id) => this.#control.nextDueMs(id));
    const times = due.filter((atMs) => atMs !== null);
    return times.length === 0 ? null : Math.min(...times);
  }

  /** Tells the control plane of closed circuits it has not heard of. */
  async report(): Promise<void> {
    for (const endpointId of this.#circuits.closed()) {
      try {
        await this.#world.tell(endpointId, null);
        this.#circuits.forget(endpointId);
      } catch (error) {
        writeLog("warn", "circuit.not-told", { endpointId, error: describeError(error) });
      }
    }
  }

  #takeOf(endpointId: string, nowMs: number): Claim[] {
    const room = this.#control.room(endpointId, nowMs);
    const claims = room > 0 ? this.#parked.take(endpointId, room, nowMs) : [];
    if (claims.length === 0) {
      if (room > 0 && !this.#parked.has(endpointId) && this.#control.emptied(endpointId)) this.#world.outbox.unhold(endpointId);
      return claims;
    }
    this.#control.wentOut(endpointId, claims.map(({ offset }) => offset), nowMs);
    this.#saveProbe(endpointId);
    return claims;
  }

  /** It waits for another reason now: the endpoint is paused or disabled. */
  #forget(endpointId: string, nowMs: number): void {
    if (this.#control.circuitOf(endpointId) !== null) this.#turn(endpointId, "closed", nowMs);
    this.#control.forget(endpointId);
  }

  #turn(endpointId: string, change: "opened" | "closed" | null, nowMs: number): void {
    if (change === null) return;
    writeLog("info", `circuit.${change}`, { stream: this.#world.stream(), endpointId });
    if (change === "opened") this.#saveProbe(endpointId);
    else {
      this.#circuits.close(endpointId);
      this.#world.inBackground(this.report());
    }
    this.#setTimer(nowMs);
  }

  #saveProbe(endpointId: string): void {
    const circuit = this.#control.circuitOf(endpointId);
    if (circuit === null) return;
    this.#circuits.save(endpointId, circuit);
    const told = this.#world.tell(endpointId, circuit).catch((error: unknown) => {
      writeLog("warn", "circuit.not-told", { endpointId, error: describeError(error) });
    });
    this.#world.inBackground(told);
  }

  /** By way of the deliverer, a few calls at once: no queue is needed for what is ready here. */
  #send(claims: readonly Claim[], nowMs: number): void {
    let work: Work[] = [];
    let bytes = 0;
    for (const claim of claims) {
      const found = this.#world.log.read(claim.offset);
      if (found === null) {
        this.#control.settled(claim.endpointId, claim.offset, "not-made", nowMs);
        continue;
      }
      const { message } = found;
      if (work.length > 0 && bytes + message.body.length > MAX_CALL_BYTES) {
        void this.#deliver(work);
        work = [];
        bytes = 0;
      }
      work.push({ message, claims: [claim] });
      bytes += message.body.length;
    }
    if (work.length > 0) void this.#deliver(work);
  }

  async #deliver(work: readonly Work[]): Promise<void> {
    const { deliverer, stream, apply } = this.#world;
    let results: readonly DeliveryResult[];
    try {
      results = await deliverer.deliver({ stream: stream(), work, uncached: true });
    } catch (error) {
      writeLog("warn", "deliverer.failed", { stream: stream(), error: describeError(error) });
      results = deferAll(work, Date.now() + RETRY_CALL_MS);
    }
    apply(results);
  }

  #setTimer(nowMs: number): void {
    if (this.#timer !== null) clearTimeout(this.#timer);
    this.#timer = null;
    const atMs = this.nextWakeMs();
    if (atMs === null) return;
    this.#timer = setTimeout(() => {
      this.#timer = null;
      this.pump(Date.now());
    }, Math.max(MIN_PAUSE_MS, atMs - nowMs));
  }
}

/** A queue has several members, and its messages are for any of them: what one can not take is not parked. */
function isMetered(target: string): boolean {
  return target.startsWith("ep_") || target === "node";
}

function outcomeOf({ verdict, attempt }: DeliveryResult): FlowOutcome {
  if (verdict.status === "open" && verdict.busy === true) return "busy";
  if (attempt !== undefined) return attempt.error === null ? "succeeded" : "failed";
  return verdict.status === "open" ? "not-made" : "succeeded";
}
