import fc from "fast-check";
import { describe, expect, it } from "vitest";
import {
  isMethod,
  isReservedTopic,
  isTarget,
  matchesTopic,
  parsePattern,
  parseQueueMethod,
  type TopicPattern,
  topicKey,
  topicKeys,
} from "../../../src/messages/topic.ts";

function pattern(text: string): TopicPattern {
  const parsed = parsePattern(text);
  if (!parsed.ok) throw new Error(`${text}: ${parsed.detail}`);
  return parsed.pattern;
}

// two letters and a dash, so that random patterns and topics meet
const segment = fc.constantFrom("a", "b", "a-", "A");
const topics = fc.array(segment, { minLength: 1, maxLength: 5 }).map((segments) => segments.join("."));
const patterns = fc
  .tuple(fc.array(fc.oneof(segment, fc.constant("*")), { maxLength: 5 }), fc.boolean())
  .map(([segments, anyDepth]) => (anyDepth || segments.length === 0 ? [...segments, "**"] : segments).join("."));

/** The grammar of §1 as a regular expression: what the matcher is compared with. */
function matchesByRegex(text: string, topic: string): boolean {
  const source = text
    .split(".")
    .map((part) => (part === "**" ? "[^.]+(\\.[^.]+)*" : part === "*" ? "[^.]+" : part))
    .join("\\.");
  return new RegExp(`^${source}$`).test(topic);
}

describe("targets", () => {
  it.each(["orders", "orders.completed", "A-b_9.C", "a".repeat(128), "0"])("accepts %s", (name) => {
    expect(isTarget(name)).toBe(true);
  });

  it.each(["", ".", "orders.", ".orders", "a..b", "a b", "a/b", "ä", "a*", "a\n", "\na", "a".repeat(129), "%2e"])(
    "refuses %j",
    (name) => {
      expect(isTarget(name)).toBe(false);
    },
  );

  it("splits queue/method, and refuses what is not one", () => {
    expect(parseQueueMethod("billing.eu/charge_card")).toEqual({ queue: "billing.eu", method: "charge_card" });
    for (const target of ["billing", "billing/", "/charge", "a/b/c", "a/b.c", "a/b-c", "a b/c", "a/b\n"]) {
      expect(parseQueueMethod(target), target).toBeNull();
    }
    expect(isMethod("a".repeat(129))).toBe(false);
  });
});

describe("topic patterns", () => {
  it.each([
    ["orders.created", "orders.created", true],
    ["orders.created", "Orders.created", false],
    ["orders.created", "orders.created.eu", false],
    ["orders.*", "orders.created", true],
    ["orders.*", "orders", false],
    ["orders.*", "orders.created.eu", false],
    ["*.created", "orders.created", true],
    ["orders.*.eu", "orders.created.eu", true],
    ["orders.*.eu", "orders.created.us", false],
    ["orders.**", "orders.created", true],
    ["orders.**", "orders.created.eu.west", true],
    ["orders.**", "orders", false],
    ["orders.**", "ordersx.created", false],
    ["*.**", "orders", false],
    ["*.**", "orders.created", true],
    ["**", "orders", true],
    ["**", "orders.created.eu", true],
    ["*", "orders", true],
    ["*", "orders.created", false],
  ])("%s against %s: %s", (text, topic, expected) => {
    expect(matchesTopic(pattern(text), topic)).toBe(expected);
  });

  it.each(["", ".", "a.", ".a", "a..b", "ord*", "*rs", "***", "**.a", "a.**.b", "a.***", "a b", "a/*", "ä.*", "a".repeat(129)])(
    "refuses %j and says why",
    (text) => {
      const parsed = parsePattern(text);
      expect(parsed.ok).toBe(false);
      expect(parsed.ok ? "" : parsed.detail).not.toBe("");
    },
  );

  it("matches what the grammar says, for any pattern and topic", () => {
    fc.assert(
      fc.property(patterns, topics, (text, topic) => {
        expect(matchesTopic(pattern(text), topic)).toBe(matchesByRegex(text, topic));
      }),
      { numRuns: 2000 },
    );
  });
});

describe("index keys", () => {
  it.each([
    ["orders.created", "=orders.created"],
    ["orders.*.eu", "~orders"],
    ["orders.eu.**", "~orders.eu"],
    ["*.created", "~"],
    ["**", "~"],
  ])("the key of %s is %s", (text, key) => {
    expect(topicKey(pattern(text))).toBe(key);
  });

  it("lists every key a matching subscription can have, each once", () => {
    expect(topicKeys("orders")).toEqual(["=orders", "~"]);
    expect(topicKeys("orders.created.eu")).toEqual(["=orders.created.eu", "~", "~orders", "~orders.created"]);
  });

  it("never misses a matching pattern", () => {
    fc.assert(
      fc.property(patterns, topics, (text, topic) => {
        const parsed = pattern(text);
        fc.pre(matchesTopic(parsed, topic));
        expect(topicKeys(topic)).toContain(topicKey(parsed));
      }),
      { numRuns: 1000 },
    );
  });

  it("stays within 66 keys for the deepest topic", () => {
    const deepest = Array.from({ length: 64 }, () => "a").join(".");
    expect(isTarget(deepest)).toBe(true);
    expect(topicKeys(deepest)).toHaveLength(65);
    expect(new Set(topicKeys(deepest)).size).toBe(65);
  });
});

describe("a topic of the gateway's own events", () => {
  it("is any that begins with the segment postern, and no other", () => {
    expect(["postern", "postern.endpoint.disabled"].map(isReservedTopic)).toEqual([true, true]);
    expect(["posterns", "my.postern", "Postern.x", "postern-x.y"].map(isReservedTopic)).toEqual([false, false, false, false]);
  });

  it("is matched by patterns that begin with that segment, and by none that begins with a wildcard", () => {
    const topic = "postern.endpoint.disabled";
    for (const text of [topic, "postern.**", "postern.endpoint.*", "postern.*.disabled"]) expect(matchesTopic(pattern(text), topic)).toBe(true);
    for (const text of ["**", "*.endpoint.disabled", "*.**"]) expect(matchesTopic(pattern(text), topic)).toBe(false);
    expect(topicKeys(topic)).not.toContain(topicKey(pattern("**")));
    expect(topicKeys(topic)).toContain(topicKey(pattern("postern.**")));
  });
});
