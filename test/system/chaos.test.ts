import { expect, it } from "vitest";
import { runChaos } from "../chaos/run.ts";

const TRAFFIC_MS = 20_000;

// The same as `npm run chaos -- --seed 1 --minutes 0.33`, which goes on for as long as one likes.
it.each(["1", "2"])(
  "keeps its promises while it is killed, cut off from SQS and badly answered: seed %s",
  async (seed) => {
    const { checks, counts } = await runChaos({ seed, durationMs: TRAFFIC_MS, say: () => undefined });
    expect(checks.flatMap(({ name, violations }) => violations.slice(0, 5).map((violation) => `${name}: ${violation}`))).toEqual([]);
    expect(counts.acknowledged).toBeGreaterThan(100);
    expect(counts.kills).toBeGreaterThan(0);
  },
  300_000,
);
