import { readFileSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";

const SOURCE = join(import.meta.dirname, "../../src");

/** Paths below `src`, with `/`, of the files whose text matches. */
function filesWith(pattern: RegExp): string[] {
  return readdirSync(SOURCE, { recursive: true, encoding: "utf8" })
    .map((path) => path.replaceAll("\\", "/"))
    .filter((path) => path.endsWith(".ts") && pattern.test(readFileSync(join(SOURCE, path), "utf8")));
}

// What files may import is a rule of the linter (.oxlintrc.json); this is what it cannot see.
describe("the layers", () => {
  it("keep all SQL on D1 in src/storage", () => {
    const files = filesWith(/\.prepare\(/);
    expect(files.length).toBeGreaterThan(0);
    expect(files.filter((path) => !path.startsWith("storage/") && path !== "local/migrator.worker.ts")).toEqual([]);
  });

  it("keep the SQL of the objects with the objects", () => {
    const files = filesWith(/\bsql\.exec\(/);
    expect(files.length).toBeGreaterThan(0);
    expect(files.filter((path) => !/^(streams|mailbox|queries)\//.test(path))).toEqual([]);
  });
});
