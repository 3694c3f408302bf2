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

/** The value is one of these. */
export type ExactRule = {
  readonly kind: "one-of";
  readonly texts: ReadonlySet<string>;
  /** Scaled, see {@link scaleNumber}. */
  readonly numbers: ReadonlySet<number>;
  readonly literals: ReadonlySet<Literal>;
};

/** On one value. */
export type Rule =
  | ExactRule
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

export function exactRule(values: { text?: string; scaled?: number; literal?: Literal }): ExactRule {
  return {
    kind: "one-of",
    texts: new Set(values.text === undefined ? [] : [values.text]),
    numbers: new Set(values.scaled === undefined ? [] : [values.scaled]),
    literals: new Set(values.literal === undefined ? [] : [values.literal]),
  };
}

/** The same rules with all exact values in one: a long list of them then costs one look-up. */
export function joinExact<Kind extends Rule | ExistsRule>(rules: readonly Kind[]): (Kind | ExactRule)[] {
  const exact = rules.filter((rule): rule is Kind & ExactRule => rule.kind === "one-of");
  if (exact.length < 2) return [...rules];
  const joined: ExactRule = {
    kind: "one-of",
    texts: new Set(exact.flatMap((rule) => [...rule.texts])),
    numbers: new Set(exact.flatMap((rule) => [...rule.numbers])),
    literals: new Set(exact.flatMap((rule) => [...rule.literals])),
  };
  return [joined, ...rules.filter((rule) => rule.kind !== "one-of")];
}
