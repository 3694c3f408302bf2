import { expect, it } from "vitest";
import type { PushTask } from "../../../src/delivery/attempt-push.ts";
import { AttemptSlots } from "../../../src/delivery/attempt-slots.ts";
import type { DeliveryResult } from "../../../src/delivery/outcome.ts";
import { PushCrew } from "../../../src/delivery/push-crew.ts";
import { SendSpacing } from "../../../src/delivery/send-spacing.ts";

const READ_AT_MS = 10_000;

it("takes no turn of an endpoint's rate for what comes too late to be sent", async () => {
  const nowMs = READ_AT_MS + 1_000;
  const spacing = new SendSpacing();
  const results: DeliveryResult[] = [];
  const slots = new AttemptSlots(() => nowMs);
  const world = { now: () => nowMs, random: () => 0.5 };
  const crew = new PushCrew({ world, slots, spacing, readAtMs: READ_AT_MS, onRoom: () => undefined, onResult: (result: DeliveryResult) => results.push(result) } as never);
  const task = { message: { offset: 3 }, claim: { endpointId: "ep_1" }, endpoint: { id: "ep_1", rateLimit: 1 }, others: 0 };
  await crew.push([{ task: task as unknown as PushTask, delayMs: 0 }]);
  expect(results).toMatchObject([{ offset: 3, endpointId: "ep_1", verdict: { status: "open", counted: false } }]);
  expect(slots.inUse).toBe(0);
  expect(spacing.tryStart("ep_1", 1, nowMs)).toBe(0);
});
