import type { WakeChannel, WakeRef } from "./contract.ts";

/**
 * A wake, from when there is work until somebody has done it or let go of it. `announcing`: nobody was told yet that it
 * is there. `announced`: somebody may claim it. `held`: it is somebody's until the lease ends.
 */
export type Wake = {
  readonly id: string;
  readonly stage: "announcing" | "announced" | "held";
  /** Who claimed it; null for whoever is behind a webhook. */
  readonly holder: string | null;
  readonly leaseUntilMs: number | null;
};

export type WakeState = {
  /** Of the wake there is, or of the last one. */
  readonly generation: number;
  readonly wake: Wake | null;
  /** Attempts to announce this wake that failed. */
  readonly failures: number;
  readonly nextAttemptAtMs: number | null;
  readonly lastError: string | null;
};

export const NEVER_WOKEN: WakeState = { generation: 0, wake: null, failures: 0, nextAttemptAtMs: null, lastError: null };

/** Protocol §7.1: from 1 s up to 60 s, 20 % either way. */
const FIRST_RETRY_MS = 1_000;
const MAX_RETRY_MS = 60_000;
const JITTER = 0.2;

/** There is work, and nobody is at it: a new generation, to be announced at once. */
export function begin(state: WakeState, wakeId: string, nowMs: number): WakeState {
  return {
    ...state,
    generation: state.generation + 1,
    wake: { id: wakeId, stage: "announcing", holder: null, leaseUntilMs: null },
    failures: 0,
    nextAttemptAtMs: nowMs,
  };
}

/** The announcement arrived. What was claimed or ended meanwhile stays as it is. */
export function announced(state: WakeState, wakeId: string, channel: WakeChannel, leaseMs: number, nowMs: number): WakeState {
  const { wake } = state;
  const told = { ...state, failures: 0, lastError: null };
  if (wake?.id !== wakeId || wake.stage !== "announcing") return told;
  const next: Wake = channel.type === "webhook"
    ? { ...wake, stage: "held", leaseUntilMs: nowMs + leaseMs }
    : { ...wake, stage: "announced" };
  return { ...told, wake: next, nextAttemptAtMs: null };
}

/** @param random in [0, 1) */
export function notAnnounced(state: WakeState, wakeId: string, error: string, nowMs: number, random: number): WakeState {
  const { wake, failures } = state;
  if (wake?.id !== wakeId || wake.stage !== "announcing") return state;
  const delayMs = Math.min(FIRST_RETRY_MS * 2 ** failures, MAX_RETRY_MS) * (1 - JITTER + 2 * JITTER * random);
  return { ...state, failures: failures + 1, nextAttemptAtMs: nowMs + Math.round(delayMs), lastError: error };
}

/** Somebody takes the wake there is. */
export function claimed(state: WakeState, worker: string, leaseMs: number, nowMs: number): WakeState {
  const { wake } = state;
  if (wake === null) return state;
  return { ...state, wake: { ...wake, stage: "held", holder: worker, leaseUntilMs: nowMs + leaseMs }, nextAttemptAtMs: null };
}

/** A sign of life from whoever works on it, be it an answer to an announcement that seemed to have failed. */
export function extended(state: WakeState, leaseMs: number, nowMs: number): WakeState {
  const { wake } = state;
  if (wake === null) return state;
  return { ...state, wake: { ...wake, stage: "held", leaseUntilMs: nowMs + leaseMs }, failures: 0, nextAttemptAtMs: null, lastError: null };
}

/** The work is done, given up, or the lease is over. */
export function ended(state: WakeState): WakeState {
  return { ...state, wake: null, failures: 0, nextAttemptAtMs: null };
}

export function isLeaseOver({ wake }: WakeState, nowMs: number): boolean {
  return wake !== null && wake.leaseUntilMs !== null && wake.leaseUntilMs <= nowMs;
}

/** Whether it is this wake that there is (§7.3): what is about an earlier one is fenced off. */
export function isCurrent({ wake, generation }: WakeState, asked: WakeRef): boolean {
  return wake !== null && wake.id === asked.wakeId && generation === asked.generation;
}

/** When something is to be done at the latest; null when nothing is. */
export function nextEventMs({ wake, nextAttemptAtMs }: WakeState): number | null {
  return wake?.stage === "announcing" ? nextAttemptAtMs : (wake?.leaseUntilMs ?? null);
}
