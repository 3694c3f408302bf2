import { build } from "esbuild";

export type Bundle = {
  readonly entry: string;
  readonly outfile: string;
  /** Module aliases of `wrangler.toml`. */
  readonly alias?: Readonly<Record<string, string>>;
};

/**
 * Bundles a Worker as wrangler does (`getBuildConditions` and the options of its `bundleWorker`), so that what runs
 * here is what is deployed. Throws with esbuild's own message, which names file and line.
 */
export async function bundleWorker({ entry, outfile, alias = {} }: Bundle): Promise<void> {
  await build({
    entryPoints: [entry],
    outfile,
    bundle: true,
    format: "esm",
    target: "es2024",
    platform: "browser",
    conditions: ["workerd", "worker", "browser"],
    external: ["cloudflare:*", "node:*"],
    alias: { ...alias },
    define: { "process.env.NODE_ENV": '"production"', "navigator.userAgent": '"Cloudflare-Workers"' },
    keepNames: false,
    sourcemap: "linked",
    logLevel: "silent",
  });
}
