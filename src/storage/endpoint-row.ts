import { z } from "zod";

/** A JSON column. */
function json<Schema extends z.ZodType>(schema: Schema) {
  return z
    .string()
    .transform((text): unknown => JSON.parse(text))
    .pipe(schema);
}

const Columns = z.object({
  id: z.string(),
  tenant_id: z.string(),
  kind: z.enum(["push", "pull"]),
  name: z.string().nullable(),
  node: z.string().nullable(),
  url: z.string().nullable(),
  format: z.enum(["raw", "cloudevents", "cloudevents-json"]),
  headers: z.string().nullable(),
  auth: z.string().nullable(),
  asymmetric: z.number().transform((flag) => flag === 1),
  timeout_seconds: z.number(),
  retry_schedule: json(z.array(z.number())),
  rate_limit: z.number().nullable(),
  max_concurrency: z.number().nullable(),
  ordered: z.number().transform((flag) => flag === 1),
  ordering_key: z.string().nullable(),
  fallback: z.literal("pull").nullable(),
  description: z.string().nullable(),
  metadata: json(z.record(z.string(), z.union([z.string(), z.number(), z.boolean(), z.null()]))),
  status: z.enum(["active", "paused", "disabled"]),
  disabled_reason: z.string().nullable(),
  failing_since: z.number().nullable(),
  handshake: z.enum(["waiting", "allowed"]).nullable(),
  request_origin: z.string().nullable(),
  allowed_rate: z.number().nullable(),
  created_at: z.number(),
  updated_at: z.number(),
});

/** A row of `endpoints`, parsed. Seconds and ms as the names say. */
export type EndpointRow = z.output<typeof Columns>;

/** A row of `endpoints`. Its `headers` and its `auth` are JSON objects sealed under `${tenant_id}/${id}`, or null. */
export function parseEndpointRow(row: unknown): EndpointRow {
  return Columns.parse(row);
}

/** The columns of `endpoints`. */
export const ENDPOINT_COLUMNS = Object.keys(Columns.shape) as readonly (keyof EndpointRow)[];

/** The value of a column as D1 stores it. */
export function columnValue(value: EndpointRow[keyof EndpointRow]): string | number | null {
  if (typeof value === "boolean") return value ? 1 : 0;
  return typeof value === "object" && value !== null ? JSON.stringify(value) : value;
}
