import type { Ceiling } from "./ceiling.ts";
import type { Balance } from "./ledger.ts";
import type { Machine } from "./machine.ts";
import type { Comparison, Counts, Figure, FigureName, RowReport, Target } from "./rows/row.ts";
import type { Spread } from "./statistics.ts";

/** What `--json` writes. A row that was not measured is absent, and so are its figures. */
export type Report = {
  readonly date: string;
  readonly machine: Machine;
  readonly runs: number;
  readonly secondsPerRun: number;
  readonly ceiling: Ceiling;
  /** Share of the machine that programs other than the bench had, 0..1; null where it can not be told. */
  readonly otherProgramsShare: number | null;
  readonly rows: readonly RowReport[];
  readonly figures: Partial<Record<FigureName, number>> & { readonly lost: number; readonly duplicates: number };
};

/** The medians of the ratios by name, with what the gateway lost and doubled from first to last. */
export function figuresOf(rows: readonly RowReport[], balance: Balance): Report["figures"] {
  const named = rows
    .flatMap(({ comparisons, alone = [] }) => [...comparisons.map(({ figure, ratio }) => ({ figure, value: ratio })), ...alone])
    .flatMap(({ figure, value }) => (figure === undefined ? [] : [[figure, rounded(value.median)]]));
  return { ...Object.fromEntries(named), lost: balance.lost, duplicates: balance.duplicates };
}

export function renderHead({ machine, ceiling, runs, secondsPerRun }: Pick<Report, "machine" | "ceiling" | "runs" | "secondsPerRun">): string {
  return [
    `${machine.cores} cores of ${machine.cpu}, ${machine.memoryGiB} GiB, ${machine.system}, Node ${machine.node}, workerd ${machine.workerd}`,
    `generator and receiver run on the same machine; straight against each other they do ${integer(ceiling.messagesPerSecond)} messages/s, ` +
      `at 50/s p50 ${ceiling.p50Ms.toFixed(2)} ms, p99 ${ceiling.p99Ms.toFixed(2)} ms`,
    `${runs} runs of ${secondsPerRun} s and up of each row, in turns: median (lowest to highest)`,
  ].join("\n");
}

export function renderRow(row: RowReport): string {
  return [
    "",
    `${row.name}: ${row.title}`,
    ...row.comparisons.map(renderComparison),
    ...(row.alone ?? []).map(renderFigure),
    ...Object.entries(row.counts).flatMap(([system, counts]) => renderCounts(system, counts)),
    ...row.notes.map((note) => `  ${note}`),
  ].join("\n");
}

export function renderFoot({ date, figures, otherProgramsShare }: Report): string {
  return `\nin all: lost ${figures.lost}, duplicates ${figures.duplicates}; ${othersLine(otherProgramsShare)}; ${date}`;
}

function renderFigure({ label, unit, value, target }: Figure): string {
  const verdict = target === undefined ? "" : `  ${targetText(target)}: ${isMet(target, value.median) ? "met" : "MISSED"}`;
  return `  ${label}: ${spread(value)} ${unit}${verdict}`;
}

function renderComparison(comparison: Comparison): string {
  const { label, unit, baselineName, subjectName, baseline, subject, ratio, target } = comparison;
  const verdict = target === undefined ? "" : `  ${targetText(target)} ${isMet(target, ratio.median) ? "met" : "MISSED"}`;
  return `  ${label}, ${unit}:\n    ${baselineName} ${spread(baseline)}   ${subjectName} ${spread(subject)}   ratio ${spread(ratio)}${verdict}`;
}

function renderCounts(system: string, { lost, duplicates, refused, unanswered }: Counts): string[] {
  const line = `  ${system}: lost ${lost}, duplicates ${duplicates}, refused ${refused}, unanswered ${unanswered}`;
  return system === "relay" && lost + duplicates + refused + unanswered === 0 ? [] : [line];
}

function othersLine(share: number | null): string {
  if (share === null) return "what other programs did meanwhile can not be told here";
  return `other programs had ${(share * 100).toFixed(0)} % of the machine meanwhile${share > 0.1 ? ": it was NOT quiet, do not quote this run" : ""}`;
}

function targetText(target: Target): string {
  return "atLeast" in target ? `target ≥ ${target.atLeast}` : `target ≤ ${target.atMost}`;
}

function isMet(target: Target, value: number): boolean {
  return "atLeast" in target ? value >= target.atLeast : value <= target.atMost;
}

function spread({ median, min, max }: Spread): string {
  return `${short(median)} (${short(min)} to ${short(max)})`;
}

function short(value: number): string {
  return Math.abs(value) >= 100 ? integer(value) : value.toPrecision(3);
}

function integer(value: number): string {
  return Math.round(value).toLocaleString("en-US");
}

function rounded(value: number): number {
  return Number(value.toPrecision(4));
}
