import { log } from "../log.ts";
import type { NewMessage } from "../messages/message.ts";
import { publish } from "../messages/publish.ts";
import type { TenantLimits } from "../storage/limits.ts";
import { takeMessages } from "./middleware/rate-limit.ts";
import type { Problem } from "./problem.ts";
import { requirePayload } from "./publish-limits.ts";
import { acceptedBy, publishWorldOf } from "./published.ts";
import type { RequestWorld } from "./request-world.ts";
import { fail, type Principal, type RateLimitState, type Scope } from "./router.ts";
import { toTime } from "./schemas.ts";

const RETRY_AFTER_SECONDS = "5";
const NO_SCOPES: ReadonlySet<Scope> = new Set();

/** An inbound message that is an event now. */
export type PublishedInbound = { id: string; topic: string; offset: number; time: string; matched: number };

/** One request of a sender to a source of a tenant that may receive now. */
export type InboundCall = RequestWorld & {
  readonly request: Request;
  readonly limits: TenantLimits;
  /** Told what is left of the limit that messages are counted by, where there is one. */
  readonly onRateLimit: (state: RateLimitState) => void;
};

/** A source is not anybody who may ask for anything. */
export function principalOf({ id, tenantId }: { readonly id: string; readonly tenantId: string }): Principal {
  return { tokenId: id, operator: false, tenantId, scopes: NO_SCOPES };
}

/**
 * Publishes what was verified, within the tenant's limits. Answers once the event is committed; a repeat of it finds
 * itself there and delivers nothing.
 */
export async function publishInbound(call: InboundCall, tenantId: string, topic: string, message: NewMessage): Promise<PublishedInbound> {
  requirePayload(call.limits, message.body);
  const left = takeMessages(tenantId, call.limits, 1);
  if (left !== null) call.onRateLimit(left);
  const sending = publish(publishWorldOf(call.env, call.inBackground), tenantId, topic, [message]);
  const [appended] = await acceptedBy(call.requestId, sending);
  if (appended === undefined) throw new Error("one message was appended, and nothing came back");
  const { id, offset, timeMs, matched } = appended;
  return { id, topic, offset, time: toTime(timeMs), matched };
}

/** The log alone knows the reason: whoever tries messages out learns nothing from the answer. */
export function refused({ requestId }: InboundCall, source: { readonly id: string }, event: string, reason: string): never {
  log("warn", "an inbound message was refused", { event, requestId, sourceId: source.id, reason });
  return fail({ code: "verification-failed", detail: "The message did not pass verification." });
}

/** The fault is ours, so that the sender is to try again. */
export function askAgain(detail: string): Problem {
  return { code: "unavailable", detail, headers: { "retry-after": RETRY_AFTER_SECONDS } };
}
