import type { Report } from "./report.ts";
import type { Cost } from "./rows/cost.ts";
import type { LoadPoint } from "./rows/load.ts";
import type { FigureName, RowReport, Target } from "./rows/row.ts";
import type { Spread } from "./statistics.ts";
import type { System } from "./system.ts";
import { renderChart, type Series } from "./chart.ts";

const BEGIN = "<!-- bench: written by `npm run bench:readme`, do not edit -->";
const END = "<!-- /bench -->";

/** README's text with the measured section replaced; throws when it has no place for one. */
export function withSection(readme: string, section: string): string {
  const begin = readme.indexOf(BEGIN);
  const end = readme.indexOf(END);
  if (begin === -1 || end < begin) throw new Error(`README.md has no section between ${BEGIN} and ${END}`);
  return `${readme.slice(0, begin + BEGIN.length)}\n${section}\n${readme.slice(end)}`;
}

/** What a report says, as Markdown; `picturePath` is where its chart is. */
export function renderSection(report: Report, picturePath: string): string {
  const { machine, date, runs, figures } = report;
  return [
    `Measured on ${date.slice(0, 10)} with \`npm run bench\`: ${machine.cores} cores of ${machine.cpu}, generator and receiver included, ` +
      `workerd ${machine.workerd}; medians of ${runs} runs (lowest to highest); lost ${figures.lost}, duplicates ${figures.duplicates}.`,
    "",
    ...figureTable(report.rows),
    ...section("load", report.rows, (points: readonly LoadPoint[]) => [...loadTable(points), "", `![Latency over offered load](${picturePath})`]),
    ...section("cost", report.rows, costTable),
  ].join("\n");
}

/** The chart of latency over load; null when the report has none. */
export function renderPicture(report: Report): string | null {
  const points = detailsOf<readonly LoadPoint[]>("load", report.rows);
  if (points === null) return null;
  const series = (["relay", "gateway"] as const).flatMap((system) => [seriesOf(points, system, "p50Ms"), seriesOf(points, system, "p99Ms")]);
  const text = { title: `Publish to arrival over offered load, ${report.date.slice(0, 10)}`, xLabel: "messages offered a second", yLabel: "ms" };
  return renderChart(text, series.filter((line) => line.points.length > 0));
}

const COLORS: Readonly<Record<System["name"], string>> = { relay: "#8a8a8a", gateway: "#0b62c4" };

function seriesOf(points: readonly LoadPoint[], system: System["name"], share: "p50Ms" | "p99Ms"): Series {
  return {
    name: `${system === "relay" ? "bare relay" : system}, ${share === "p50Ms" ? "p50" : "p99"}`,
    color: COLORS[system],
    dashed: share === "p99Ms",
    points: points.filter((point) => point.system === system).map((point) => ({ x: point.perSecond, y: point[share] })),
  };
}

function figureTable(rows: readonly RowReport[]): string[] {
  const lines = rows.flatMap(({ comparisons, alone = [] }) => [
    ...comparisons.map(({ figure, label, unit, baselineName, subjectName, baseline, subject, ratio, target }) =>
      ({ figure, what: label, measured: `${subjectName} ${spread(subject)}, ${baselineName} ${spread(baseline)} ${unit}`, value: spread(ratio), target })),
    ...alone.map(({ figure, label, unit, value, target }) => ({ figure, what: label, measured: unit, value: spread(value), target })),
  ]);
  const named = lines.flatMap(({ figure, target, ...rest }) => (figure === undefined || target === undefined ? [] : [{ figure, target, ...rest }]));
  return [
    "| figure | what | measured | value | target |",
    "| --- | --- | --- | --- | --- |",
    ...named.map(({ figure, what, measured, value, target }) => `| \`${figure satisfies FigureName}\` | ${what} | ${measured} | **${value}** | ${targetText(target)} |`),
  ];
}

function loadTable(points: readonly LoadPoint[]): string[] {
  const cell = (system: System["name"], perSecond: number): string => {
    const point = points.find((each) => each.system === system && each.perSecond === perSecond);
    return point === undefined ? "does not keep up" : `${point.p50Ms.toFixed(1)} / ${point.p99Ms.toFixed(1)}`;
  };
  const rates = [...new Set(points.map(({ perSecond }) => perSecond))];
  return [
    "| messages/s offered | bare relay, p50 / p99 ms | gateway, p50 / p99 ms |",
    "| --- | --- | --- |",
    ...rates.map((rate) => `| ${rate} | ${cell("relay", rate)} | ${cell("gateway", rate)} |`),
  ];
}

function costTable(costs: readonly Cost[]): string[] {
  const known = costs.filter((one, index) => costs.findIndex((other) => caseOf(other) === caseOf(one)) === index);
  return [
    "| history | fan-out | messages/s | dollars per million | objects' memory | later, removing it |",
    "| --- | --- | --- | --- | --- | --- |",
    ...known.map(({ history, fanout, perSecond, keptUp, dollars, memoryDollars, laterDollars }) =>
      `| ${history} | ${fanout} | ${perSecond}${keptUp ? "" : ", an overload here"} | ${dollars.toFixed(2)} | ${memoryDollars.toFixed(2)} | ${laterDollars.toFixed(2)} |`),
  ];
}

function caseOf({ history, fanout, perSecond }: Cost): string {
  return `${history} ${fanout} ${perSecond}`;
}

function section<Details>(name: string, rows: readonly RowReport[], render: (details: Details) => string[]): string[] {
  const details = detailsOf<Details>(name, rows);
  return details === null ? [] : ["", ...render(details)];
}

/** What the row of that name put there. */
function detailsOf<Details>(name: string, rows: readonly RowReport[]): Details | null {
  const row = rows.find((each) => each.name === name);
  return row?.details === undefined ? null : (row.details as Details);
}

function targetText(target: Target): string {
  return "atLeast" in target ? `≥ ${target.atLeast}` : `≤ ${target.atMost}`;
}

function spread({ median, min, max }: Spread): string {
  return `${short(median)} (${short(min)} to ${short(max)})`;
}

function short(value: number): string {
  return Math.abs(value) >= 100 ? Math.round(value).toLocaleString("en-US") : value.toPrecision(3);
}
