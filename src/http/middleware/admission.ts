import { createMiddleware } from "hono/factory";
import { Admission, type Admitted } from "../admission.ts";
import type { Problem } from "../problem.ts";
import { type AppEnv, fail } from "../router.ts";

const PUBLISHES = /^\/(?:v1\/(?:events|commands|direct)\/|v1\/batch$|in\/)/;
/** Of a body that does not say how long it is. */
const USUAL_BYTES = 64 * 1024;

/** Of this isolate. */
const publishes = new Admission();

/** Answers 503 to publishes that there is no room for, before anything is read of them. */
export const admission = createMiddleware<AppEnv>(async (c, next) => {
  if (c.req.method !== "POST" || !PUBLISHES.test(c.req.path)) return next();
  const admitted = tryAdmit(c.req.header("content-length")) ?? fail(NO_ROOM);
  try {
    await next();
  } finally {
    admitted.leave(Date.now(), c.res.ok);
  }
});

/** Lets a publish in; null when there is no room. */
export function tryAdmit(contentLength: string | undefined): Admitted | null {
  const declared = Number(contentLength ?? USUAL_BYTES);
  return publishes.enter(Number.isFinite(declared) ? declared : USUAL_BYTES, Date.now());
}

/** What those are told that there is no room for. */
export const NO_ROOM: Problem = {
  code: "overloaded",
  detail: "There is no room for more right now: send it again after `Retry-After`.",
  headers: { "retry-after": "1" },
};
