import type { Missing, Overloaded } from "../streams/protocol/contract.ts";
import { fail } from "./router.ts";

/** Why there is no stream to answer for. */
export function failMissing(result: Missing | Overloaded): never {
  switch (result.code) {
    case "not-found":
      return fail({ code: "not-found", detail: "There is no stream at this path: create it with PUT." });
    case "deleted":
      return fail({ code: "gone", detail: "The stream was deleted; only its forks can still be read." });
    case "overloaded":
      return fail({
        code: "overloaded",
        detail: "Too much waits for this stream: send it again after `Retry-After`.",
        headers: { "retry-after": String(result.retryAfterSeconds) },
      });
  }
}
