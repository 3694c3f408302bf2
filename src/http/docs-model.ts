import { z } from "zod";

/** A JSON Schema as our own document holds them: the keywords a reader wants to know of. */
export type Schema = {
  readonly $ref?: string | undefined;
  readonly type?: string | readonly string[] | undefined;
  readonly description?: string | undefined;
  readonly format?: string | undefined;
  readonly pattern?: string | undefined;
  readonly enum?: readonly unknown[] | undefined;
  readonly const?: unknown;
  readonly default?: unknown;
  readonly example?: unknown;
  readonly minimum?: number | undefined;
  readonly maximum?: number | undefined;
  readonly minLength?: number | undefined;
  readonly maxLength?: number | undefined;
  readonly minItems?: number | undefined;
  readonly maxItems?: number | undefined;
  readonly required?: readonly string[] | undefined;
  readonly properties?: Readonly<Record<string, Schema>> | undefined;
  readonly items?: Schema | undefined;
  readonly anyOf?: readonly Schema[] | undefined;
  readonly oneOf?: readonly Schema[] | undefined;
  readonly allOf?: readonly Schema[] | undefined;
};

const Schema: z.ZodType<Schema> = z.lazy(() =>
  z.object({
    $ref: z.string().optional(),
    type: z.union([z.string(), z.array(z.string())]).optional(),
    description: z.string().optional(),
    format: z.string().optional(),
    pattern: z.string().optional(),
    enum: z.array(z.unknown()).optional(),
    const: z.unknown().optional(),
    default: z.unknown().optional(),
    example: z.unknown().optional(),
    minimum: z.number().optional(),
    maximum: z.number().optional(),
    minLength: z.number().optional(),
    maxLength: z.number().optional(),
    minItems: z.number().optional(),
    maxItems: z.number().optional(),
    required: z.array(z.string()).optional(),
    properties: z.record(z.string(), Schema).optional(),
    items: Schema.optional(),
    anyOf: z.array(Schema).optional(),
    oneOf: z.array(Schema).optional(),
    allOf: z.array(Schema).optional(),
  }),
);

const Content = z.record(z.string(), z.object({ schema: Schema.optional() }));

const Parameter = z.object({
  name: z.string(),
  in: z.string(),
  required: z.boolean().optional(),
  description: z.string().optional(),
  schema: Schema.optional(),
});
export type Parameter = z.infer<typeof Parameter>;

const Operation = z.object({
  operationId: z.string(),
  tags: z.array(z.string()).default(["Other"]),
  summary: z.string().optional(),
  description: z.string().optional(),
  security: z.array(z.record(z.string(), z.array(z.string()))).default([]),
  parameters: z.array(z.union([Parameter, z.object({ $ref: z.string() })])).default([]),
  requestBody: z.object({ required: z.boolean().optional(), content: Content }).optional(),
  responses: z.record(
    z.string(),
    // `x-common`: what all routes may answer alike
    z.object({ description: z.string(), content: Content.optional(), "x-common": z.boolean().optional() }),
  ),
});
export type Operation = z.infer<typeof Operation> & { readonly method: string; readonly path: string };

const DocumentModel = z.object({
  info: z.object({ title: z.string(), version: z.string(), description: z.string() }),
  tags: z.array(z.object({ name: z.string() })),
  paths: z.record(z.string(), z.record(z.string(), Operation)),
  components: z.object({ schemas: z.record(z.string(), Schema), parameters: z.record(z.string(), Parameter) }),
});
export type DocumentModel = z.infer<typeof DocumentModel>;

/** Our own OpenAPI document as the page shows it; throws on one that lacks what the page needs. */
export function parseDocument(document: unknown): DocumentModel {
  return DocumentModel.parse(document);
}

/** The operations of a tag, in the order of the document. */
export function operationsOf(document: DocumentModel, tag: string): Operation[] {
  return Object.entries(document.paths).flatMap(([path, item]) =>
    Object.entries(item)
      .filter(([, operation]) => operation.tags.includes(tag))
      .map(([method, operation]) => ({ ...operation, method, path })),
  );
}

/** The schema itself where this one only refers to it. */
export function resolveSchema(document: DocumentModel, schema: Schema): Schema {
  const name = schema.$ref?.split("/").at(-1);
  const target = name === undefined ? undefined : document.components.schemas[name];
  return target === undefined ? schema : { ...target, ...(schema.description === undefined ? {} : { description: schema.description }) };
}

export function resolveParameter(document: DocumentModel, parameter: Operation["parameters"][number]): Parameter | undefined {
  return "$ref" in parameter ? document.components.parameters[parameter.$ref.split("/").at(-1) ?? ""] : parameter;
}

/** `string`, `array of string`, `"sns"`, `string or null`: what may stand there, in words. */
export function typeName(document: DocumentModel, given: Schema): string {
  const schema = resolveSchema(document, given);
  if (schema.const !== undefined) return JSON.stringify(schema.const);
  if (schema.enum !== undefined) return enumName(schema.enum, schema.type);
  const choices = schema.anyOf ?? schema.oneOf;
  if (choices !== undefined) return [...new Set(choices.map((choice) => typeName(document, choice)))].join(" or ");
  const types = typeof schema.type === "string" ? [schema.type] : (schema.type ?? (schema.properties ? ["object"] : ["any"]));
  return types.map((type) => oneTypeName(document, schema, type)).join(" or ");
}

function enumName(values: readonly unknown[], type: Schema["type"]): string {
  const nullable = Array.isArray(type) && type.includes("null") && !values.includes(null);
  return [...values, ...(nullable ? [null] : [])].map((value) => JSON.stringify(value)).join(" | ");
}

function oneTypeName(document: DocumentModel, schema: Schema, type: string): string {
  if (type === "array") return `array of ${schema.items === undefined ? "any" : typeName(document, schema.items)}`;
  return type === "string" && schema.format !== undefined ? schema.format : type;
}

/** The fields of an object schema, or of the objects in an array; with those of all it is made of. */
export function fieldsOf(document: DocumentModel, given: Schema): { name: string; schema: Schema; required: boolean }[] {
  const schema = resolveSchema(document, given);
  if (schema.items !== undefined) return fieldsOf(document, schema.items);
  const parts = schema.allOf ?? schema.anyOf ?? schema.oneOf ?? [];
  const own = Object.entries(schema.properties ?? {}).map(([name, field]) => ({
    name,
    schema: field,
    required: schema.required?.includes(name) ?? false,
  }));
  return [...own, ...parts.flatMap((part) => fieldsOf(document, part))];
}

/** A value the schema accepts, for an example: of an object only what is required, or has an example. */
export function exampleOf(document: DocumentModel, given: Schema): unknown {
  const schema = resolveSchema(document, given);
  for (const value of [schema.example, schema.const, schema.default, schema.enum?.[0]]) {
    if (value !== undefined) return value;
  }
  const [choice] = schema.anyOf ?? schema.oneOf ?? schema.allOf ?? [];
  if (choice !== undefined) return exampleOf(document, choice);
  const type = typeof schema.type === "string" ? schema.type : schema.type?.[0];
  switch (type) {
    case "array":
      return schema.items === undefined || (schema.minItems ?? 0) === 0 ? [] : [exampleOf(document, schema.items)];
    case "integer":
    case "number":
      return schema.minimum ?? 1;
    case "boolean":
      return true;
    case "object":
      return Object.fromEntries(
        fieldsOf(document, schema)
          .filter((field) => field.required || resolveSchema(document, field.schema).example !== undefined)
          .map((field) => [field.name, exampleOf(document, field.schema)]),
      );
    default:
      return "…";
  }
}
