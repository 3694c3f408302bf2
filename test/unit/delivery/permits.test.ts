import { expect, it } from "vitest";
import { Permits } from "../../../src/delivery/permits.ts";

it("gives out no more permits than may be out at once, and those given back again", () => {
  const permits = new Permits();
  const first = permits.take(5, 3, 1_000, 0);
  expect(first).toHaveLength(3);
  expect(permits.take(1, 3, 1_000, 1)).toEqual([]);
  permits.giveBack(first[1] ?? -1);
  permits.giveBack(first[1] ?? -1);
  const [again] = permits.take(2, 3, 1_000, 2);
  expect(first).not.toContain(again);
  expect(permits.take(1, 3, 1_000, 2)).toEqual([]);
});

it("takes one back that was not given back in time, and lowers the number at once when less is wanted", () => {
  const permits = new Permits();
  permits.take(2, 2, 1_000, 0);
  expect(permits.take(2, 2, 1_000, 999)).toEqual([]);
  expect(permits.take(2, 2, 1_000, 1_000)).toHaveLength(2);
  expect(permits.take(1, 1, 1_000, 1_001)).toEqual([]);
});
