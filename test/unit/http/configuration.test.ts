import { expect, it, vi } from "vitest";
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
