import { afterEach, describe, expect, it, vi } from "vitest";
import { lateJson } from "../../../src/http/pull-response.ts";

afterEach(() => {
  vi.useRealTimers();
  vi.restoreAllMocks();
});

function answering(work: (gone: AbortSignal) => Promise<string>) {
  const undone: string[] = [];
  const background: Promise<void>[] = [];
  const stream = lateJson({
    work,
    present: async (value) => JSON.stringify({ value }),
    undo: async (value) => void undone.push(value),
    background: (promise) => void background.push(promise),
  });
  return { stream, undone, settled: () => Promise.all(background) };
}

describe("an answer that begins before it is known", () => {
  it("is JSON once it is complete, white space before it included", async () => {
    const { stream, undone } = answering(async () => "found");
    const text = await new Response(stream).text();
    expect(text).toMatch(/^ +\{/);
    expect(JSON.parse(text)).toEqual({ value: "found" });
    expect(undone).toEqual([]);
  });

  it("writes a byte a second while it waits", async () => {
    vi.useFakeTimers();
    const found = Promise.withResolvers<string>();
    const { stream } = answering(() => found.promise);
    const text = new Response(stream).text();
    await vi.advanceTimersByTimeAsync(3_500);
    found.resolve("at last");
    await vi.advanceTimersByTimeAsync(100);
    // at the start, after each second, and before the end
    expect(await text).toBe(`${" ".repeat(5)}{"value":"at last"}`);
  });

  it("tells the work when the reader is gone, and undoes what it brings after that", async () => {
    const found = Promise.withResolvers<string>();
    let told: AbortSignal | undefined;
    const { stream, undone, settled } = answering((gone) => {
      told = gone;
      return found.promise;
    });
    const reader = stream.getReader();
    await reader.read();
    await reader.cancel();
    expect(told?.aborted).toBe(true);
    found.resolve("too late");
    await settled();
    expect(undone).toEqual(["too late"]);
  });

  it("undoes what it has when the last byte before it finds nobody", async () => {
    const { stream, undone, settled } = answering(async () => "found");
    const reader = stream.getReader();
    await reader.read();
    await reader.read();
    await reader.cancel();
    await settled();
    expect(undone).toEqual(["found"]);
  });

  it("is cut off when the work throws, so that it passes for no answer", async () => {
    vi.spyOn(console, "error").mockImplementation(() => undefined);
    const { stream } = answering(() => Promise.reject(new Error("a bug")));
    await expect(new Response(stream).text()).rejects.toThrow("the wait failed");
  });
});
