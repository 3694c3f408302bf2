import { checkPushUrl, type GuardOptions } from "../delivery/address-guard.ts";
import { compileFilterPolicy } from "../messages/filter-policy.ts";
import { isTarget, MAX_TARGET_CHARACTERS, parsePattern, topicKey } from "../messages/topic.ts";
import type { FilterScope, KeyedPattern } from "../storage/subscriptions.ts";
import type { Fault, Refusal } from "./refusal.ts";

/** What an endpoint or subscription asks for, as far as it is given: what the grammar and the policies judge. */
export type Wishes = {
  readonly url?: string | null | undefined;
  readonly node?: string | null | undefined;
  readonly topics?: readonly string[] | undefined;
  readonly topic?: string | null | undefined;
  readonly queue?: string | null | undefined;
  readonly filter?: unknown;
  readonly filterScope?: FilterScope | undefined;
};

/**
 * Judges names, patterns, address and filter, in that order: a malformed name is a refusal of its own kind, for it is
 * answered with another status. Null when all can be accepted. `filterScope` is the scope the filter will have.
 */
export function refusalOf(wishes: Wishes, guard: GuardOptions): Refusal | null {
  const malformed = [...nameFaults(wishes), ...patternFaults(wishes)];
  if (malformed.length > 0) return { code: "malformed-target", faults: malformed };
  const invalid = [...urlFaults(wishes.url, guard), ...filterFaults(wishes)];
  return invalid.length > 0 ? { code: "invalid", faults: invalid } : null;
}

function nameFaults({ node, queue }: Wishes): Fault[] {
  return [nameFault("/node", node), nameFault("/queue", queue)].filter((fault) => fault !== null);
}

/** What is wrong with the name of a topic, queue or node. */
export function nameFault(pointer: string, name: string | null | undefined): Fault | null {
  if (name === undefined || name === null || isTarget(name)) return null;
  const detail = `must be dot-separated parts of A-Z, a-z, 0-9, \`_\` and \`-\`, at most ${MAX_TARGET_CHARACTERS} characters`;
  return { pointer, detail };
}

function patternFaults({ topic, topics }: Wishes): Fault[] {
  const patterns = (topics ?? []).map((text, index): [string, string] => [`/topics/${index}`, text]);
  if (topic !== undefined && topic !== null) patterns.push(["/topic", topic]);
  return patterns.flatMap(([pointer, text]) => {
    const parsed = parsePattern(text);
    return parsed.ok ? [] : [{ pointer, detail: parsed.detail }];
  });
}

function urlFaults(url: string | null | undefined, guard: GuardOptions): Fault[] {
  if (url === undefined || url === null) return [];
  const checked = checkPushUrl(url, guard);
  return checked.ok ? [] : [{ pointer: "/url", detail: checked.detail }];
}

function filterFaults({ filter, filterScope = "attributes" }: Wishes): Fault[] {
  if (filter === undefined || filter === null) return [];
  const compiled = compileFilterPolicy(filter, filterScope);
  return compiled.ok ? [] : compiled.errors.map(({ pointer, detail }) => ({ pointer: `/filter${pointer}`, detail }));
}

/** A pattern that {@link refusalOf} let pass, with its index key; throws on any other. */
export function keyedPattern(text: string): KeyedPattern {
  const parsed = parsePattern(text);
  if (!parsed.ok) throw new Error("a topic pattern was not checked");
  return { topic: text, topicKey: topicKey(parsed.pattern) };
}
