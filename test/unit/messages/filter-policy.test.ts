import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { type CompiledPolicy, compileFilterPolicy, type FilterScope, matchesFilter } from "../../../src/messages/filter-policy.ts";

type Json = unknown;

function compile(policy: Json, scope: FilterScope): CompiledPolicy {
  const compiled = compileFilterPolicy(policy, scope);
  if (!compiled.ok) throw new Error(JSON.stringify(compiled.errors));
  return compiled.policy;
}

function byAttributes(policy: Json, attributes: Record<string, string>): boolean {
  const bodyText = (): string => {
    throw new Error("the body is not needed");
  };
  return matchesFilter(compile(policy, "attributes"), { attributes, bodyText });
}

function byBody(policy: Json, body: Json): boolean {
  return matchesFilter(compile(policy, "body"), { attributes: {}, bodyText: () => JSON.stringify(body) });
}

function faults(policy: Json, scope: FilterScope = "attributes"): readonly string[] {
  const compiled = compileFilterPolicy(policy, scope);
  if (compiled.ok) return [];
  for (const { detail } of compiled.errors) expect(detail).not.toBe("");
  return compiled.errors.map(({ pointer }) => pointer);
}

/** A rule of one name, tried on an attribute and, where the value is the same there, on a body. */
function accepts(rule: Json, value: string): boolean {
  const inAttributes = byAttributes({ name: [rule] }, { name: value });
  expect(byBody({ name: [rule] }, { name: value })).toBe(inAttributes);
  return inAttributes;
}

