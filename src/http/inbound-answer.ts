import type { Context } from "hono";
import { log } from "../log.ts";
import type { NewMessage } from "../messages/message.ts";
import { publish } from "../messages/publish.ts";
import type { Problem } from "./problem.ts";
import { publishWorld } from "./published.ts";
import { type AppEnv, fail } from "./router.ts";
import { toTime } from "./schemas.ts";

const RETRY_AFTER_SECONDS = "5";

/** An inbound message that is an event now. */
export type PublishedInbound = { id: string; topic: string; offset: number; time: string; matched: number };

/** Answers once the event is committed; a repeat of it finds itself there and delivers nothing. */
export async function publishInbound(c: Context<AppEnv>, tenantId: string, topic: string, message: NewMessage): Promise<PublishedInbound> {
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
