import type { Context } from "hono";
import { HTTPException } from "hono/http-exception";
import { describeError, log } from "../log.ts";
import { type Problem, ProblemError, problemResponse } from "./problem.ts";
import type { AppEnv } from "./router.ts";

const RETRY_AFTER_SECONDS = "2";

/** Failures of D1 that pass: the network, a restart, an overload. A broken statement or constraint is a bug of ours. */
const D1_UNAVAILABLE =
  /^D1_(?:ERROR|EXEC_ERROR|SESSION_ERROR)\b(?!.*(?:constraint|no such|syntax|mismatch|SQLITE_ERROR))|^D1 DB|Network connection lost|storage (?:operation|caused object)/i;

/** The one place where what was thrown becomes a response. */
export function onError(thrown: unknown, c: Context<AppEnv>): Response {
  const requestId = c.get("requestId");
  return problemResponse(problemOf(thrown, requestId), requestId);
}

/** What is told of whatever was thrown; the log has the rest. */
export function problemOf(thrown: unknown, requestId: string): Problem {
  if (thrown instanceof ProblemError) return thrown.problem;
  if (thrown instanceof HTTPException) return fromFramework(thrown);
  const fields = { requestId, error: describeError(thrown) };
  if (isUnavailable(thrown)) {
    log("error", "a dependency is unavailable", fields);
    return {
      code: "unavailable",
      detail: "Try again in a moment.",
      headers: { "retry-after": RETRY_AFTER_SECONDS },
    };
  }
  log("error", "unexpected error", fields);
  return { code: "internal", detail: "Try again; if it stays, report the request id in `instance`." };
}

/** Hono throws these itself while it reads a body. */
function fromFramework({ status, message }: HTTPException): Problem {
  switch (status) {
    case 400:
      return { code: "malformed-json", detail: "Mend the body: it can not be read as JSON." };
    case 413:
      return { code: "payload-too-large", detail: "Send a smaller body." };
    case 415:
      return { code: "unsupported-media-type", detail: "Send the body with a content type this route takes: see /docs." };
    default:
      log("error", "unexpected error", { status, message });
      return { code: "internal", detail: "Try again; if it stays, report the request id in `instance`." };
  }
}

/** D1 says so in its message only; a Durable Object's errors carry `retryable` or `overloaded`. */
function isUnavailable(thrown: unknown): boolean {
  if (!(thrown instanceof Error)) return false;
  if ("overloaded" in thrown && thrown.overloaded === true) return true;
  if ("retryable" in thrown && thrown.retryable === true) return true;
  return D1_UNAVAILABLE.test(thrown.message);
}