describe("the examples of the SNS developer guide", () => {
  const message = { store: "example_corp", event: "order_cancelled", customer_interests: '["soccer", "rugby", "hockey"]', price_usd: "210.75" };

  it.each<[string, Json, boolean]>([
    ["exact", { store: ["example_corp"] }, true],
    ["all names must match", { store: ["example_corp"], event: [{ "anything-but": "order_cancelled" }] }, false],
    [
      "the accepting policy",
      {
        store: ["example_corp"],
        event: [{ "anything-but": "order_created" }],
        customer_interests: ["rugby", "football", "baseball"],
        price_usd: [{ numeric: [">=", 100] }],
      },
      true,
    ],
    ["the rejecting policy", { store: ["example_corp"], event: ["order_cancelled"], encrypted: [false], customer_interests: ["basketball", "baseball"] }, false],
    ["a name that is not there", { encrypted: [false] }, false],
  ])("%s", (_, policy, expected) => {
    expect(byAttributes(policy, message)).toBe(expected);
  });

  it.each<[Json, string, boolean]>([
    ["rugby", "rugby", true],
    ["rugby", "Rugby", false],
    ["rugby", "baseball", false],
    [{ "anything-but": ["rugby", "tennis"] }, "baseball", true],
    [{ "anything-but": ["rugby", "tennis"] }, "rugby", false],
    [{ "anything-but": "rugby" }, "tennis", true],
    [{ "anything-but": { prefix: "order-" } }, "data-entry", true],
    [{ "anything-but": { prefix: "order-" } }, "order_number", true],
    [{ "anything-but": { prefix: "order-" } }, "order-cancelled", false],
    [{ "anything-but": { suffix: "ball" } }, "baseball", false],
    [{ "anything-but": { suffix: "ball" } }, "rugby", true],
    [{ "anything-but": { "equals-ignore-case": "TENNIS" } }, "tennis", false],
    [{ "anything-but": { prefix: ["a-", "b-"] } }, "b-1", false],
    [{ "anything-but": { prefix: ["a-", "b-"] } }, "c-1", true],
    [{ "anything-but": { wildcard: "*.log" } }, "a.log", false],
    [{ "anything-but": { wildcard: "*.log" } }, "a.txt", true],
    [{ prefix: "bas" }, "baseball", true],
    [{ prefix: "bas" }, "rugby", false],
    [{ suffix: "ball" }, "baseball", true],
    [{ suffix: "ball" }, "rugby", false],
    [{ "equals-ignore-case": "tennis" }, "TeNnIs", true],
    [{ "equals-ignore-case": "tennis" }, "TeNnIs1", false],
    [{ cidr: "10.0.0.0/24" }, "10.0.0.255", true],
    [{ cidr: "10.0.0.0/24" }, "10.1.1.0", false],
  ])("%j on %j: %s", (rule, value, expected) => {
    expect(accepts(rule, value)).toBe(expected);
  });

  it("matches a list with one value that is not excluded", () => {
    const policy = { customer_interests: [{ "anything-but": ["rugby", "tennis"] }] };
    expect(byAttributes(policy, { customer_interests: '["rugby", "baseball"]' })).toBe(true);
    expect(byBody(policy, { customer_interests: ["rugby", "baseball"] })).toBe(true);
    expect(byAttributes(policy, { customer_interests: '["rugby"]' })).toBe(false);
    expect(byBody(policy, { customer_interests: ["rugby"] })).toBe(false);
  });

  it("joins the branches of $or with the rest of the policy", () => {
    const policy = { source: ["aws.cloudwatch"], $or: [{ metricName: ["CPUUtilization"] }, { namespace: ["AWS/EC2"] }] };
    expect(byAttributes(policy, { source: "aws.cloudwatch", metricname: "CPUUtilization" })).toBe(true);
    expect(byAttributes(policy, { source: "aws.cloudwatch", namespace: "AWS/EC2" })).toBe(true);
    expect(byAttributes(policy, { source: "aws.cloudwatch", namespace: "AWS/ES" })).toBe(false);
    expect(byAttributes(policy, { metricname: "CPUUtilization", namespace: "AWS/EC2" })).toBe(false);
    expect(byBody(policy, { source: "aws.cloudwatch", namespace: "AWS/EC2" })).toBe(true);
    expect(byBody(policy, { source: "aws.cloudwatch" })).toBe(false);
  });

  it("nests $or", () => {
    const policy = {
      source: ["s"],
      $or: [{ a: ["1"] }, { b: ["2"], $or: [{ c: ["3"] }, { d: ["4"] }] }],
    };
    expect(byBody(policy, { source: "s", a: "1" })).toBe(true);
    expect(byBody(policy, { source: "s", b: "2", d: "4" })).toBe(true);
    expect(byBody(policy, { source: "s", b: "2" })).toBe(false);
    expect(byBody(policy, { source: "s", d: "4" })).toBe(false);
  });

  it("needs the name with exists true, and its absence with exists false", () => {
    expect(byAttributes({ store: [{ exists: true }] }, { store: "fans" })).toBe(true);
    expect(byAttributes({ store: [{ exists: true }] }, { other: "fans" })).toBe(false);
    expect(byAttributes({ store: [{ exists: false }] }, { store: "fans" })).toBe(false);
    expect(byAttributes({ store: [{ exists: false }] }, {})).toBe(true);
    expect(byBody({ store: [{ exists: true }] }, { store: null })).toBe(true);
    expect(byBody({ a: { store: [{ exists: false }] } }, {})).toBe(true);
    expect(byBody({ a: { store: [{ exists: true }] } }, { a: { store: [] } })).toBe(true);
    expect(byAttributes({ store: [{ exists: false }, { "anything-but": "x" }] }, {})).toBe(true);
    expect(byAttributes({ store: [{ "anything-but": "x" }] }, {})).toBe(false);
  });
});

