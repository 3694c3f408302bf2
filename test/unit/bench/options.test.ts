import { describe, expect, it } from "vitest";
import { parseOptions } from "../../bench/options.ts";

describe("the bench's command line", () => {
  it("measures the usual rows three times when it says nothing", () => {
    const { only, runs, json } = parseOptions([]);
    expect(only).toEqual(expect.arrayContaining(["throughput", "latency", "fanout10", "sns", "batch", "pull", "cost", "subscriptions", "retries", "overload", "load"]));
    expect(only).not.toContain("growth");
    expect({ runs, json }).toEqual({ runs: 3, json: null });
  });

  it("measures what is named, the long rows too", () => {
    expect(parseOptions(["--only", "growth,cost", "--only", "load"]).only).toEqual(["growth", "cost", "load"]);
  });

  it.each([
    [["--only", "nothing"], "there is no row nothing"],
    [["--runs", "0"], "--runs takes"],
    [["--runs", "many"], "--runs takes"],
    [["--seconds", "0.2"], "--seconds takes"],
  ])("refuses %j", (args, detail) => {
    expect(() => parseOptions(args)).toThrow(detail);
  });
});
