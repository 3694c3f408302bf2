import { FailureWindow } from "./failure-window.ts";

/** What came of an attempt, as far as the flow goes. `busy`: its endpoint has as many under way as it may. */
export type FlowOutcome = "succeeded" | "failed" | "busy" | "not-made";

/** An open circuit: the endpoint is tried now and then only. */
export type Circuit = {
  readonly openedAtMs: number;
  readonly failures: number;
  readonly attempts: number;
  probes: number;
  probeAtMs: number;
};

/** How the deliveries of an endpoint go out that do not simply go when they are due. */
type Flow = {
  circuit: Circuit | null;
  /** How many may be under way at once, a whole number or not. */
  window: number;
  /** By how much it grows with a success: it doubles with each round until it was too large once. */
  growth: number;
  /** Offsets of what is under way. */
  readonly underWay: Set<number>;
  failuresInARow: number;
  /** After a failure, another in a row opens the circuit again: it has closed lately. */
  isRecovering: boolean;
  resumeAtMs: number;
};

const MAX_WINDOW = 16;
/** Of what waited for nothing but leave to flow. */
const FIRST_WINDOW = 8;
/** Of an endpoint that has just answered again: it must not be knocked down by what waited for it. */
const RECOVERY_WINDOW = 1;
/** Of all endpoints of a stream together, beside what goes out by itself. */
const MAX_UNDER_WAY = 64;
const SLOW_GROWTH = 1 / 8;
const BUSY_PAUSE_MS = 1_000;
const FAILURES_TO_REOPEN = 2;
const FIRST_PROBE_MS = 5_000;
const MAX_PROBE_MS = 30_000;
const JITTER = 0.2;

/**
 * Decides when deliveries go out whose endpoint can not take them as they come. It fails nearly always: its circuit is
 * open, and one delivery at a time tries it. It has as many under way as it may, or much waits for it: a window of
 * them is under way, which grows as they succeed and is halved when one does not. All others are free. Pure but for
 * `random`: the rows are `Parked`'s.
 */
export class FlowControl {
  readonly #random: () => number;
  readonly #windows = new Map<string, FailureWindow>();
  readonly #flows = new Map<string, Flow>();
  #underWay = 0;

  constructor(random: () => number, open: readonly (readonly [string, Circuit])[]) {
    this.#random = random;
    for (const [endpointId, circuit] of open) this.#flows.set(endpointId, { ...newFlow(RECOVERY_WINDOW), circuit });
  }

  get allFree(): boolean {
    return this.#flows.size === 0;
  }