describe("numbers", () => {
  it.each<[Json, number, boolean]>([
    [301.5, 301.5, true],
    [301.5, 301.50001, false],
    [0, -0, true],
    [100, 1e2, true],
    [{ numeric: ["=", 301.5] }, 301.5, true],
    [{ numeric: ["=", 301.5] }, 3.015e2, true],
    [{ numeric: ["<", 0] }, -1, true],
    [{ numeric: ["<", 0] }, 0, false],
    [{ numeric: ["<=", 0] }, 0, true],
    [{ numeric: [">", 0] }, 0.00001, true],
    [{ numeric: [">", 0] }, 0, false],
    [{ numeric: [">=", 0] }, 0, true],
    [{ numeric: [">", 0, "<=", 150] }, 150, true],
    [{ numeric: [">", 0, "<=", 150] }, 150.00001, false],
    [{ numeric: [">", 0, "<", 150] }, 150, false],
    [{ numeric: ["<", 150, ">=", 0] }, 0, true],
    [{ numeric: ["<", 1000000000] }, 1e300, false],
    [{ "anything-but": [100, 500] }, 100, false],
    [{ "anything-but": [100, 500] }, 101, true],
    [{ "anything-but": 100 }, 100, false],
    [{ "anything-but": ["100"] }, 100, true],
    ["100", 100, false],
    [{ prefix: "1" }, 100, false],
  ])("%j on %j in a body: %s", (rule, value, expected) => {
    expect(byBody({ name: [rule] }, { name: value })).toBe(expected);
  });

  it.each<[Json, string, boolean]>([
    [100, "100", true],
    [100, "100.0", true],
    [100, "1e2", true],
    [100, "0100", true],
    [100, "100.00001", false],
    [100, "100x", false],
    [100, "", false],
    [100, " 100", false],
    [100, "0x64", false],
    [100, "Infinity", false],
    ["100", "100", true],
    ["100", "100.0", false],
    [{ numeric: [">", 5] }, "10", true],
    [{ numeric: [">", 5] }, "abc", false],
    [{ numeric: [">", 5] }, '["abc", 10]', true],
    [{ numeric: [">", 5] }, '["10"]', false],
    [{ prefix: "1" }, "100", true],
    [{ "anything-but": 100 }, "100.0", false],
    [true, "true", true],
    [true, '[true]', true],
    [false, "true", false],
    ["true", "true", true],
  ])("%j on the attribute %j: %s", (rule, value, expected) => {
    expect(byAttributes({ name: [rule] }, { name: value })).toBe(expected);
  });
});

describe("addresses", () => {
  it.each([
    ["10.0.0.0/8", "10.255.255.255", true],
    ["10.0.0.0/8", "11.0.0.0", false],
    ["10.0.0.5/32", "10.0.0.5", true],
    ["10.0.0.5/32", "10.0.0.6", false],
    ["0.0.0.0/0", "255.255.255.255", true],
    ["0.0.0.0/0", "::1", false],
    ["10.0.0.77/24", "10.0.0.1", true],
    ["2001:db8::/32", "2001:db8:ffff::1", true],
    ["2001:db8::/32", "2001:DB8:0:0:0:0:0:1", true],
    ["2001:db8::/32", "2001:db9::1", false],
    ["::/0", "10.0.0.1", false],
    ["::/0", "fe80::1", true],
    ["10.0.0.0/8", "10.0.0.1 ", false],
    ["10.0.0.0/8", "010.0.0.1", false],
    ["10.0.0.0/8", "text", false],
  ])("%s holds %s: %s", (cidr, value, expected) => {
    expect(accepts({ cidr }, value)).toBe(expected);
  });
});

describe("wildcards", () => {
  it.each([
    ["*", "", true],
    ["a*", "a", true],
    ["*a", "ba", true],
    ["a*a", "a", false],
    ["a*a", "aa", true],
    ["*ab*ab", "ab", false],
    ["*ab*ab", "abab", true],
    ["a*b*c", "a-b-b-c", true],
    ["a*b*c", "a-c-b", false],
    ["dir/*.png", "dir/x/y.png", true],
    ["a\\*b", "a*b", true],
    ["a\\*b", "axb", false],
    ["a\\\\*", "a\\b", true],
    ["plain", "plain", true],
    ["plain", "plain ", false],
  ])("%s on %j: %s", (wildcard, value, expected) => {
    expect(accepts({ wildcard }, value)).toBe(expected);
  });

  it("agrees with a regular expression for any pattern and text", () => {
    const parts = fc.array(fc.string({ unit: fc.constantFrom("a", "b"), maxLength: 3 }), { minLength: 2, maxLength: 5 });
    const text = fc.string({ unit: fc.constantFrom("a", "b"), maxLength: 12 });
    fc.assert(
      fc.property(parts, text, (between, value) => {
        const wildcard = between.join("*");
        fc.pre(!wildcard.includes("**"));
        expect(accepts({ wildcard }, value)).toBe(new RegExp(`^${wildcard.replaceAll("*", ".*")}$`).test(value));
      }),
      { numRuns: 2000 },
    );
  });
});

