import fc from "fast-check";
import { MALFORMED_JSON, NOT_UTF8, ODD_STRINGS, ODD_URLS } from "./fuzz-corpus.ts";

/** As much of an OpenAPI 3.1 document as requests are made of. */
export type Schema = any;
export type Operation = { readonly method: string; readonly path: string; readonly detail: any };

export type FuzzedRequest = {
  readonly path: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: string | Uint8Array | null;
};

const MAX_DEPTH = 5;
const TIMES = ["2026-01-01T00:00:00Z", "2030-12-31T23:59:59.999+02:00", "1970-01-01T00:00:00Z"];
/** A value that breaks its schema stands here and there, so that most requests get past the first check. */
const odd = fc.oneof(fc.constantFrom(...ODD_STRINGS), fc.integer(), fc.double(), fc.boolean(), fc.constant(null), fc.constant([]), fc.constant({}), fc.jsonValue());
const text = fc.oneof({ weight: 3, arbitrary: fc.constantFrom(...ODD_STRINGS) }, fc.string({ unit: "binary", maxLength: 40 }), fc.string({ maxLength: 40 }));

/** Values that mostly fit the schema. `names` gives those that mean something to the gateway. */
export function fromSchema(document: any, schema: Schema, names: readonly string[], depth = 0): fc.Arbitrary<unknown> {
  return fc.oneof({ weight: 60, arbitrary: fitting(document, resolved(document, schema), names, depth) }, odd);
}

function fitting(document: any, schema: Schema, names: readonly string[], depth: number): fc.Arbitrary<unknown> {
  if (depth > MAX_DEPTH || schema === undefined || schema === true) return fc.jsonValue({ maxDepth: 2 });
  if (schema.const !== undefined) return fc.constant(schema.const);
  if (schema.enum !== undefined) return fc.constantFrom(...schema.enum);
  const choices = schema.anyOf ?? schema.oneOf;
  if (choices !== undefined) return fc.oneof(...choices.map((choice: Schema) => fitting(document, resolved(document, choice), names, depth + 1)));
  const type = Array.isArray(schema.type) ? fc.constantFrom(...schema.type) : fc.constant(schema.type);
  return type.chain((one) => ofType(document, { ...schema, type: one }, names, depth));
}

function ofType(document: any, schema: Schema, names: readonly string[], depth: number): fc.Arbitrary<unknown> {
  switch (schema.type) {
    case "object":
      return objectOf(document, schema, names, depth);
    case "array":
      return fc.array(fromSchema(document, schema.items, names, depth + 1), { minLength: schema.minItems ?? 0, maxLength: Math.max(schema.minItems ?? 0, 4) });
    case "integer":
      return fc.integer({ min: clamp(schema.minimum ?? 0), max: clamp(schema.maximum ?? 1000) });
    case "number":
      return fc.oneof(fc.double({ min: clamp(schema.minimum ?? 0), max: clamp(schema.maximum ?? 1000), noNaN: true }), fc.integer({ min: 0, max: 100 }));
    case "boolean":
      return fc.boolean();
    case "null":
      return fc.constant(null);
    default:
      return stringOf(schema, names);
  }
}

function stringOf({ example, format }: Schema, names: readonly string[]): fc.Arbitrary<string> {
  const likely = format === "date-time" ? TIMES : example === undefined ? names : [String(example), ...names];
  const url = format === "uri" || /^https?:/.test(String(example)) ? 8 : 1;
  return fc.oneof({ weight: 12, arbitrary: fc.constantFrom(...likely) }, { weight: url, arbitrary: fc.constantFrom(...ODD_URLS) }, text);
}

function objectOf(document: any, schema: Schema, names: readonly string[], depth: number): fc.Arbitrary<unknown> {
  const properties = Object.entries(schema.properties ?? {});
  const required: string[] = schema.required ?? [];
  if (properties.length === 0) return fc.dictionary(text, fc.jsonValue({ maxDepth: 2 }), { maxKeys: 4 });
  // few of the optional ones at once: each is one more that may not fit
  const optional = properties.map(([name]) => name).filter((name) => !required.includes(name));
  const known = fc.subarray(optional, { maxLength: Math.min(4, optional.length) }).chain((chosen) =>
    fc.record(Object.fromEntries(properties.filter(([name]) => required.includes(name) || chosen.includes(name)).map(([name, of]) => [name, fromSchema(document, of, names, depth + 1)]))),
  );
  const extra = fc.oneof({ weight: 30, arbitrary: fc.constant({}) }, fc.dictionary(text, fc.jsonValue({ maxDepth: 1 }), { maxKeys: 2 }));
  return fc.tuple(known, extra).map(([fields, more]) => ({ ...more, ...fields }));
}

