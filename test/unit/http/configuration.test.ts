import { expect, it, vi } from "vitest";
import { parseConfig } from "../../../src/config.ts";
import { openGateway } from "./gateway.ts";

it("answers 500 while a variable is missing, and names it in the log alone", async () => {
  const error = vi.spyOn(console, "error").mockImplementation(() => undefined);
  const gateway = openGateway({ POSTERN_ENCRYPTION_KEYS: undefined });
  const response = await gateway.send("GET", "/v1/tokens");
  expect(response.status).toBe(500);
  expect(await response.text()).not.toContain("POSTERN_ENCRYPTION_KEYS");
  expect(error.mock.calls.flat().join("\n")).toContain("POSTERN_ENCRYPTION_KEYS is missing");
  expect((await gateway.send("GET", "/readyz", { token: null })).status).toBe(503);
  expect((await gateway.send("GET", "/healthz", { token: null })).status).toBe(200);
});

it("has history in full unless told otherwise, and names what it can be", () => {
  const env = { POSTERN_ENCRYPTION_KEYS: `test:${Buffer.alloc(32, 7).toString("base64")}` };
  expect(parseConfig(env).history).toBe("full");
  expect(parseConfig({ ...env, POSTERN_HISTORY: "" }).history).toBe("full");
  expect(parseConfig({ ...env, POSTERN_HISTORY: "failures" }).history).toBe("failures");
  expect(() => parseConfig({ ...env, POSTERN_HISTORY: "off" })).toThrow("POSTERN_HISTORY: must be `full` or `failures`");
});
