import { describe, expect, it } from "vitest";
import { renderChart, type Series } from "../../bench/chart.ts";

const TEXT = { title: "a & b", xLabel: "x", yLabel: "y" };
const line = (points: Series["points"]): Series => ({ name: "<one>", color: "#000000", dashed: false, points });

function dots(svg: string): { x: number; y: number }[] {
  return [...svg.matchAll(/<circle cx="([\d.]+)" cy="([\d.]+)"/g)].map(([, x, y]) => ({ x: Number(x), y: Number(y) }));
}

describe("a chart", () => {
  it("puts equal factors at equal distances", () => {
    const [a, b, c] = dots(renderChart(TEXT, [line([{ x: 1, y: 1 }, { x: 10, y: 10 }, { x: 100, y: 100 }])]));
    expect((b?.x ?? 0) - (a?.x ?? 0)).toBeCloseTo((c?.x ?? 0) - (b?.x ?? 0), 0);
    expect((a?.y ?? 0) - (b?.y ?? 0)).toBeCloseTo((b?.y ?? 0) - (c?.y ?? 0), 0);
  });

  it("has axes from the step below to the step above", () => {
    const svg = renderChart(TEXT, [line([{ x: 60, y: 1.5 }, { x: 1800, y: 7 }])]);
    const numbers = [...svg.matchAll(/>([\d.,]+)<\/text>/g)].map(([, text]) => text);
    expect(numbers).toEqual(["50", "100", "200", "500", "1,000", "2,000", "1", "2", "5", "10"]);
  });

  it("keeps every point inside, also where all are the same", () => {
    for (const { x, y } of dots(renderChart(TEXT, [line([{ x: 5, y: 2 }, { x: 5, y: 2 }])]))) {
      expect(x).toBeGreaterThanOrEqual(64);
      expect(x).toBeLessThanOrEqual(700);
      expect(y).toBeGreaterThanOrEqual(48);
      expect(y).toBeLessThanOrEqual(360);
    }
  });

  it("escapes what it is told", () => {
    const svg = renderChart(TEXT, [line([{ x: 1, y: 1 }])]);
    expect(svg).toContain("a &amp; b");
    expect(svg).toContain("&lt;one&gt;");
  });

  it("needs a point", () => {
    expect(() => renderChart(TEXT, [line([])])).toThrow("nothing to draw");
  });
});