describe("names of attributes", () => {
  it("compare without case", () => {
    expect(byAttributes({ Store: ["x"] }, { store: "x" })).toBe(true);
  });

  it("are their own, never those every object has", () => {
    expect(byAttributes({ constructor: [{ exists: true }] }, {})).toBe(false);
    expect(byBody({ toString: [{ exists: true }] }, {})).toBe(false);
    expect(byBody(JSON.parse('{"__proto__": {"a": ["x"]}}'), JSON.parse('{"__proto__": {"a": "x"}}'))).toBe(true);
    expect(byBody(JSON.parse('{"__proto__": [{"exists": true}]}'), {})).toBe(false);
  });

  it("reads an attribute that only begins like a list as text", () => {
    expect(byAttributes({ name: ["[x"] }, { name: "[x" })).toBe(true);
    expect(byAttributes({ name: ["[1]"] }, { name: "[1]" })).toBe(false);
  });
});

describe("bodies", () => {
  it("descend into objects, and into lists of objects", () => {
    const policy = { detail: { item: { sku: ["a"], size: [{ numeric: [">", 1] }] } } };
    expect(byBody(policy, { detail: { item: { sku: "a", size: 2 } } })).toBe(true);
    expect(byBody(policy, { detail: { item: [{ sku: "b", size: 2 }, { sku: "a", size: 2 }] } })).toBe(true);
    expect(byBody(policy, { detail: { item: "a" } })).toBe(false);
    expect(byBody(policy, { detail: [] })).toBe(false);
  });

  it("take all of an element's names together", () => {
    const policy = { item: { sku: ["a"], size: [2] } };
    expect(byBody(policy, { item: [{ sku: "a", size: 1 }, { sku: "b", size: 2 }] })).toBe(false);
  });

  it("match null, booleans and lists in lists", () => {
    expect(byBody({ a: [null] }, { a: null })).toBe(true);
    expect(byBody({ a: [null] }, {})).toBe(false);
    expect(byBody({ a: [false] }, { a: false })).toBe(true);
    expect(byBody({ a: [false] }, { a: "false" })).toBe(false);
    expect(byBody({ a: [7] }, { a: [1, [2, [7]]] })).toBe(true);
    expect(byBody({ a: ["x"] }, { a: { b: "x" } })).toBe(false);
  });

  it.each([null, "", "text", "[]", '"a"', "1", "null", "{", '[{"a":"x"}]'])("that are %j never match", (text) => {
    const policy = compile({ a: [{ exists: false }] }, "body");
    expect(matchesFilter(policy, { attributes: {}, bodyText: () => text })).toBe(false);
  });

  it("are read once for all the policies of a message", () => {
    let reads = 0;
    const bodyText = (): string => {
      reads++;
      return '{"a":"x"}';
    };
    const policies = ["x", "y", "z"].map((value) => compile({ a: [value] }, "body"));
    expect(policies.map((policy) => matchesFilter(policy, { attributes: {}, bodyText }))).toEqual([true, false, false]);
    expect(reads).toBe(1);
  });
});

describe("the empty policy", () => {
  it("lets every message through, as it does in SNS", () => {
    expect(byAttributes({}, {})).toBe(true);
    expect(matchesFilter(compile({}, "body"), { attributes: {}, bodyText: () => null })).toBe(true);
  });
});

