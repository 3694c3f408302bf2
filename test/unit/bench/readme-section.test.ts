import { describe, expect, it } from "vitest";
import { noUnits } from "../../bench/counting/units.ts";
import { renderPicture, renderSection, withSection } from "../../bench/readme-section.ts";
import { figuresOf, type Report } from "../../bench/report.ts";
import type { Cost } from "../../bench/rows/cost.ts";
import type { LoadPoint } from "../../bench/rows/load.ts";
import type { RowReport } from "../../bench/rows/row.ts";
import { spreadOf } from "../../bench/statistics.ts";

const POINTS: LoadPoint[] = [
  { system: "relay", perSecond: 50, deliveredPerSecond: 50, p50Ms: 1.2, p99Ms: 4.3 },
  { system: "gateway", perSecond: 50, deliveredPerSecond: 50, p50Ms: 2.5, p99Ms: 9 },
  { system: "relay", perSecond: 4000, deliveredPerSecond: 3900, p50Ms: 20, p99Ms: 80 },
];
const COST: Cost = {
  history: "full", fanout: 1, perSecond: 100, keptUp: true, dollars: 2.5, memoryDollars: 0.02, laterDollars: 1.25,
  usage: { ...noUnits(), cpuMs: 0 },
};
const NONE = { comparisons: [], counts: {}, notes: [] };
const ROWS: RowReport[] = [
  {
    ...NONE,
    name: "throughput",
    title: "",
    comparisons: [
      {
        label: "accepted and delivered", unit: "messages/s", baselineName: "relay", subjectName: "gateway",
        baseline: spreadOf([3000]), subject: spreadOf([2100]), ratio: spreadOf([0.7, 0.65, 0.8]), figure: "throughputRatio", target: { atLeast: 0.65 },
      },
    ],
  },
  { ...NONE, name: "load", title: "", details: POINTS },
  {
    ...NONE, name: "cost", title: "", details: [COST, { ...COST, dollars: 9 }],
    alone: [{ label: "history full", unit: "dollars", value: spreadOf([2.5, 2.6, 2.7]), figure: "costFull", target: { atMost: 3 } }],
  },
];
const REPORT: Report = {
  date: "2026-11-25T10:00:00.000Z",
  machine: { cpu: "a <fast> one", cores: 2, memoryGiB: 4, system: "Linux", node: "24", workerd: "1" },
  runs: 3, secondsPerRun: 4, ceiling: { messagesPerSecond: 1, p50Ms: 1, p99Ms: 1 }, otherProgramsShare: 0,
  rows: ROWS,
  figures: figuresOf(ROWS, { lost: 0, duplicates: 0 }),
};

describe("the flat figures", () => {
  it("are the medians by name, of comparisons and of what stands alone", () => {
    expect(REPORT.figures).toEqual({ throughputRatio: 0.7, costFull: 2.6, lost: 0, duplicates: 0 });
  });
});

describe("the README's section", () => {
  const section = renderSection(REPORT, "picture.svg");

  it("says when and on what it was measured", () => {
    expect(section).toContain("Measured on 2026-11-25");
    expect(section).toContain("2 cores of a <fast> one");
  });

  it("has a line for each figure with a target", () => {
    expect(section).toContain("| `throughputRatio` | accepted and delivered | gateway 2,100 (2,100 to 2,100), relay 3,000 (3,000 to 3,000) messages/s | **0.700 (0.650 to 0.800)** | ≥ 0.65 |");
    expect(section).toContain("| `costFull` |");
  });

  it("shows latency at each offered load, and what does not keep up", () => {
    expect(section).toContain("| 50 | 1.2 / 4.3 | 2.5 / 9.0 |");
    expect(section).toContain("| 4000 | 20.0 / 80.0 | does not keep up |");
    expect(section).toContain("(picture.svg)");
  });

  it("shows each case's cost once", () => {
    expect(section.match(/\| full \| 1 \| 100 \|/g)).toHaveLength(1);
    expect(section).toContain("| full | 1 | 100 | 2.50 | 0.02 | 1.25 |");
  });

  it("replaces what was there, and nothing else", () => {
    const readme = "before\n<!-- bench: written by `npm run bench:readme`, do not edit -->\nold\n<!-- /bench -->\nafter\n";
    const written = withSection(readme, "new");
    expect(written).toBe("before\n<!-- bench: written by `npm run bench:readme`, do not edit -->\nnew\n<!-- /bench -->\nafter\n");
    expect(withSection(written, "new")).toBe(written);
  });

  it("needs a place", () => {
    expect(() => withSection("no place", "new")).toThrow("has no section");
  });
});

describe("the picture", () => {
  it("has a line for each system and share, from low to high", () => {
    const svg = renderPicture(REPORT) ?? "";
    const lines = [...svg.matchAll(/<polyline points="([^"]+)"/g)].map(([, points = ""]) => points.split(" "));
    expect(lines.map((points) => points.length)).toEqual([2, 2, 1, 1]);
    const [first = [], second = []] = (lines[0] ?? []).map((point) => point.split(",").map(Number));
    // More load is to the right, more milliseconds are above.
    expect(second[0]).toBeGreaterThan(first[0] ?? Number.NaN);
    expect(second[1]).toBeLessThan(first[1] ?? Number.NaN);
  });

  it("names its lines and its date", () => {
    expect(renderPicture(REPORT)).toContain("bare relay, p99");
    expect(renderPicture(REPORT)).toContain("2026-11-25");
  });

  it("is not there without its row", () => {
    expect(renderPicture({ ...REPORT, rows: [] })).toBeNull();
  });
});
