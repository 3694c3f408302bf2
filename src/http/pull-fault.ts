import type { MailboxFault } from "../mailbox/mailbox.ts";
import type { Problem } from "./problem.ts";

/** What a client is told when the mailbox could not do it: 503, with what is missing or wrong. */
export function mailboxProblem(fault: MailboxFault): Problem {
  return {
    code: "unavailable",
    detail: `The mailbox: ${fault.detail}`,
    headers: { "retry-after": String(retryAfterSeconds(fault.code)) },
  };
}

function retryAfterSeconds(code: MailboxFault["code"]): number {
  switch (code) {
    case "throttled":
      return 1;
    case "unreachable":
      return 5;
    // someone has to mend the configuration first
    case "not-configured":
    case "refused":
      return 30;
  }
}