describe("invalid policies", () => {
  it.each<[Json, string]>([
    [null, ""],
    ["x", ""],
    [[], ""],
    [{ a: "x" }, "/a"],
    [{ a: [] }, "/a"],
    [{ a: { b: ["x"] } }, "/a"],
    [{ a: [["x"]] }, "/a/0"],
    [{ a: [null] }, "/a/0"],
    [{ a: [{}] }, "/a/0"],
    [{ a: ["x", { prefix: "a", suffix: "b" }] }, "/a/1"],
    [{ a: [{ matches: "x" }] }, "/a/0/matches"],
    [{ "a/b~c": ["x", { prefix: 1 }] }, "/a~1b~0c/1/prefix"],
    [{ a: [{ prefix: "" }] }, "/a/0/prefix"],
    [{ a: [{ suffix: ["x"] }] }, "/a/0/suffix"],
    [{ a: [{ "equals-ignore-case": null }] }, "/a/0/equals-ignore-case"],
    [{ a: [{ exists: "true" }] }, "/a/0/exists"],
    [{ a: [{ wildcard: "a**b" }] }, "/a/0/wildcard"],
    [{ a: [{ wildcard: "a\\b" }] }, "/a/0/wildcard"],
    [{ a: [{ wildcard: "a\\" }] }, "/a/0/wildcard"],
    [{ a: [{ "anything-but": [] }] }, "/a/0/anything-but"],
    [{ a: [{ "anything-but": {} }] }, "/a/0/anything-but"],
    [{ a: [{ "anything-but": ["x", { prefix: "a" }] }] }, "/a/0/anything-but/1"],
    [{ a: [{ "anything-but": { numeric: [">", 1] } }] }, "/a/0/anything-but/numeric"],
    [{ a: [{ "anything-but": { prefix: "" } }] }, "/a/0/anything-but/prefix"],
    [{ a: [{ "anything-but": { prefix: ["a", 1] } }] }, "/a/0/anything-but/prefix/1"],
    [{ a: [{ "anything-but": 1e10 }] }, "/a/0/anything-but"],
    [{ a: [{ cidr: "10.0.0.0" }] }, "/a/0/cidr"],
    [{ a: [{ cidr: "10.0.0.0/33" }] }, "/a/0/cidr"],
    [{ a: [{ cidr: "::/129" }] }, "/a/0/cidr"],
    [{ a: [{ cidr: "10.0.0/8" }] }, "/a/0/cidr"],
    [{ a: [{ cidr: 10 }] }, "/a/0/cidr"],
    [{ a: [{ numeric: ["="] }] }, "/a/0/numeric"],
    [{ a: [{ numeric: [] }] }, "/a/0/numeric"],
    [{ a: [{ numeric: "= 1" }] }, "/a/0/numeric"],
    [{ a: [{ numeric: ["==", 1] }] }, "/a/0/numeric/0"],
    [{ a: [{ numeric: [">", "1"] }] }, "/a/0/numeric/1"],
    [{ a: [{ numeric: [">", 1, ">", 2] }] }, "/a/0/numeric/2"],
    [{ a: [{ numeric: ["=", 1, "<", 2] }] }, "/a/0/numeric/0"],
    [{ a: [{ numeric: [">", 1, "=", 2] }] }, "/a/0/numeric/2"],
    [{ a: [{ numeric: [">", 2, "<", 1] }] }, "/a/0/numeric"],
    [{ a: [{ numeric: [">", 1, "<=", 1] }] }, "/a/0/numeric"],
    [{ a: [{ numeric: [">", 1, "<=", 1000000001] }] }, "/a/0/numeric/3"],
    [{ a: [1000000001] }, "/a/0"],
    [{ a: [-1000000001] }, "/a/0"],
    [{ a: [0.000001] }, "/a/0"],
    [{ A: ["x"], a: ["y"] }, "/a"],
    [{ $or: [] }, "/$or"],
    [{ $or: [{ a: ["x"] }] }, "/$or"],
    [{ $or: ["x", "y"] }, "/$or/0"],
    [{ $or: [{ a: ["x"] }, {}] }, "/$or/1"],
    [{ $or: [{ numeric: 123 }, { prefix: "abc" }] }, "/$or/0/numeric"],
  ])("%j is refused at %s", (policy, pointer) => {
    expect(faults(policy)).toContain(pointer);
  });

  it("takes null and nested names in a body, and empty objects nowhere", () => {
    expect(faults({ a: [null], b: { c: [1] } }, "body")).toEqual([]);
    expect(faults({ a: {} }, "body")).toEqual(["/a"]);
    expect(faults({ a: { b: "x" } }, "body")).toEqual(["/a/b"]);
    expect(faults({ A: ["x"], a: ["y"] }, "body")).toEqual([]);
  });

  it("names every fault at once", () => {
    expect(faults({ a: "x", b: [{ prefix: 1 }, { cidr: "x" }] })).toEqual(["/a", "/b/0/prefix", "/b/1/cidr"]);
  });
});

