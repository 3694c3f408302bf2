import { expect, it } from "vitest";
import { createApp } from "../../../src/http/app.ts";
import { ROWS } from "../../system/isolation-rows.ts";

/** Under this method Hono files middleware. */
const ANY_METHOD = "ALL";

it("has a row in the isolation matrix for every route there is, and none for what there is not", () => {
  const routes = createApp().routes.filter(({ method }) => method !== ANY_METHOD).map(({ method, path }) => `${method} ${path}`);
  expect(Object.keys(ROWS).sort()).toEqual([...new Set(routes)].sort());
});
