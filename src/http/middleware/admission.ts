import { createMiddleware } from "hono/factory";
import { Admission, type Admitted } from "../admission.ts";
import { overloaded } from "../published.ts";
import type { AppEnv } from "../router.ts";

const PUBLISHES = /^\/(?:v1\/(?:events|commands|direct)\/|v1\/batch$|in\/)/;
/** Of a body that does not say how long it is. */
const USUAL_BYTES = 64 * 1024;
const RETRY_AFTER_SECONDS = 1;

/** Of this isolate. */
const publishes = new Admission();

/** Answers 503 to publishes that there is no room for, before anything is read of them. */
export const admission = createMiddleware<AppEnv>(async (c, next) => {
  if (c.req.method !== "POST" || !PUBLISHES.test(c.req.path)) return next();
  const admitted = await admitPublish(c.req.raw, c.req.header("content-length"));
  try {
    await next();
  } finally {
    admitted.leave(Date.now(), c.res.ok);
  }
});

/** Lets a publish in, or ends it with 503. */
export async function admitPublish(request: Request, contentLength: string | undefined): Promise<Admitted> {
  const declared = Number(contentLength ?? USUAL_BYTES);
  const admitted = publishes.enter(Number.isFinite(declared) ? declared : USUAL_BYTES, Date.now());
  if (admitted !== null) return admitted;
  await request.body?.cancel();
  return overloaded(RETRY_AFTER_SECONDS, "There is no room for more right now: send it again after `Retry-After`.");
}
