import { parseIpv4, parseIpv6 } from "../delivery/address-ranges.ts";
import { type Bound, exactRule, type ExistsRule, type FilterScope, joinExact, type Rule, scaleNumber } from "./filter-policy-rules.ts";

/** SNS: numbers reach from -10^9 to 10^9, with five digits after the decimal point. */
const MAX_NUMBER = 1_000_000_000;
const MAX_DECIMALS = 5;

type Fault = { readonly ok: false; readonly pointer: string; readonly detail: string };

/** `values` counts what one match may have to compare; `pointer` is below the entry. */
export type CompiledRule<Kind = Rule | ExistsRule> =
  | { readonly ok: true; readonly rule: Kind; readonly values: number }
  | Fault;

/** Compiles one entry of a name's list: a scalar, or an object with one operator. */
export function compileRule(entry: unknown, scope: FilterScope): CompiledRule {
  const scalar = compileScalar(entry, "");
  if (scalar !== null) {
    if (entry === null && scope === "attributes") return fault("", "`null` only occurs in a body: use the scope `body`");
    return scalar;
  }
  const operator = soleMember(entry);
  if (operator === null) return fault("", "must be a string, a number, a boolean or an object with one operator");
  const [name, operand] = operator;
  switch (name) {
    case "exists":
      if (typeof operand !== "boolean") return fault("/exists", "must be `true` or `false`");
      return { ok: true, rule: { kind: "exists", expected: operand }, values: 1 };
    case "anything-but":
      return compileAnythingBut(operand);
    case "numeric":
      return compileNumeric(operand);
    case "cidr":
      return compileCidr(operand);
    default:
      if (isTextOperator(name)) return compileTextOperator(name, operand, `/${name}`);
      return fault(`/${escapePointer(name)}`, "is not an operator of the filter language");
  }
}

/** Null for what is no scalar. */
function compileScalar(value: unknown, pointer: string): CompiledRule<Rule> | null {
  if (typeof value === "string") return { ok: true, rule: exactRule({ text: value }), values: 1 };
  if (typeof value === "boolean") {
    return { ok: true, rule: exactRule({ literal: value ? "true" : "false" }), values: 1 };
  }
  if (value === null) return { ok: true, rule: exactRule({ literal: "null" }), values: 1 };
  if (typeof value !== "number") return null;
  const detail = numberFault(value);
  return detail === null ? { ok: true, rule: exactRule({ scaled: scaleNumber(value) }), values: 1 } : fault(pointer, detail);
}

type TextOperator = "prefix" | "suffix" | "equals-ignore-case" | "wildcard";

/** The operators on a string: also what `anything-but` takes as an object. */
function isTextOperator(name: string): name is TextOperator {
  return name === "prefix" || name === "suffix" || name === "equals-ignore-case" || name === "wildcard";
}

/** @param pointer where the operand is */
function compileTextOperator(name: TextOperator, operand: unknown, pointer: string): CompiledRule<Rule> {
  if (typeof operand !== "string") return fault(pointer, "must be a string");
  if (operand === "") return fault(pointer, "must not be empty");
  switch (name) {
    case "prefix":
    case "suffix":
      return { ok: true, rule: { kind: name, text: operand }, values: 1 };
    case "equals-ignore-case":
      return { ok: true, rule: { kind: "ignore-case", lowerCase: operand.toLowerCase() }, values: 1 };
    case "wildcard":
      return compileWildcard(operand, pointer);
  }
}

/** `*` is any characters, also none; `\*` and `\\` are the characters themselves. */
function compileWildcard(pattern: string, pointer: string): CompiledRule<Rule> {
  const parts = [""];
  for (let index = 0; index < pattern.length; index++) {
    const character = pattern.charAt(index);
    if (character === "*") {
      if (pattern.charAt(index + 1) === "*") return fault(pointer, "must not have two `*` in a row");
      parts.push("");
      continue;
    }
    if (character === "\\") {
      index++;
      if (!["*", "\\"].includes(pattern.charAt(index))) return fault(pointer, "a backslash must be followed by `*` or a backslash");
    }
    parts.push((parts.pop() ?? "") + pattern.charAt(index));
  }
  const [only = ""] = parts;
  const rule: Rule = parts.length === 1 ? exactRule({ text: only }) : { kind: "wildcard", parts };
  return { ok: true, rule, values: parts.length };
}

