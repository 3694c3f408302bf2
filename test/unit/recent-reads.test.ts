import { expect, it } from "vitest";
import { RecentReads } from "../../src/recent-reads.ts";

it("gives out a value until it is too old, and none from the future when the clock was set back", () => {
  const recent = new RecentReads<string>(1_000, 10);
  recent.set("key", "value", 50_000);
  expect(recent.get("key", 50_999)).toBe("value");
  expect(recent.get("key", 49_999)).toBeUndefined();
  recent.set("key", "value", 50_000);
  expect(recent.get("key", 51_000)).toBeUndefined();
});
