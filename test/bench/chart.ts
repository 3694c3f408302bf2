/** A line of a chart. All values are above 0: both axes are logarithmic. */
export type Series = {
  readonly name: string;
  readonly color: string;
  readonly dashed: boolean;
  readonly points: readonly { readonly x: number; readonly y: number }[];
};

export type ChartText = { readonly title: string; readonly xLabel: string; readonly yLabel: string };

const WIDTH = 720;
const HEIGHT = 420;
const PLOT = { left: 64, right: 700, top: 48, bottom: 360 } as const;
const LEGEND_STEP = 18;
const LEGEND_LINE = 28;
/** Steps within a decade that get a line and a number. */
const STEPS = [1, 2, 5] as const;

/** An SVG of lines over two logarithmic axes, which reads on a light and on a dark page. Throws when there is no point. */
export function renderChart({ title, xLabel, yLabel }: ChartText, series: readonly Series[]): string {
  const points = series.flatMap((line) => line.points);
  if (points.length === 0) throw new Error("there is nothing to draw");
  const x = logScale(points.map((point) => point.x), PLOT.left, PLOT.right);
  const y = logScale(points.map((point) => point.y), PLOT.bottom, PLOT.top);
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH} ${HEIGHT}" role="img" font-family="sans-serif" font-size="12">`,
    `<title>${escapeXml(title)}</title>`,
    `<rect width="${WIDTH}" height="${HEIGHT}" fill="#ffffff"/>`,
    text(WIDTH / 2, 24, title, `text-anchor="middle" font-size="15"`),
    ...x.ticks.map((tick) => line(x.at(tick), PLOT.top, x.at(tick), PLOT.bottom) + text(x.at(tick), PLOT.bottom + 18, short(tick), `text-anchor="middle"`)),
    ...y.ticks.map((tick) => line(PLOT.left, y.at(tick), PLOT.right, y.at(tick)) + text(PLOT.left - 8, y.at(tick) + 4, short(tick), `text-anchor="end"`)),
    text((PLOT.left + PLOT.right) / 2, PLOT.bottom + 40, xLabel, `text-anchor="middle"`),
    text(16, (PLOT.top + PLOT.bottom) / 2, yLabel, `text-anchor="middle" transform="rotate(-90 16 ${(PLOT.top + PLOT.bottom) / 2})"`),
    ...series.map((one) => renderSeries(one, x.at, y.at)),
    ...series.map(renderLegend),
    "</svg>",
    "",
  ].join("\n");
}

type Scale = { readonly at: (value: number) => number; readonly ticks: readonly number[] };

/** From the last step at or below the least value to the first at or above the greatest. */
function logScale(values: readonly number[], from: number, to: number): Scale {
  const steps = stepsAround(Math.min(...values), Math.max(...values));
  const first = steps[0] ?? 1;
  const last = steps.at(-1) ?? 10;
  const span = Math.log(last / first);
  return { at: (value) => round(from + (Math.log(value / first) / span) * (to - from)), ticks: steps };
}

function stepsAround(least: number, greatest: number): number[] {
  const decades = range(Math.floor(Math.log10(least)), Math.ceil(Math.log10(greatest)) + 1);
  const all = decades.flatMap((decade) => STEPS.map((step) => Number((step * 10 ** decade).toPrecision(1))));
  const first = all.findLastIndex((step) => step <= least);
  // An axis has a length, even where all values are the same.
  const last = all.findIndex((step, index) => step >= greatest && index > first);
  return all.slice(first, last + 1);
}

function range(from: number, to: number): number[] {
  return Array.from({ length: to - from + 1 }, (_, index) => from + index);
}

function renderSeries({ color, dashed, points }: Series, x: (value: number) => number, y: (value: number) => number): string {
  const path = points.map((point) => `${x(point.x)},${y(point.y)}`).join(" ");
  const dots = points.map((point) => `<circle cx="${x(point.x)}" cy="${y(point.y)}" r="3" fill="${color}"/>`).join("");
  return `<polyline points="${path}" fill="none" stroke="${color}" stroke-width="2"${dashes(dashed)}/>${dots}`;
}

function renderLegend({ name, color, dashed }: Series, index: number): string {
  const top = PLOT.top + 14 + index * LEGEND_STEP;
  const left = PLOT.left + 12;
  return `<line x1="${left}" y1="${top}" x2="${left + LEGEND_LINE}" y2="${top}" stroke="${color}" stroke-width="2"${dashes(dashed)}/>` +
    text(left + LEGEND_LINE + 8, top + 4, name, "");
}

function dashes(dashed: boolean): string {
  return dashed ? ` stroke-dasharray="6 4"` : "";
}

function line(x1: number, y1: number, x2: number, y2: number): string {
  return `<line x1="${x1}" y1="${y1}" x2="${x2}" y2="${y2}" stroke="#dddddd"/>`;
}

function text(x: number, y: number, content: string, attributes: string): string {
  return `<text x="${x}" y="${y}" fill="#222222" ${attributes}>${escapeXml(content)}</text>`;
}

function escapeXml(content: string): string {
  return content.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;");
}

function short(value: number): string {
  return value.toLocaleString("en-US");
}

function round(value: number): number {
  return Math.round(value * 10) / 10;
}
