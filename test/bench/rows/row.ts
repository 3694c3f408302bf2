import type { Bench } from "../fixture.ts";
import type { Measurement } from "../measure.ts";
import type { Spread } from "../statistics.ts";

/** The keys of the flat `figures` of the JSON report. */
export type FigureName =
  | "throughputRatio"
  | "latencyP50Ratio"
  | "latencyP99Ratio"
  | "fanout10Ratio"
  | "cpuRatio"
  | "snsRatio"
  | "batchRatio"
  | "pullRatio"
  | "costFull"
  | "costLean"
  | "subscriptionsRatio"
  | "openRetriesP99Ratio"
  | "streamAppend1Ratio"
  | "streamAppend100Ratio"
  | "streamAppend10000Ratio"
  | "streamCatchUpRatio"
  | "streamTail1P50Ratio"
  | "streamTail1P99Ratio"
  | "streamTail1000P50Ratio"
  | "streamTail1000P99Ratio";

export type Target = { readonly atLeast: number } | { readonly atMost: number };

/** One figure of two things measured side by side; `ratio` is subject over baseline, run by run. */
export type Comparison = {
  readonly label: string;
  readonly unit: string;
  readonly baselineName: string;
  readonly subjectName: string;
  readonly baseline: Spread;
  readonly subject: Spread;
  readonly ratio: Spread;
  readonly figure?: FigureName;
  readonly target?: Target;
};

/** What a row counted in all its measured runs, of the gateway and of the relay together. */
export type Counts = {
  readonly lost: number;
  readonly duplicates: number;
  /** Requests answered with anything but 2xx, and not at all. */
  readonly refused: number;
  readonly unanswered: number;
};

/** One figure by itself. */
export type Figure = {
  readonly label: string;
  readonly unit: string;
  readonly value: Spread;
  readonly figure?: FigureName;
  readonly target?: Target;
};

export type RowReport = {
  readonly name: string;
  readonly title: string;
  readonly comparisons: readonly Comparison[];
  readonly alone?: readonly Figure[];
  /** By system. */
  readonly counts: Readonly<Record<string, Counts>>;
  /** Numbers behind the lines, for the JSON report only. */
  readonly details?: unknown;
  /** Lines that explain a figure, such as what refused requests were told. */
  readonly notes: readonly string[];
};

export type Row = { readonly name: string; readonly measure: (bench: Bench) => Promise<RowReport> };

export function countsOf(measurements: readonly Measurement[]): Counts {
  const sum = (of: (measurement: Measurement) => number): number => measurements.reduce((total, each) => total + of(each), 0);
  return {
    lost: sum((each) => each.lost),
    duplicates: sum((each) => each.duplicates),
    refused: sum((each) => each.refused),
    unanswered: sum((each) => each.unanswered),
  };
}

/** What refused requests were told, each thing once. */
export function refusals(name: string, measurements: readonly Measurement[]): string[] {
  const told = new Set(measurements.flatMap(({ refusal }) => (refusal === null ? [] : [refusal.slice(0, 300)])));
  return [...told].map((refusal) => `${name} refused: ${refusal}`);
}
