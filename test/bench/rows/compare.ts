import type { Bench } from "../fixture.ts";
import type { Measurement } from "../measure.ts";
import { spreadOf } from "../statistics.ts";
import type { Comparison } from "./row.ts";

export type Side = { readonly name: string; readonly runs: readonly Measurement[] };

/** Takes turns, baseline, subject, baseline, subject, so that what else the machine does falls on both. */
export async function inTurns(
  bench: Bench,
  baseline: { readonly name: string; readonly run: () => Promise<Measurement> },
  subject: { readonly name: string; readonly run: () => Promise<Measurement> },
): Promise<{ readonly baseline: Side; readonly subject: Side }> {
  const baselineRuns: Measurement[] = [];
  const subjectRuns: Measurement[] = [];
  for (let run = 0; run < bench.runs; run += 1) {
    baselineRuns.push(await baseline.run());
    subjectRuns.push(await subject.run());
  }
  return { baseline: { name: baseline.name, runs: baselineRuns }, subject: { name: subject.name, runs: subjectRuns } };
}

/** Null when the figure could not be read in some run (CPU time, where there is no /proc). */
export function compare(
  sides: { readonly baseline: Side; readonly subject: Side },
  figure: (measurement: Measurement) => number | null,
  description: Pick<Comparison, "label" | "unit" | "figure" | "target">,
): Comparison[] {
  const values = ({ runs }: Side): number[] => runs.flatMap((run) => figure(run) ?? []);
  const baseline = values(sides.baseline);
  const subject = values(sides.subject);
  if (baseline.length !== sides.baseline.runs.length || subject.length !== sides.subject.runs.length) return [];
  return [{
    ...description,
    baselineName: sides.baseline.name,
    subjectName: sides.subject.name,
    baseline: spreadOf(baseline),
    subject: spreadOf(subject),
    ratio: spreadOf(subject.map((value, run) => value / (baseline[run] ?? Number.NaN))),
  }];
}
