import { expect, it, vi } from "vitest";
import { allOrNothing } from "../../../src/streams/all-or-nothing.ts";

function openObject() {
  let onDisk: readonly string[] = [];
  const abort = vi.fn<(reason: string) => void>();
  const transactionSync = <Result>(change: () => Result): Result => {
    const before = onDisk;
    try {
      return change();
    } catch (error) {
      onDisk = before;
      throw error;
    }
  };
  const write = (row: string): void => void (onDisk = [...onDisk, row]);
  return { ctx: { storage: { transactionSync }, abort }, write, onDisk: () => onDisk, abort };
}

it("leaves nothing of a change that throws, and has the object start again", () => {
  const { ctx, write, onDisk, abort } = openObject();
  expect(allOrNothing(ctx, "settling", () => write("kept"))).toBeUndefined();
  expect(abort).not.toHaveBeenCalled();
  const failing = (): void => {
    write("half");
    throw new Error("the other half could not be written");
  };
  expect(() => allOrNothing(ctx, "settling", failing)).toThrow("the other half");
  expect(onDisk()).toEqual(["kept"]);
  expect(abort).toHaveBeenCalledExactlyOnceWith("settling failed");
});
