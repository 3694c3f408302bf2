import { expect, it } from "vitest";
import { runChaos } from "../chaos/run.ts";

const TRAFFIC_MS = 20_000;

// The same as `npm run chaos -- --seed 1 --minutes 0.33`, which goes on for as long as one likes. At the same time, for
// most of a run is waiting.
it.concurrent.each(["1", "2"])(
  "keeps its promises while it, its D1, its queue, its clock, SQS and its subscribers fail: seed %s",
  async (seed) => {
    const { checks, counts } = await runChaos({ seed, durationMs: TRAFFIC_MS, say: () => undefined });
    expect(checks.flatMap(({ name, violations }) => violations.slice(0, 5).map((violation) => `${name}: ${violation}`))).toEqual([]);
    expect(counts.acknowledged).toBeGreaterThan(100);
    expect(counts.kills).toBeGreaterThan(0);
    expect(counts.tampered).toMatch(/d1 fail/);
    expect(counts.clockJumps).toBeGreaterThan(0);
  },
  300_000,
);
