import { invalidParameter } from "./sns-error.ts";

/** A message attribute as published. */
export type PublishedAttribute = { readonly name: string; readonly type: string; readonly value: string };

/** The parameters of one call in the AWS query protocol, where lists are `Name.member.1`, `Name.member.2`, … */
export class Parameters {
  readonly #values: URLSearchParams;
  readonly #prefix: string;

  constructor(values: URLSearchParams, prefix = "") {
    this.#values = values;
    this.#prefix = prefix;
  }

  optional(name: string): string | undefined {
    return this.#values.get(this.#prefix + name) ?? undefined;
  }

  required(name: string): string {
    const value = this.optional(name);
    if (value === undefined || value === "") throw invalidParameter(name);
    return value;
  }

  /** The items of a list: `name.1.`, `name.2.`, … until one is missing. */
  list(name: string): Parameters[] {
    const items: Parameters[] = [];
    for (let index = 1; ; index++) {
      const prefix = `${this.#prefix}${name}.${index}.`;
      if (![...this.#values.keys()].some((key) => key.startsWith(prefix))) return items;
      items.push(new Parameters(this.#values, prefix));
    }
  }

  /** `Attributes.entry.N.key` and `.value`. */
  attributes(): Map<string, string> {
    return new Map(this.list("Attributes.entry").map((entry) => [entry.required("key"), entry.optional("value") ?? ""]));
  }

  messageAttributes(): PublishedAttribute[] {
    return this.list("MessageAttributes.entry").map((entry) => {
      const type = entry.required("Value.DataType");
      if (!/^(?:String|String\.Array|Number|Binary)(?:\.[\w.-]+)?$/.test(type)) throw invalidParameter("MessageAttributes DataType");
      const value = entry.optional(type.startsWith("Binary") ? "Value.BinaryValue" : "Value.StringValue");
      if (value === undefined || value === "") throw invalidParameter("The message attribute value must not be empty");
      return { name: entry.required("Name"), type, value };
    });
  }
}
