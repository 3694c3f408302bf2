/** The name of the binding, for those who have one: it is not in `wrangler.toml`, so that nobody needs a bucket. */
const BINDING = "ARCHIVE";

/** The bucket that old segments move to; null where none is bound. The cast is where the environment is parsed. */
export function archiveBucketOf(env: unknown): R2Bucket | null {
  if (typeof env !== "object" || env === null) return null;
  const bucket = (env as Readonly<Record<string, unknown>>)[BINDING];
  return typeof bucket === "object" && bucket !== null && "put" in bucket ? (bucket as R2Bucket) : null;
}
