import { parseIpv4, parseIpv6 } from "../delivery/address-ranges.ts";
import { type Bound, type Candidate, type Rule, scaleNumber } from "./filter-policy-rules.ts";

const DECIMAL = /^-?[0-9]+(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?$/;

/**
 * The values of a string attribute: the elements of a JSON array (SNS's String.Array), else the string itself,
 * which is a number or boolean too when it reads as one, for a header has no types.
 */
export function candidatesOfAttribute(value: string): readonly Candidate[] {
  if (value.startsWith("[")) {
    const elements = parseArray(value);
    if (elements !== null) return elements.flatMap(scalarCandidate);
  }
  const literal = value === "true" || value === "false" ? value : null;
  return [{ text: value, scaled: DECIMAL.test(value) ? scaleNumber(Number(value)) : null, literal }];
}

/** The scalar values at a key of a JSON body: the value, or the elements of an array, of arrays in it too. */
export function candidatesOfJson(value: unknown): readonly Candidate[] {
  const candidates: Candidate[] = [];
  const rest: unknown[] = [value];
  while (rest.length > 0) {
    const next = rest.pop();
    if (Array.isArray(next)) {
      for (const element of next) rest.push(element);
    } else {
      candidates.push(...scalarCandidate(next));
    }
  }
  return candidates;
}

function scalarCandidate(value: unknown): Candidate[] {
  if (typeof value === "string") return [{ text: value, scaled: null, literal: null }];
  if (typeof value === "number") return [{ text: null, scaled: scaleNumber(value), literal: null }];
  if (typeof value === "boolean") return [{ text: null, scaled: null, literal: value ? "true" : "false" }];
  return value === null ? [{ text: null, scaled: null, literal: "null" }] : [];
}

function parseArray(text: string): unknown[] | null {
  try {
    const value: unknown = JSON.parse(text);
    return Array.isArray(value) ? value : null;
  } catch {
    // a string that only begins like an array
    return null;
  }
}

export function ruleMatches(rule: Rule, candidate: Candidate): boolean {
  switch (rule.kind) {
    case "one-of":
      return (
        (candidate.text !== null && rule.texts.has(candidate.text)) ||
        (candidate.scaled !== null && rule.numbers.has(candidate.scaled)) ||
        (candidate.literal !== null && rule.literals.has(candidate.literal))
      );
    case "prefix":
      return candidate.text?.startsWith(rule.text) ?? false;
    case "suffix":
      return candidate.text?.endsWith(rule.text) ?? false;
    case "ignore-case":
      return candidate.text?.toLowerCase() === rule.lowerCase;
    case "wildcard":
      return candidate.text !== null && wildcardMatches(rule.parts, candidate.text);
    case "numeric":
      return candidate.scaled !== null && above(rule.low, candidate.scaled) && below(rule.high, candidate.scaled);
    case "cidr":
      return candidate.text !== null && cidrContains(rule, candidate.text);
    case "none-of":
      return !rule.rules.some((inner) => ruleMatches(inner, candidate));
  }
}

function above(low: Bound | null, scaled: number): boolean {
  return low === null || scaled > low.scaled || (low.inclusive && scaled === low.scaled);
}

function below(high: Bound | null, scaled: number): boolean {
  return high === null || scaled < high.scaled || (high.inclusive && scaled === high.scaled);
}

/** @param parts the literal texts between the asterisks, two or more; each is sought once, left to right */
function wildcardMatches(parts: readonly string[], text: string): boolean {
  const first = parts[0] ?? "";
  const last = parts.at(-1) ?? "";
  if (text.length < first.length + last.length || !text.startsWith(first) || !text.endsWith(last)) return false;
  const end = text.length - last.length;
  let position = first.length;
  for (const part of parts.slice(1, -1)) {
    const found = text.indexOf(part, position);
    if (found < 0 || found + part.length > end) return false;
    position = found + part.length;
  }
  return position <= end;
}

function cidrContains(rule: Rule & { kind: "cidr" }, text: string): boolean {
  const address = rule.family === 4 ? parseIpv4(text) : parseIpv6(text);
  return address !== null && BigInt(address) >> rule.shift === rule.prefix;
}
