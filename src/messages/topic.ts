/** Topics, nodes and queues share this grammar (§1); a pattern is as long as a target at most. */
export const MAX_TARGET_CHARACTERS = 128;

/** The first segment of the topics that only the gateway itself publishes on. */
const RESERVED_SEGMENT = "postern";

const TARGET = /^[A-Za-z0-9_-]+(?:\.[A-Za-z0-9_-]+)*$/;
const SEGMENT = /^[A-Za-z0-9_-]+$/;
const METHOD = /^[A-Za-z0-9_]+$/;

/** A parsed topic pattern. Two patterns are the same when their `text` is. */
export type TopicPattern = {
  readonly text: string;
  /** Literal segments, and `*` for exactly one of any; without the trailing `**`. */
  readonly segments: readonly string[];
  /** Whether the pattern ends in `**`: one or more segments of any. */
  readonly anyDepth: boolean;
  /** Whether it holds no wildcard, and so matches the one topic it spells. */
  readonly exact: boolean;
};

export type ParsedPattern =
  | { readonly ok: true; readonly pattern: TopicPattern }
  | { readonly ok: false; readonly detail: string };

/** Whether this is the name of a topic, queue or node: dot-separated segments, case-sensitive. */
export function isTarget(name: string): boolean {
  return name.length <= MAX_TARGET_CHARACTERS && TARGET.test(name);
}

/**
 * Whether it is a topic of the gateway's own events. A pattern that begins with a wildcard does not match it: whoever
 * subscribes to everything does not mean these.
 */
export function isReservedTopic(topic: string): boolean {
  return topic === RESERVED_SEGMENT || topic.startsWith(`${RESERVED_SEGMENT}.`);
}

/** Splits the target of a command or query, `queue/method`; null when it is not one. */
export function parseQueueMethod(target: string): { readonly queue: string; readonly method: string } | null {
  const slash = target.indexOf("/");
  if (slash < 0) return null;
  const queue = target.slice(0, slash);
  const method = target.slice(slash + 1);
  return isTarget(queue) && isMethod(method) ? { queue, method } : null;
}

/** Whether this is the name of a queue's method. */
export function isMethod(name: string): boolean {
  return name.length <= MAX_TARGET_CHARACTERS && METHOD.test(name);
}

/**
 * Parses `orders.created`, `orders.*` (one segment, anywhere), `orders.**` (one segment or more, at the end only)
 * or `**` (every topic). `detail` says how to mend it.
 */
export function parsePattern(text: string): ParsedPattern {
  if (text === "") return { ok: false, detail: "is empty: use a topic, `orders.*`, `orders.**` or `**`" };
  if (text.length > MAX_TARGET_CHARACTERS) {
    return { ok: false, detail: `is longer than ${MAX_TARGET_CHARACTERS} characters` };
  }
  const segments = text.split(".");
  const anyDepth = segments.at(-1) === "**";
  if (anyDepth) segments.pop();
  for (const segment of segments) {
    const detail = segmentFault(segment);
    if (detail !== null) return { ok: false, detail };
  }
  return { ok: true, pattern: { text, segments, anyDepth, exact: !anyDepth && !segments.includes("*") } };
}

function segmentFault(segment: string): string | null {
  if (segment === "*" || SEGMENT.test(segment)) return null;
  if (segment === "") return "has an empty segment: separate segments with one dot each";
  if (segment === "**") return "`**` may only be the last segment";
  if (segment.includes("*")) return `\`${segment}\` mixes \`*\` with text: \`*\` stands for one whole segment`;
  return "may only hold A-Z, a-z, 0-9, `_` and `-` between the dots";
}

/** Whether a topic (a valid target) is matched by the pattern. */
export function matchesTopic(pattern: TopicPattern, topic: string): boolean {
  if (pattern.exact) return pattern.text === topic;
  const actual = topic.split(".");
  const expected = pattern.segments;
  if (isReservedTopic(topic) && expected[0] !== RESERVED_SEGMENT) return false;
  if (pattern.anyDepth ? actual.length <= expected.length : actual.length !== expected.length) return false;
  return expected.every((segment, index) => segment === "*" || segment === actual[index]);
}

/**
 * The index key a subscription is stored under: `=` and the topic for an exact pattern; otherwise `~` and the
 * literal segments before the first wildcard (`orders.*.eu` → `~orders`, `**` → `~`).
 */
export function topicKey(pattern: TopicPattern): string {
  if (pattern.exact) return `=${pattern.text}`;
  const wildcard = pattern.segments.indexOf("*");
  const head = wildcard < 0 ? pattern.segments : pattern.segments.slice(0, wildcard);
  return `~${head.join(".")}`;
}

/**
 * Every {@link topicKey} that a subscription matching this topic can have, at most 65: a pattern with a wildcard
 * needs a topic segment for it, so its literal head is shorter than the topic.
 */
export function topicKeys(topic: string): string[] {
  const keys = isReservedTopic(topic) ? [`=${topic}`] : [`=${topic}`, "~"];
  for (let dot = topic.indexOf("."); dot >= 0; dot = topic.indexOf(".", dot + 1)) {
    keys.push(`~${topic.slice(0, dot)}`);
  }
  return keys;
}