  get metered(): readonly string[] {
    return [...this.#flows.keys()];
  }

  /** Whether what is due goes out by itself. */
  isFree(endpointId: string): boolean {
    return !this.#flows.has(endpointId);
  }

  circuitOf(endpointId: string): Circuit | null {
    return this.#flows.get(endpointId)?.circuit ?? null;
  }

  /** Lets what is parked flow, through a window. */
  drain(endpointId: string): void {
    const known = this.#flows.get(endpointId);
    if (known === undefined) this.#flows.set(endpointId, newFlow(FIRST_WINDOW));
    else if (known.circuit !== null) Object.assign(known, { circuit: null, window: RECOVERY_WINDOW, growth: 1 });
    this.#windows.delete(endpointId);
  }

  /** Told of every attempt; what it does to the circuit. */
  settled(endpointId: string, offset: number, outcome: FlowOutcome, nowMs: number): "opened" | "closed" | null {
    this.ended(endpointId, offset);
    const flow = this.#flows.get(endpointId);
    switch (outcome) {
      case "succeeded":
        this.#windows.get(endpointId)?.succeeded(nowMs);
        return flow === undefined ? null : this.#succeeded(endpointId, flow);
      case "failed":
        return this.#failed(endpointId, flow, nowMs);
      case "busy":
        this.#throttle(flow ?? this.#metered(endpointId), nowMs);
        return null;
      case "not-made":
        if (flow !== undefined) flow.resumeAtMs = nowMs + BUSY_PAUSE_MS;
        return null;
    }
  }

  /** Told of an attempt that says nothing of how its endpoint is now. */
  ended(endpointId: string, offset: number): void {
    if (this.#flows.get(endpointId)?.underWay.delete(offset) === true) this.#underWay--;
  }

  /** How many more may go out now. */
  room(endpointId: string, nowMs: number): number {
    const flow = this.#flows.get(endpointId);
    if (flow === undefined) return 0;
    const { circuit, underWay } = flow;
    if (circuit !== null) return circuit.probeAtMs <= nowMs && underWay.size === 0 ? 1 : 0;
    if (flow.resumeAtMs > nowMs) return 0;
    return Math.min(Math.floor(flow.window) - underWay.size, MAX_UNDER_WAY - this.#underWay);
  }

  wentOut(endpointId: string, offsets: readonly number[], nowMs: number): void {
    const flow = this.#flows.get(endpointId);
    if (flow === undefined || offsets.length === 0) return;
    for (const offset of offsets) flow.underWay.add(offset);
    this.#underWay += offsets.length;
    if (flow.circuit !== null) flow.circuit.probeAtMs = nowMs + this.#probeDelayMs(++flow.circuit.probes);
  }

  /** Nothing is parked any more: free, once nothing is under way. Whether it is. */
  emptied(endpointId: string): boolean {
    const flow = this.#flows.get(endpointId);
    if (flow === undefined) return true;
    if (flow.circuit !== null || flow.underWay.size > 0) return false;
    this.#flows.delete(endpointId);
    return true;
  }

  /** The endpoint takes nothing at all any more: what is parked waits for another reason. */
  forget(endpointId: string): void {
    this.#underWay -= this.#flows.get(endpointId)?.underWay.size ?? 0;
    this.#flows.delete(endpointId);
    this.#windows.delete(endpointId);
  }

  /** When a probe, or a flow that was halted, is due at the earliest, ms; null when none is. */
  nextDueMs(endpointId: string): number | null {
    const flow = this.#flows.get(endpointId);
    if (flow === undefined) return null;
    if (flow.circuit !== null) return flow.underWay.size > 0 ? null : flow.circuit.probeAtMs;
    return flow.underWay.size > 0 ? null : flow.resumeAtMs;
  }

  #succeeded(endpointId: string, flow: Flow): "closed" | null {
    flow.failuresInARow = 0;
    if (flow.circuit === null) {
      flow.window = Math.min(flow.window + flow.growth, MAX_WINDOW);
      return null;
    }
    Object.assign(flow, { circuit: null, window: RECOVERY_WINDOW, growth: 1, isRecovering: true });
    this.#windows.delete(endpointId);
    return "closed";
  }

  #failed(endpointId: string, flow: Flow | undefined, nowMs: number): "opened" | null {
    const window = this.#windows.get(endpointId) ?? new FailureWindow();
    this.#windows.set(endpointId, window);
    const trips = window.failed(nowMs);
    if (flow !== undefined && flow.circuit === null) {
      flow.failuresInARow++;
      shrink(flow);
    }
    if (flow !== undefined && flow.circuit !== null) return null;
    const reopens = flow?.isRecovering === true && flow.failuresInARow >= FAILURES_TO_REOPEN;
    if (!trips && !reopens) return null;
    const circuit = { openedAtMs: nowMs, failures: window.failures, attempts: window.attempts, probes: 0, probeAtMs: nowMs + this.#probeDelayMs(0) };
    Object.assign(flow ?? this.#metered(endpointId), { circuit, window: RECOVERY_WINDOW, failuresInARow: 0, isRecovering: false });
    return "opened";
  }

  #metered(endpointId: string): Flow {
    const flow = newFlow(FIRST_WINDOW);
    this.#flows.set(endpointId, flow);
    return flow;
  }

  /** The end of what is under way lets more out; where nothing is, time does. */
  #throttle(flow: Flow, nowMs: number): void {
    shrink(flow);
    if (flow.underWay.size === 0) flow.resumeAtMs = nowMs + BUSY_PAUSE_MS;
  }

  /** Spread, so that what failed together is not tried together. */
  #probeDelayMs(probes: number): number {
    const delayMs = Math.min(FIRST_PROBE_MS * 2 ** probes, MAX_PROBE_MS);
    return Math.round(delayMs * (1 - JITTER + 2 * JITTER * this.#random()));
  }
}

function newFlow(window: number): Flow {
  return { circuit: null, window, growth: 1, underWay: new Set(), failuresInARow: 0, isRecovering: false, resumeAtMs: 0 };
}

function shrink(flow: Flow): void {
  flow.window = Math.max(1, Math.floor(flow.window / 2));
  flow.growth = SLOW_GROWTH;
}
