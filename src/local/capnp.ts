/** A value of Cap'n Proto's text format, as far as workerd's configuration needs one. */
export type CapnpValue =
  | string
  | number
  | boolean
  | Embedded
  | readonly CapnpValue[]
  | { readonly [field: string]: CapnpValue | undefined };

/** The content of a file, read by workerd itself; the path is relative to the configuration file. */
export class Embedded {
  readonly path: string;
  constructor(path: string) {
    this.path = path;
  }
}

/** Renders a value; a field that is `undefined` is left out. */
export function renderCapnp(value: CapnpValue, indent = ""): string {
  const inner = `${indent}  `;
  if (typeof value === "string") return quote(value);
  if (typeof value === "number" || typeof value === "boolean") return String(value);
  if (value instanceof Embedded) return `embed ${quote(value.path)}`;
  if (isList(value)) {
    if (value.length === 0) return "[]";
    return `[\n${value.map((item) => inner + renderCapnp(item, inner)).join(",\n")}\n${indent}]`;
  }
  const fields = Object.entries(value).flatMap(([name, field]) =>
    field === undefined ? [] : [`${name} = ${renderCapnp(field, inner)}`],
  );
  return fields.length === 0 ? "()" : `(\n${fields.map((field) => inner + field).join(",\n")}\n${indent})`;
}

function isList(value: object): value is readonly CapnpValue[] {
  return Array.isArray(value);
}

/** Cap'n Proto reads UTF-8 as it is, and C's escapes; a control character has no other way in. */
function quote(text: string): string {
  let quoted = "";
  for (const character of text) {
    const code = character.codePointAt(0) ?? 0;
    if (character === '"' || character === "\\") quoted += `\\${character}`;
    else if (code < 0x20 || code === 0x7f) quoted += `\\x${code.toString(16).padStart(2, "0")}`;
    else quoted += character;
  }
  return `"${quoted}"`;
}
