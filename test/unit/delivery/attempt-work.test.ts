import { expect, it, vi } from "vitest";
import { AttemptSlots } from "../../../src/delivery/attempt-slots.ts";
import { attemptWork, type WorkContext } from "../../../src/delivery/attempt-work.ts";
import { Deadlines } from "../../../src/delivery/deadlines.ts";
import { SendSpacing } from "../../../src/delivery/send-spacing.ts";
import type { Work } from "../../../src/streams/contract.ts";

const TOPIC = { tenantId: "default", kind: "topics", name: "orders" } as const;
const message = (offset: number) => ({ id: `msg_${offset}`, offset, timeMs: 0, contentType: "text/plain", attributes: {}, traceparent: "00-0-0-01", body: new Uint8Array(1) });
const work = (offset: number, ...endpointIds: string[]): Work => ({
  message: message(offset),
  claims: endpointIds.map((endpointId) => ({ offset, endpointId, attemptNumber: 1 })),
});

/** One call of the deliverer: what was requested so far, and what ends the requests that hang. */
function open(rateLimits: Readonly<Record<string, number>> = {}) {
  const requested: string[] = [];
  const { promise: end, resolve } = Promise.withResolvers<void>();
  const slots = new AttemptSlots(() => Date.now());
  const spacing = new SendSpacing();
  const endpoint = (id: string) => ({
    id, tenantId: "default", kind: "push", url: `https://example.com/${id}`, status: "active", format: "raw", headers: {}, signingKeys: [],
    timeoutSeconds: 15, retryScheduleSeconds: [], rateLimit: rateLimits[id] ?? null, ordered: false, fallback: null, failingSinceMs: null,
  });
  const world = {
    now: () => Date.now(), random: () => 0.5, fillRandom: (bytes: Uint8Array) => void bytes.fill(1), userAgent: "test",
    allowHosts: new Set<string>(), allowHttp: false,
    fetch: async (url: string) => {
      const id = new URL(url).pathname.slice(1);
      requested.push(id);
      if (id.startsWith("ep_hangs")) await end;
      return new Response(null, { status: 204 });
    },
  };
  const context = {
    stream: TOPIC, slots, spacing, world, deadlines: new Deadlines(world.now), readAtMs: Date.now(), returning: false,
    destinationOf: ({ endpointId }: { endpointId: string }) => ({ kind: "push", endpoint: endpoint(endpointId), others: 0 }),
    reserveTurns: async (_id: string, count: number) => ({ delaysMs: Array(count).fill(0), laterMs: [] }),
    onResult: () => undefined, onReport: () => undefined, onRoom: () => undefined, answerQuery: async () => undefined,
  };
  return { context: context as unknown as WorkContext, requested, slots, spacing, world, end: resolve };
}

it("holds up no endpoint for another one whose rate has it wait", async () => {
  const { context, requested, spacing } = open({ ep_limited: 2, ep_limited_too: 100 });
  expect(spacing.tryStart("ep_limited", 2, Date.now())).toBe(0); // an earlier request went out late
  const attempting = attemptWork([work(0, "ep_limited", "ep_limited_too")], context);
  await vi.waitFor(() => expect(requested).toEqual(["ep_limited_too"]), { timeout: 200, interval: 5 });
  await attempting;
  expect(requested).toEqual(["ep_limited_too", "ep_limited"]);
});

it("holds up no endpoint for another one that has as many under way as it may", async () => {
  const { context, requested, slots, end } = open();
  for (let held = 0; held < 128; held++) expect(typeof slots.tryAcquire("ep_hangs", Date.now())).toBe("object");
  const attempting = attemptWork([work(0, "ep_hangs", "ep_free"), work(1, "ep_hangs", "ep_free"), work(2, "ep_hangs", "ep_free")], context);
  await vi.waitFor(() => expect(requested).toEqual(["ep_free", "ep_free", "ep_free"]), { timeout: 100, interval: 5 });
  end();
  await attempting;
});

it("tries each push of a large fan-out when there is room for it, and not all of them each time one ends", async () => {
  const { context, requested, slots } = open();
  const tries = vi.spyOn(slots, "tryAcquire");
  await attemptWork([work(0, ...Array.from({ length: 2_000 }, (_, index) => `ep_${index}`))], context);
  expect(new Set(requested).size).toBe(2_000);
  // Once for each, and at most once more for each attempt that ended meanwhile.
  expect(tries.mock.calls.length).toBeLessThan(2 * 2_000 + 100);
});

it("lets the endpoints take turns: one with few does not wait behind all of one with many", async () => {
  const { context, requested } = open();
  await attemptWork([...Array.from({ length: 50 }, (_, offset) => work(offset, "ep_many")), work(50, "ep_few")], context);
  expect(requested.indexOf("ep_few")).toBeLessThan(3);
  expect(requested.filter((id) => id === "ep_many")).toHaveLength(50);
});

it("does not wait for a turn that a clock which was set back has put far ahead", async () => {
  const { context, requested, world } = open({ ep_limited: 1_000 });
  let setBackMs = 0;
  world.now = () => Date.now() - setBackMs;
  const attempting = attemptWork([work(0, "ep_limited"), work(1, "ep_limited"), work(2, "ep_limited")], {
    ...context, reserveTurns: async () => ({ delaysMs: [0, 200, 400], laterMs: [] }),
  });
  await vi.waitFor(() => expect(requested).toHaveLength(1), { timeout: 150, interval: 5 });
  setBackMs = 3_600_000;
  await attempting;
  expect(requested).toHaveLength(3);
});

/** How long a call is held up whose endpoint has as many under way as it may, in an isolate whose timers come so much too late. */
async function heldUpMs(lateMs: number): Promise<number> {
  vi.useFakeTimers();
  try {
    const { context, slots, end } = open();
    for (let held = 0; held < 128; held++) slots.tryAcquire("ep_hangs", Date.now());
    const startedAtMs = Date.now();
    let heldMs: number | null = null;
    const attempting = attemptWork([work(0, "ep_hangs", "ep_free")], { ...context, onRoom: () => (heldMs ??= Date.now() - startedAtMs) });
    while (heldMs === null) {
      vi.setSystemTime(Date.now() + lateMs);
      await vi.advanceTimersByTimeAsync(1);
    }
    end();
    await vi.runAllTimersAsync();
    await attempting;
    return heldMs;
  } finally {
    vi.useRealTimers();
  }
}

it("holds its caller up while this isolate is behind, and not for an endpoint that is slow", async () => {
  expect(await heldUpMs(0)).toBeLessThan(50);
  expect(await heldUpMs(3)).toBeGreaterThanOrEqual(300); // until those before it count as slow
});
