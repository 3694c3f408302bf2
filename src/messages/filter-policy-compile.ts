import type { FieldFault } from "./attributes.ts";
import { compileRule, escapePointer } from "./filter-policy-operators.ts";
import { type ExistsRule, type FilterScope, joinExact, type PolicyKey, type PolicyNode, type Rule } from "./filter-policy-rules.ts";

/** SNS's limits: https://docs.aws.amazon.com/sns/latest/dg/subscription-filter-policy-constraints.html */
const MAX_KEYS = 5;
const MAX_COMBINATIONS = 150;
const MAX_POLICY_CHARACTERS = 256 * 1024;
/** Ours: values at all places, lists inside `anything-but` included; bounds what one match may cost. */
const MAX_VALUES = 1000;
/** Deeper nesting exceeds MAX_COMBINATIONS anyway; checked first, so that no policy can exhaust the stack. */
const MAX_DEPTH = MAX_COMBINATIONS;

const RESERVED_NAMES = new Set([
  "prefix", "suffix", "anything-but", "numeric", "exists", "cidr", "equals-ignore-case", "wildcard",
]);

export type CompiledNode =
  | { readonly ok: true; readonly root: PolicyNode }
  | { readonly ok: false; readonly errors: readonly FieldFault[] };

/** Collects faults, and counts what the policy costs. */
type Compilation = {
  readonly scope: FilterScope;
  readonly errors: FieldFault[];
  /** Top-level names; SNS does not count nested ones. */
  readonly names: Set<string>;
  values: number;
};

/** A compiled part, and in how many combinations of values it can match. */
type Part<Value> = { readonly value: Value; readonly combinations: number };

export function compileNode(policy: unknown, scope: FilterScope): CompiledNode {
  const compilation: Compilation = { scope, errors: [], names: new Set(), values: 0 };
  if (!fitsSize(policy)) {
    return refuse("", `is larger than ${MAX_POLICY_CHARACTERS / 1024} KiB or nested deeper than ${MAX_DEPTH} levels`);
  }
  if (!isObject(policy)) return refuse("", "must be a JSON object of names, each with a list of values");
  const root = compileObject(compilation, policy, "", 1);
  const { errors, names, values } = compilation;
  if (names.size > MAX_KEYS) errors.push({ pointer: "", detail: `has ${names.size} names, and may have ${MAX_KEYS}` });
  if (values > MAX_VALUES) errors.push({ pointer: "", detail: `has ${values} values, and may have ${MAX_VALUES}` });
  if (root.combinations > MAX_COMBINATIONS) {
    errors.push({
      pointer: "",
      detail: `its values combine in ${root.combinations} ways (multiply the lengths of the lists), at most ${MAX_COMBINATIONS} may`,
    });
  }
  return errors.length > 0 ? { ok: false, errors } : { ok: true, root: root.value };
}

function compileObject(
  compilation: Compilation,
  object: Readonly<Record<string, unknown>>,
  pointer: string,
  level: number,
): Part<PolicyNode> {
  const keys = new Map<string, PolicyKey>();
  const alternatives: PolicyNode[][] = [];
  let combinations = 1;
  for (const [sentName, value] of Object.entries(object)) {
    const at = `${pointer}/${escapePointer(sentName)}`;
    if (sentName === "$or") {
      const branches = compileAlternatives(compilation, value, at, level);
      alternatives.push(branches.value);
      combinations *= branches.combinations;
      continue;
    }
    const name = compilation.scope === "attributes" ? sentName.toLowerCase() : sentName;
    if (keys.has(name)) fault(compilation, at, "is named twice: attribute names differ in more than case");
    if (level === 1) compilation.names.add(name);
    const key = compileKey(compilation, name, value, at, level);
    keys.set(name, key.value);
    combinations *= key.combinations;
  }
  return { value: { keys: [...keys.values()], alternatives }, combinations };
}

function compileAlternatives(compilation: Compilation, value: unknown, at: string, level: number): Part<PolicyNode[]> {
  const branches: PolicyNode[] = [];
  let combinations = 0;
  if (!Array.isArray(value) || value.length < 2) {
    fault(compilation, at, "`$or` takes a list of two objects or more");
    return { value: branches, combinations: 1 };
  }
  for (const [index, branch] of value.entries()) {
    if (!isObject(branch) || Object.keys(branch).length === 0) {
      fault(compilation, `${at}/${index}`, "must be an object with a name and its values");
      continue;
    }
    const reserved = Object.keys(branch).find((name) => RESERVED_NAMES.has(name));
    if (reserved !== undefined) {
      fault(compilation, `${at}/${index}/${reserved}`, "is an operator: it belongs in the list of a name");
    }
    const compiled = compileObject(compilation, branch, `${at}/${index}`, level);
    branches.push(compiled.value);
    combinations += compiled.combinations;
  }
  return { value: branches, combinations };
}

function compileKey(compilation: Compilation, name: string, value: unknown, at: string, level: number): Part<PolicyKey> {
  if (isObject(value) && compilation.scope === "body") {
    if (Object.keys(value).length === 0) fault(compilation, at, "must hold a name with its values");
    const nested = compileObject(compilation, value, at, level + 1);
    return { value: { name, rules: [], nested: nested.value }, combinations: nested.combinations };
  }
  const rules: (Rule | ExistsRule)[] = [];
  if (!Array.isArray(value) || value.length === 0) {
    const nesting = isObject(value) ? "; nested names need the scope `body`" : "";
    fault(compilation, at, `must be a list of one value or more${nesting}`);
    return { value: { name, rules, nested: null }, combinations: 1 };
  }
  for (const [index, entry] of value.entries()) {
    const compiled = compileRule(entry, compilation.scope);
    if (compiled.ok) rules.push(compiled.rule);
    else fault(compilation, `${at}/${index}${compiled.pointer}`, compiled.detail);
    compilation.values += compiled.ok ? compiled.values : 1;
  }
  // SNS weighs a list by the level it is nested at
  return { value: { name, rules: joinExact(rules), nested: null }, combinations: value.length * level };
}

function refuse(pointer: string, detail: string): CompiledNode {
  return { ok: false, errors: [{ pointer, detail }] };
}

function fault(compilation: Compilation, pointer: string, detail: string): void {
  compilation.errors.push({ pointer, detail });
}

/** Measures without recursion, for it is what bounds the recursion of the rest. */
function fitsSize(policy: unknown): boolean {
  const rest: { readonly value: unknown; readonly depth: number }[] = [{ value: policy, depth: 0 }];
  let characters = 0;
  for (let next = rest.pop(); next !== undefined; next = rest.pop()) {
    const { value, depth } = next;
    if (depth > MAX_DEPTH) return false;
    characters += typeof value === "string" ? value.length + 3 : 3;
    if (characters > MAX_POLICY_CHARACTERS) return false;
    if (Array.isArray(value)) for (const element of value) rest.push({ value: element, depth: depth + 1 });
    else if (isObject(value)) {
      for (const [name, member] of Object.entries(value)) {
        characters += name.length + 3;
        rest.push({ value: member, depth: depth + 1 });
      }
    }
  }
  return true;
}

function isObject(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