describe("costly policies", () => {
  const values = (count: number): string[] => Array.from({ length: count }, (_, index) => `v${index}`);

  it("accepts five names and refuses six, counting only the outermost in a body", () => {
    const five = Object.fromEntries(["a", "b", "c", "d", "e"].map((name) => [name, ["x"]]));
    expect(faults(five)).toEqual([]);
    expect(faults({ ...five, f: ["x"] })).toEqual([""]);
    expect(faults({ ...five, $or: [{ a: ["y"] }, { b: ["y"] }] })).toEqual([]);
    expect(faults({ ...five, $or: [{ a: ["y"] }, { f: ["y"] }] })).toEqual([""]);
    const nested = { a: { n1: ["x"], n2: ["x"], n3: ["x"] }, b: { n4: ["x"], n5: ["x"], n6: ["x"] } };
    expect(faults(nested, "body")).toEqual([]);
  });

  it("accepts 150 combinations and refuses more", () => {
    expect(faults({ a: values(150) })).toEqual([]);
    expect(faults({ a: values(151) })).toEqual([""]);
    expect(faults({ a: values(15), b: values(10) })).toEqual([]);
    expect(faults({ a: values(19), b: values(8) })).toEqual([""]);
  });

  it("weighs nested lists by their level, as the guide does", () => {
    const guide = { key_a: { key_b: { key_c: values(4) } }, key_d: { key_e: values(3) } };
    expect(faults(guide, "body")).toEqual([]); // 3 × 4 × 2 × 3 = 72
    expect(faults({ ...guide, key_f: values(3) }, "body")).toEqual([""]); // 216
  });

  it("adds the branches of $or, as the guide does", () => {
    const branches = (count: number): Json => ({ source: ["s"], $or: [{ a: values(2) }, { b: ["t"], $or: [{ c: values(2) }, { d: values(count) }] }] });
    expect(faults(branches(146))).toEqual([]); // 2 + 2 + 146
    expect(faults(branches(147))).toEqual([""]);
  });

  it("bounds the lists inside anything-but", () => {
    expect(faults({ a: [{ "anything-but": values(1000) }] })).toEqual([]);
    expect(faults({ a: [{ "anything-but": values(1001) }] })).toEqual([""]);
  });

  it("refuses what is too large or too deep without exhausting the stack", () => {
    expect(faults({ a: ["x".repeat(256 * 1024)] })).toEqual([""]);
    let deep: Json = ["x"];
    for (let level = 0; level < 100_000; level++) deep = { a: deep };
    expect(faults(deep, "body")).toEqual([""]);
    let list: Json = "x";
    for (let level = 0; level < 100_000; level++) list = [list];
    expect(faults({ a: list })).toEqual([""]);
  });

  it("matches a wildcard of many parts on a large text, on which backtracking would not end", () => {
    const text = `${"a".repeat(1_000_000)}c`;
    const policy = compile({ name: [{ wildcard: `${"*a".repeat(400)}*b` }] }, "body");
    expect(matchesFilter(policy, { attributes: {}, bodyText: () => JSON.stringify({ name: text }) })).toBe(false);
  });
});

describe("any input", () => {
  it("compiles or is refused, and what compiled never throws", () => {
    const operators = fc.constantFrom("prefix", "suffix", "anything-but", "numeric", "exists", "cidr", "equals-ignore-case", "wildcard");
    const scalar = fc.oneof(fc.string({ maxLength: 4 }), fc.double(), fc.integer({ min: -5, max: 5 }), fc.boolean(), fc.constant(null));
    const rule = fc.oneof(scalar, fc.dictionary(operators, fc.oneof(scalar, fc.array(scalar, { maxLength: 4 })), { maxKeys: 2 }));
    const policy = fc.oneof(
      fc.jsonValue(),
      fc.dictionary(fc.constantFrom("a", "b", "$or"), fc.oneof(rule, fc.array(rule, { maxLength: 3 }), fc.jsonValue()), { maxKeys: 3 }),
    );
    fc.assert(
      fc.property(policy, fc.constantFrom<FilterScope>("attributes", "body"), fc.jsonValue(), (candidate, scope, body) => {
        const compiled = compileFilterPolicy(candidate, scope);
        if (!compiled.ok) {
          expect(compiled.errors.length).toBeGreaterThan(0);
          return;
        }
        const text = JSON.stringify({ a: body, b: 1 });
        expect(typeof matchesFilter(compiled.policy, { attributes: { a: text, b: "1" }, bodyText: () => text })).toBe("boolean");
      }),
      { numRuns: 2000 },
    );
  });
});
