import { parseAttributes } from "../messages/attributes.ts";
import type { Attributes } from "../messages/message.ts";
import { isReservedTopic, isTarget, parseQueueMethod } from "../messages/topic.ts";
import { type FieldError, type PosternProblem, problem } from "./errors.ts";
import type { ReceiveRequest, SettleAction } from "./puller.ts";

// What both buses refuse before anything is sent, as the gateway would.

const MAX_MESSAGES = 10;
const MAX_WAIT_SECONDS = 20;
const MAX_HIDDEN_SECONDS = 43_200;
const MAX_QUERY_SECONDS = 60;

/**
 * Targets are checked here too, with the gateway's own grammar: a name such as `..` would become another path before
 * the gateway could refuse it.
 */
export function checkTarget(name: string): string {
  if (isTarget(name)) return name;
  throw problem("malformed-target", `\`${name}\` must be dot-separated segments of A-Z a-z 0-9 _ -, at most 128 characters.`);
}

/** A topic that may be published on. */
export function checkTopic(name: string): string {
  if (!isReservedTopic(checkTarget(name))) return name;
  throw problem("reserved-topic", "Topics that begin with `postern` are for the gateway's own events: publish on another one.");
}

/** The parts of `queue/method`. */
export function checkQueueMethod(target: string): { readonly queue: string; readonly method: string } {
  const parsed = parseQueueMethod(target);
  if (parsed !== null) return parsed;
  throw problem("malformed-target", `\`${target}\` must be \`queue/method\`: the name of a queue, and a method of A-Z a-z 0-9 _.`);
}

/** The attributes with their names in lower case. */
export function checkAttributes(sent: Attributes = {}): Attributes {
  const parsed = parseAttributes(Object.entries(sent), (name) => (name === "" ? "/attributes" : `/attributes/${name}`));
  if (parsed.ok) return parsed.attributes;
  throw invalid(parsed.errors);
}

/** Seconds that a query waits: 1 to 60. */
export function checkQueryTimeout(seconds: number): number {
  if (seconds >= 1 && seconds <= MAX_QUERY_SECONDS) return seconds;
  throw invalid([{ pointer: "?timeout", detail: `Must be a number of seconds from 1 to ${MAX_QUERY_SECONDS}.` }]);
}

export function checkReceive({ max, waitSeconds, visibilitySeconds }: ReceiveRequest): void {
  checkRanges([
    ["?max", max, 1, MAX_MESSAGES],
    ["?wait", waitSeconds, 0, MAX_WAIT_SECONDS],
    ["?visibility", visibilitySeconds, 0, MAX_HIDDEN_SECONDS],
  ]);
}

export function checkSettle(action: SettleAction): void {
  if (action.kind === "nack") checkRanges([["/delaySeconds", action.delaySeconds, 0, MAX_HIDDEN_SECONDS]]);
  if (action.kind === "extend") checkRanges([["/visibility", action.visibilitySeconds, 0, MAX_HIDDEN_SECONDS]]);
}

export function invalid(errors: readonly FieldError[]): PosternProblem {
  return problem("invalid-request", "Mend the listed fields and send the request again.", errors);
}

function checkRanges(ranges: readonly (readonly [pointer: string, value: number, min: number, max: number])[]): void {
  const errors = ranges.flatMap(([pointer, value, min, max]): FieldError[] =>
    Number.isInteger(value) && value >= min && value <= max ? [] : [{ pointer, detail: `Must be a whole number from ${min} to ${max}.` }],
  );
  if (errors.length > 0) throw invalid(errors);
}
