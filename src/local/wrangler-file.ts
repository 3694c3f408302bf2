import { parse } from "smol-toml";
import { z } from "zod";

const Consumer = z.strictObject({
  queue: z.string(),
  max_batch_size: z.number().int().optional(),
  max_batch_timeout: z.number().optional(),
  max_retries: z.number().int().optional(),
  dead_letter_queue: z.string().optional(),
  retry_delay: z.number().optional(),
  max_concurrency: z.number().int().optional(),
});

/**
 * What of `wrangler.toml` workerd needs. The objects are strict: a binding of a kind that the local gateway
 * would silently lack must fail at start, by name.
 */
const WranglerFile = z.strictObject({
  name: z.string(),
  main: z.string(),
  compatibility_date: z.string(),
  compatibility_flags: z.array(z.string()).default([]),
  alias: z.record(z.string(), z.string()).default({}),
  vars: z.record(z.string(), z.json()).default({}),
  d1_databases: z
    .array(
      z.strictObject({
        binding: z.string(),
        database_name: z.string(),
        database_id: z.string().optional(),
        migrations_dir: z.string().default("migrations"),
      }),
    )
    .default([]),
  durable_objects: z
    .strictObject({ bindings: z.array(z.strictObject({ name: z.string(), class_name: z.string() })) })
    .default({ bindings: [] }),
  migrations: z
    .array(z.strictObject({ tag: z.string(), new_sqlite_classes: z.array(z.string()).default([]) }))
    .default([]),
  queues: z
    .strictObject({
      producers: z.array(z.strictObject({ binding: z.string(), queue: z.string() })).default([]),
      consumers: z.array(Consumer).default([]),
    })
    .default({ producers: [], consumers: [] }),
  // Locally these are files, see certificates.ts: what Cloudflare keeps can not be had.
  mtls_certificates: z
    .array(z.strictObject({ binding: z.string(), certificate_id: z.string(), remote: z.boolean().optional() }))
    .default([]),
  triggers: z.strictObject({ crons: z.array(z.string()).default([]) }).default({ crons: [] }),
  // Old segments of logs move there, where there is one; here there is none, and they stay where they are.
  r2_buckets: z.array(z.looseObject({ binding: z.literal("ARCHIVE") })).default([]),
  // These mean something to Cloudflare's network only.
  workers_dev: z.boolean().optional(),
  observability: z.json().optional(),
  placement: z.json().optional(),
  limits: z.json().optional(),
  routes: z.json().optional(),
});

export type Wrangler = z.infer<typeof WranglerFile>;

/** Parses the text of `wrangler.toml`; throws an `Error` that names what the local gateway cannot run. */
export function parseWrangler(text: string): Wrangler {
  const parsed = WranglerFile.safeParse(parse(text));
  if (parsed.success) return parsed.data;
  const issues = parsed.error.issues.map((issue) => `${issue.path.join(".") || "top level"}: ${issue.message}`);
  throw new Error(`wrangler.toml has what the local gateway cannot run (src/local/wrangler-file.ts): ${issues.join("; ")}`);
}
