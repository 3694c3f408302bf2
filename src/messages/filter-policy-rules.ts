/** What a policy looks at: the message's attributes, or its JSON body. */
export type FilterScope = "attributes" | "body";

/** All keys must match, and of each `$or` at least one branch. */
export type PolicyNode = {
  readonly keys: readonly PolicyKey[];
  readonly alternatives: readonly (readonly PolicyNode[])[];
};

/** One key of a policy: values of which one must match, or (`nested`) keys of the object below it. */
export type PolicyKey = {
  readonly name: string;
  readonly rules: readonly (Rule | ExistsRule)[];
  readonly nested: PolicyNode | null;
};

/** On the key itself, not on its values. */
export type ExistsRule = { readonly kind: "exists"; readonly expected: boolean };

/** On one value. */
export type Rule =
  | { readonly kind: "text"; readonly text: string }
  | { readonly kind: "number"; readonly scaled: number }
  | { readonly kind: "literal"; readonly literal: Literal }
  | { readonly kind: "prefix"; readonly text: string }
  | { readonly kind: "suffix"; readonly text: string }
  | { readonly kind: "ignore-case"; readonly lowerCase: string }
  | { readonly kind: "wildcard"; readonly parts: readonly string[] }
  | { readonly kind: "numeric"; readonly low: Bound | null; readonly high: Bound | null }
  | { readonly kind: "cidr"; readonly family: 4 | 6; readonly prefix: bigint; readonly shift: bigint }
  | { readonly kind: "none-of"; readonly rules: readonly Rule[] };

export type Bound = { readonly scaled: number; readonly inclusive: boolean };

export type Literal = "true" | "false" | "null";

/** One scalar value of a message, as each kind of rule sees it. */
export type Candidate = {
  readonly text: string | null;
  readonly scaled: number | null;
  readonly literal: Literal | null;
};

/** SNS compares numbers with five digits after the decimal point: whole numbers of that unit. */
const SCALE = 100_000;

export function scaleNumber(value: number): number {
  return Math.round(value * SCALE);
}
