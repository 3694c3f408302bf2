import { expect, it } from "vitest";
import { quantileOf, runNeighbours } from "../chaos/neighbours.ts";

const BACKLOG = 1_200;
const QUIET = 50;

// `npm run chaos -- --neighbours 100000` is the same on a larger scale, with figures.
it("does not let an endpoint that hangs, with much waiting for it, hold up others: of its tenant, or of another", async () => {
  const report = await runNeighbours({ backlog: BACKLOG, quietEndpoints: QUIET, rounds: 4, timeoutSeconds: 6, say: () => undefined });
  expect(report.quietArrivals).toBe(report.quietSent);
  expect(quantileOf(report.beside, 0.5)).toBeLessThan(500);
  expect(report.beside.at(-1)).toBeLessThan(3_000);
  expect(report.requestsToHanging).toBeLessThan(200);
  expect(report.drained).toBe(BACKLOG);
  expect(report.mostAtOnce).toBeLessThanOrEqual(64);
}, 120_000);
