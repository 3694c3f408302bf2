import { describe, expect, it } from "vitest";
import { combineUnits, noUnits } from "../../bench/counting/units.ts";
import { addUsage, dollarsPerMillion, LIST_PRICES, memoryDollarsPerMillion, perMessage, type Usage } from "../../bench/prices.ts";

const NOTHING: Usage = { ...noUnits(), cpuMs: 0 };

describe("what a message costs", () => {
  it("is each unit at its list price", () => {
    const usage: Usage = { ...NOTHING, workerRequests: 1, objectRequests: 2, objectRowsWritten: 1, d1RowsWritten: 5, queueOperations: 3, cpuMs: 0.5 };
    // 0.30 + 2 × 0.15 + 1.00 + 5 × 1.00 + 3 × 0.40 + 0.5 × 0.02
    expect(dollarsPerMillion(usage)).toBeCloseTo(7.81, 10);
  });

  it("counts every unit there is", () => {
    for (const name of Object.keys(NOTHING) as (keyof Usage)[]) {
      expect(dollarsPerMillion({ ...NOTHING, [name]: 1 }), name).toBe(LIST_PRICES[name]);
      expect(LIST_PRICES[name], name).toBeGreaterThan(0);
    }
  });

  it("is divided among the messages that share it", () => {
    const run: Usage = { ...NOTHING, workerRequests: 400, d1RowsRead: 1000 };
    expect(perMessage(run, 200)).toEqual({ ...NOTHING, workerRequests: 2, d1RowsRead: 5 });
  });

  it("has a message's share of the cron added", () => {
    const sum = addUsage({ ...NOTHING, d1RowsRead: 5, cpuMs: 1 }, { ...NOTHING, d1RowsRead: 2 });
    expect(sum).toEqual({ ...NOTHING, d1RowsRead: 7, cpuMs: 1 });
  });
});

describe("what objects cost that stay in memory", () => {
  it("is by time: the fewer messages a second, the more a million of them take", () => {
    // 10,000 s of 0.128 GB at 12.50 dollars per million GB-seconds
    expect(memoryDollarsPerMillion(1, 100)).toBeCloseTo(0.016, 10);
    expect(memoryDollarsPerMillion(2, 1)).toBeCloseTo(3.2, 10);
  });
});

describe("units", () => {
  it("are what was used between two readings", () => {
    const before = { ...noUnits(), workerRequests: 10, queueOperations: 4 };
    const after = { ...noUnits(), workerRequests: 25, queueOperations: 4, sqsCalls: 2 };
    const used = combineUnits(after, before, (later, earlier) => later - earlier);
    expect(used).toEqual({ ...noUnits(), workerRequests: 15, sqsCalls: 2 });
  });
});
