import { expect, it } from "vitest";
import { pendingAlarm } from "../../src/pending-alarm.ts";

const storageWith = (atMs: number | null) => ({ getAlarm: async () => atMs }) as unknown as DurableObjectStorage;

it("is the alarm that is still to come, and none once its time has passed", async () => {
  expect(await pendingAlarm(storageWith(2_000), 1_000)).toBe(2_000);
  expect(await pendingAlarm(storageWith(1_000), 1_000)).toBeNull();
  expect(await pendingAlarm(storageWith(null), 1_000)).toBeNull();
});
