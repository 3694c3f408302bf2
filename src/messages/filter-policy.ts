import type { FieldFault } from "./attributes.ts";
import { compileNode } from "./filter-policy-compile.ts";
import { candidatesOfAttribute, candidatesOfJson, ruleMatches } from "./filter-policy-match.ts";
import type { Candidate, FilterScope, PolicyKey, PolicyNode } from "./filter-policy-rules.ts";
import type { Attributes } from "./message.ts";

export type { FilterScope } from "./filter-policy-rules.ts";

/** A filter policy ready to be matched; made by {@link compileFilterPolicy} only, and kept in memory only. */
export type CompiledPolicy = { readonly scope: FilterScope; readonly root: PolicyNode };

export type CompiledFilter =
  | { readonly ok: true; readonly policy: CompiledPolicy }
  | { readonly ok: false; readonly errors: readonly FieldFault[] };

/**
 * What a message is filtered on. `bodyText` gives the body as UTF-8 text, or null when it is not that. It is called
 * for body policies only, and once for all that get the same function: use one function a message.
 */
export type FilterSubject = { readonly attributes: Attributes; readonly bodyText: () => string | null };

/**
 * Compiles an Amazon SNS filter policy, parsed from JSON. What is invalid, beyond SNS's limits or too costly to
 * match is in `errors` (pointers into the policy); a compiled policy never fails later.
 * https://docs.aws.amazon.com/sns/latest/dg/sns-subscription-filter-policies.html
 */
export function compileFilterPolicy(policy: unknown, scope: FilterScope): CompiledFilter {
  const compiled = compileNode(policy, scope);
  return compiled.ok ? { ok: true, policy: { scope, root: compiled.root } } : compiled;
}

/** Whether the message passes. A body that is not a JSON object passes no body policy but `{}`, which passes all. */
export function matchesFilter(policy: CompiledPolicy, subject: FilterSubject): boolean {
  if (policy.root.keys.length === 0 && policy.root.alternatives.length === 0) return true;
  if (policy.scope === "attributes") return attributesMatch(policy.root, subject.attributes);
  const body = bodyObject(subject.bodyText);
  return body !== null && objectMatches(policy.root, body);
}

function attributesMatch(node: PolicyNode, attributes: Attributes): boolean {
  return (
    node.keys.every((key) => {
      const value = Object.hasOwn(attributes, key.name) ? attributes[key.name] : undefined;
      return rulesMatch(key, value !== undefined, () => (value === undefined ? [] : candidatesOfAttribute(value)));
    }) && node.alternatives.every((branches) => branches.some((branch) => attributesMatch(branch, attributes)))
  );
}

function objectMatches(node: PolicyNode, object: JsonObject): boolean {
  return (
    node.keys.every((key) => {
      const value = Object.hasOwn(object, key.name) ? object[key.name] : undefined;
      if (key.nested !== null) return nestedMatches(key.nested, value);
      return rulesMatch(key, value !== undefined, () => candidatesOfJson(value));
    }) && node.alternatives.every((branches) => branches.some((branch) => objectMatches(branch, object)))
  );
}

/** Nested keys match an object, or an array with one object that has them all; an absent one is as if empty. */
function nestedMatches(node: PolicyNode, value: unknown): boolean {
  if (Array.isArray(value)) return value.some((element) => isObject(element) && objectMatches(node, element));
  return objectMatches(node, isObject(value) ? value : {});
}

function rulesMatch(key: PolicyKey, present: boolean, candidates: () => readonly Candidate[]): boolean {
  let listed: readonly Candidate[] | null = null;
  return key.rules.some((rule) => {
    if (rule.kind === "exists") return rule.expected === present;
    listed ??= candidates();
    return listed.some((candidate) => ruleMatches(rule, candidate));
  });
}

type JsonObject = { readonly [key: string]: unknown };

const parsedBodies = new WeakMap<FilterSubject["bodyText"], JsonObject | null>();

/** One publish is matched against many policies: its body is parsed for the first of them. */
function bodyObject(bodyText: FilterSubject["bodyText"]): JsonObject | null {
  const known = parsedBodies.get(bodyText);
  if (known !== undefined) return known;
  const text = bodyText();
  const parsed = text === null ? null : parseObject(text);
  parsedBodies.set(bodyText, parsed);
  return parsed;
}

function parseObject(text: string): JsonObject | null {
  try {
    const value: unknown = JSON.parse(text);
    return isObject(value) ? value : null;
  } catch {
    // not JSON: an ordinary message of another content type
    return null;
  }
}

function isObject(value: unknown): value is JsonObject {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
