import type { Context } from "hono";
import { log } from "../log.ts";
import type { NewMessage } from "../messages/message.ts";
import { publish } from "../messages/publish.ts";
import type { Problem } from "./problem.ts";
import { requireWithinLimits } from "./publish-limits.ts";
import { publishWorld } from "./published.ts";
import { type AppEnv, fail, type Scope } from "./router.ts";
import { toTime } from "./schemas.ts";
import { standingOf } from "./tenant-standings.ts";

const RETRY_AFTER_SECONDS = "5";
const NO_SCOPES: ReadonlySet<Scope> = new Set();

/** An inbound message that is an event now. */
export type PublishedInbound = { id: string; topic: string; offset: number; time: string; matched: number };

/**
 * Ends the request unless the source's tenant may receive now. The sender is asked to come again: who is refused for
 * good is only what does not verify.
 */
export async function requireStanding(c: Context<AppEnv>, source: { readonly id: string; readonly tenantId: string }): Promise<void> {
  const { tenantId } = source;
  const standing = await standingOf(c.env.DB, tenantId, Date.now(), (work) => c.executionCtx.waitUntil(work));
  if (standing === null) return fail({ code: "not-found", detail: "There is no source of that id." });
  if (standing.suspended) return fail(askAgain("This source takes no messages now: send it again later."));
  c.set("limits", standing.limits);
  c.set("principal", { tokenId: source.id, operator: false, tenantId, scopes: NO_SCOPES });
}

/**
 * Publishes what was verified, within the tenant's limits. Answers once the event is committed; a repeat of it finds
 * itself there and delivers nothing.
 */
export async function publishInbound(c: Context<AppEnv>, tenantId: string, topic: string, message: NewMessage): Promise<PublishedInbound> {
  requireWithinLimits(c, [message]);
  const result = await publish(publishWorld(c), tenantId, topic, [message]);
  if (!result.ok) {
    const headers = { "retry-after": String(result.retryAfterSeconds) };
    return fail({ code: "overloaded", detail: "Send the message again later.", headers });
  }
  const [appended] = result.appended;
  if (appended === undefined) throw new Error("one message was appended, and nothing came back");
  const { id, offset, timeMs, matched } = appended;
  return { id, topic, offset, time: toTime(timeMs), matched };
}

/** The log alone knows the reason: whoever tries messages out learns nothing from the answer. */
export function refused(c: Context<AppEnv>, source: { readonly id: string }, event: string, reason: string): never {
  log("warn", "an inbound message was refused", { event, requestId: c.get("requestId"), sourceId: source.id, reason });
  return fail({ code: "verification-failed", detail: "The message did not pass verification." });
}

/** The fault is ours, so that the sender is to try again. */
export function askAgain(detail: string): Problem {
  return { code: "unavailable", detail, headers: { "retry-after": RETRY_AFTER_SECONDS } };
}
