import { createMiddleware } from "hono/factory";
import { type Isolate, isolateOf } from "../../isolate.ts";
import { describeError, log } from "../../log.ts";
import { type AppEnv, fail } from "../router.ts";

/** Gives the routes their configuration; 500 while the deployment lacks a part of it, which the log names. */
export const configuration = createMiddleware<AppEnv>(async (c, next) => {
  const { config, keyRing } = configuredIsolate(c.env, c.get("requestId"));
  c.set("config", config);
  c.set("keyRing", keyRing);
  await next();
});

function configuredIsolate(env: AppEnv["Bindings"], requestId: string): Isolate {
  try {
    return isolateOf(env);
  } catch (thrown) {
    log("error", "configuration is incomplete", { requestId, error: describeError(thrown) });
    return fail({ code: "internal", detail: "The gateway is not configured completely; its log says what is missing." });
  }
}