/** Requests to an operation: its parameters and body as documented, and as nobody would send them. */
export function requestsTo(document: any, { path, detail }: Operation, names: readonly string[]): fc.Arbitrary<FuzzedRequest> {
  const parameters: any[] = (detail.parameters ?? []).map((parameter: any) => resolved(document, parameter));
  const named = (place: string): any[] => parameters.filter((parameter) => parameter.in === place);
  const pathNames = [...path.matchAll(/\{([^}]+)\}/g)].map(([, name]) => name ?? "");
  const segments = fc.tuple(...pathNames.map(() => fc.oneof({ weight: 3, arbitrary: fc.constantFrom(...names) }, text)));
  const query = sometimes(named("query").map(({ name, schema }) => [name, fromSchema(document, schema, names)]), 2);
  const headers = sometimes([
    ...named("header").filter(({ name }) => name !== "Postern-Tenant").map(({ name }): [string, fc.Arbitrary<string>] => [name, text.map(headerValue)]),
    ["content-type", fc.oneof(fc.constant("application/json"), text.map(headerValue))],
    ["accept", fc.constantFrom("*/*", "application/json", "application/x-ndjson", "text/event-stream", "text/html", "")],
  ], 5);
  return fc.tuple(segments, query, headers, bodyOf(document, detail, names)).map(([values, asked, sent, body]) => ({
    path: withQuery(values.reduce<string>((filled, value) => filled.replace(/\{[^}]+\}/, () => pathSegment(value)), path), asked),
    headers: body === null ? without(sent, "content-type") : { "content-type": "application/json", ...sent },
    body,
  }));
}

/** Each of the fields is there once in so many times. */
function sometimes<Value>(fields: readonly (readonly [string, fc.Arbitrary<Value>])[], times: number): fc.Arbitrary<Record<string, Value>> {
  const chosen = fields.map(([name, value]) =>
    fc.oneof({ weight: times - 1, arbitrary: fc.constant([]) }, value.map((one): (readonly [string, Value])[] => [[name, one]])),
  );
  return fc.tuple(...chosen).map((entries) => Object.fromEntries(entries.flat()));
}

function bodyOf(document: any, detail: any, names: readonly string[]): fc.Arbitrary<string | Uint8Array | null> {
  const content = detail.requestBody?.content;
  const raw = fc.oneof(fc.constantFrom(...MALFORMED_JSON), fc.constantFrom(...NOT_UTF8), fc.uint8Array({ maxLength: 200 }), text.map((one) => one.toWellFormed()));
  if (content === undefined) return fc.oneof({ weight: 4, arbitrary: fc.constant(null) }, raw);
  const schema = content["application/json"]?.schema;
  if (schema === undefined) return fc.oneof(raw, fc.jsonValue().map((value) => JSON.stringify(value)));
  return fc.oneof({ weight: 5, arbitrary: fromSchema(document, schema, names).map((value) => JSON.stringify(value) ?? "") }, raw);
}

/** Follows `$ref` to what it names. */
export function resolved(document: any, schema: Schema): Schema {
  if (typeof schema?.$ref !== "string") return schema;
  return schema.$ref.slice(2).split("/").reduce((place: any, name: string) => place?.[name.replaceAll("~1", "/")], document);
}

function withQuery(path: string, query: Readonly<Record<string, unknown>>): string {
  const parameters = new URLSearchParams();
  for (const [name, value] of Object.entries(query)) {
    if (value !== undefined) parameters.append(name, (typeof value === "string" ? value : (JSON.stringify(value) ?? "")).toWellFormed());
  }
  return parameters.size === 0 ? path : `${path}?${parameters.toString()}`;
}

/** A dot segment would be resolved before it is sent. */
function pathSegment(value: string): string {
  const encoded = encodeURIComponent(value.toWellFormed());
  return encoded === "" || /^\.{1,2}$/.test(encoded) ? "%20" : encoded;
}

/** What a client can send at all as a header's value (RFC 9110 §5.5). */
function headerValue(value: string): string {
  return value.replaceAll(/[^\t\x20-\x7e\x80-\xff]/g, "").trim().slice(0, 300);
}

function without(headers: Readonly<Record<string, string>>, name: string): Record<string, string> {
  return Object.fromEntries(Object.entries(headers).filter(([one]) => one !== name));
}

function clamp(value: number): number {
  return Math.max(-1e9, Math.min(1e9, value));
}
