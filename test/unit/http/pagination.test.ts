import { describe, expect, it } from "vitest";
import { type Config, parseConfig } from "../../../src/config.ts";
import { decodeCursor, encodeCursor, toPage } from "../../../src/http/pagination.ts";
import { ProblemError } from "../../../src/http/problem.ts";

function configWith(...keys: number[]): Config {
  return {
    ...parseConfig({ POSTERN_ENCRYPTION_KEYS: `k:${btoa("x".repeat(32))}` }),
    encryptionKeys: keys.map((fill) => ({ id: `k${fill}`, key: new Uint8Array(32).fill(fill) })),
  };
}

const config = configWith(1);
const scope = { config, tenantId: "default", list: "tokens" };

async function refusal(decoding: Promise<unknown>): Promise<string | undefined> {
  try {
    await decoding;
  } catch (error) {
    if (error instanceof ProblemError) return error.problem.code;
    throw error;
  }
  return undefined;
}

describe("a cursor", () => {
  it("brings back the position", async () => {
    const position = ["tok_1", 1_700_000_000_000, "ü\n"];
    expect(await decodeCursor(scope, await encodeCursor(scope, position))).toEqual(position);
    expect(await decodeCursor(scope, undefined)).toBeUndefined();
  });

  it("is refused with any one character changed", async () => {
    const cursor = await encodeCursor(scope, ["tok_01kgh2m8q0v7x3w5y9z1a2b3c4"]);
    for (let index = 0; index < cursor.length; index++) {
      const other = cursor[index] === "A" ? "B" : "A";
      const tampered = cursor.slice(0, index) + other + cursor.slice(index + 1);
      expect(await refusal(decodeCursor(scope, tampered)), `at ${index}`).toBe("invalid-cursor");
    }
  });

  it.each(["", "A", "x y", "====", "%%%", "tok_1", "a".repeat(1000)])("is refused when made up: %j", async (cursor) => {
    expect(await refusal(decodeCursor(scope, cursor))).toBe("invalid-cursor");
  });

  it("is refused when cut or padded", async () => {
    const cursor = await encodeCursor(scope, ["tok_1"]);
    for (const other of [cursor.slice(0, -1), `${cursor}A`, `${cursor}=`, ` ${cursor}`]) {
      expect(await refusal(decodeCursor(scope, other))).toBe("invalid-cursor");
    }
  });

  it("belongs to one tenant and one list", async () => {
    const cursor = await encodeCursor(scope, ["tok_1"]);
    for (const other of [{ tenantId: "acme" }, { tenantId: null }, { list: "audit" }, { config: configWith(2) }]) {
      expect(await refusal(decodeCursor({ ...scope, ...other }, cursor))).toBe("invalid-cursor");
    }
  });

  it("outlives a change of the first encryption key", async () => {
    const cursor = await encodeCursor(scope, ["tok_1"]);
    expect(await decodeCursor({ ...scope, config: configWith(2, 1) }, cursor)).toEqual(["tok_1"]);
  });
});

describe("a page", () => {
  const page = (rows: readonly number[], limit: number) => toPage(scope, rows, limit, (row) => [row], (row) => row * 10);

  it("has a next one only when there is a row too many", async () => {
    expect(await page([1, 2], 2)).toEqual({ data: [10, 20], next: null });
    expect(await page([], 2)).toEqual({ data: [], next: null });
    const { data, next } = await page([1, 2, 3], 2);
    expect(data).toEqual([10, 20]);
    expect(await decodeCursor(scope, next ?? "")).toEqual([2]);
  });
});