/** Takes a scalar, a list of scalars, or one string operator with one string or a list of them. */
function compileAnythingBut(operand: unknown): CompiledRule<Rule> {
  const [name, operands] = soleMember(operand) ?? [null, operand];
  const pointer = name === null ? "/anything-but" : `/anything-but/${escapePointer(name)}`;
  if (name !== null && !isTextOperator(name)) return fault(pointer, "is not an operator that `anything-but` takes");
  const list: readonly unknown[] = Array.isArray(operands) ? operands : [operands];
  if (list.length === 0) return fault(pointer, "must not be empty");
  const rules: Rule[] = [];
  let values = 0;
  for (const [index, entry] of list.entries()) {
    const at = Array.isArray(operands) ? `${pointer}/${index}` : pointer;
    const compiled = name === null ? compileScalar(entry, at) : compileTextOperator(name, entry, at);
    if (compiled === null) return fault(at, "must be a string, a number or a boolean");
    if (!compiled.ok) return compiled;
    rules.push(compiled.rule);
    values += compiled.values;
  }
  return { ok: true, rule: { kind: "none-of", rules: joinExact(rules) }, values };
}

/** `["=", 1]`, `[">", 0]`, `[">=", 0, "<", 150]`. */
function compileNumeric(operand: unknown): CompiledRule<Rule> {
  if (!Array.isArray(operand) || (operand.length !== 2 && operand.length !== 4)) {
    return fault("/numeric", 'must be a list such as ["=", 1] or [">", 0, "<=", 150]');
  }
  const conditions: readonly unknown[] = operand;
  let low: Bound | null = null;
  let high: Bound | null = null;
  for (let index = 0; index < conditions.length; index += 2) {
    const [comparison, value] = [conditions[index], conditions[index + 1]];
    const detail = typeof value === "number" ? numberFault(value) : "must be a number";
    if (typeof value !== "number" || detail !== null) return fault(`/numeric/${index + 1}`, detail ?? "must be a number");
    const scaled = scaleNumber(value);
    if (comparison === "=" && conditions.length === 2) low = high = { scaled, inclusive: true };
    else if ((comparison === ">" || comparison === ">=") && low === null) low = { scaled, inclusive: comparison === ">=" };
    else if ((comparison === "<" || comparison === "<=") && high === null) high = { scaled, inclusive: comparison === "<=" };
    else return fault(`/numeric/${index}`, "must be `=` alone, or one of `>` `>=` and one of `<` `<=`");
  }
  if (low !== null && high !== null && isEmptyRange(low, high)) {
    return fault("/numeric", "no number lies between these bounds");
  }
  return { ok: true, rule: { kind: "numeric", low, high }, values: 1 };
}

function isEmptyRange(low: Bound, high: Bound): boolean {
  return low.scaled > high.scaled || (low.scaled === high.scaled && !(low.inclusive && high.inclusive));
}

function compileCidr(operand: unknown): CompiledRule<Rule> {
  const match = typeof operand === "string" ? /^([0-9A-Fa-f.:]+)\/([0-9]{1,3})$/.exec(operand) : null;
  const text = match?.[1] ?? "";
  const bits = Number(match?.[2] ?? "");
  const family = text.includes(":") ? 6 : 4;
  const width = family === 4 ? 32 : 128;
  const address = family === 4 ? parseIpv4(text) : parseIpv6(text);
  if (match === null || address === null || bits > width) {
    return fault("/cidr", "must be an address range such as `10.0.0.0/24` or `2001:db8::/32`");
  }
  const shift = BigInt(width - bits);
  return { ok: true, rule: { kind: "cidr", family, prefix: BigInt(address) >> shift, shift }, values: 1 };
}

function numberFault(value: number): string | null {
  if (Math.abs(value) > MAX_NUMBER) return "numbers reach from -1000000000 to 1000000000";
  return Number(value.toFixed(MAX_DECIMALS)) === value ? null : `numbers have at most ${MAX_DECIMALS} digits after the point`;
}

function soleMember(value: unknown): readonly [name: string, operand: unknown] | null {
  if (typeof value !== "object" || value === null || Array.isArray(value)) return null;
  const [entry, ...others] = Object.entries(value);
  return entry !== undefined && others.length === 0 ? entry : null;
}

/** A name as a reference token of a JSON Pointer (RFC 6901 §3). */
export function escapePointer(name: string): string {
  return name.replaceAll("~", "~0").replaceAll("/", "~1");
}

function fault(pointer: string, detail: string): Fault {
  return { ok: false, pointer, detail };
}
