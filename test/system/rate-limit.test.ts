import { expect, it } from "vitest";
import { runBurst } from "../chaos/burst.ts";

const PER_SECOND = 40;
const MESSAGES = 300;

// `npm run chaos -- --burst 5000` is the same on a larger scale, with figures.
it("never sends an endpoint more in a second than its rate limit, and loses nothing of a burst, in order if it is ordered", async () => {
  const [limited, ordered] = await runBurst({ messages: MESSAGES, perSecond: PER_SECOND, say: () => undefined });
  for (const report of [limited, ordered]) {
    expect(report).toMatchObject({ messages: MESSAGES, requests: MESSAGES });
    expect(report?.busiestSecond).toBeLessThanOrEqual(PER_SECOND);
  }
  expect(ordered?.inOrder).toBe(true);
}, 90_000);
