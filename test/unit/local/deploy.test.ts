import { execFileSync } from "node:child_process";
import { existsSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { expect, it } from "vitest";

const ROOT = fileURLToPath(new URL("../../..", import.meta.url));
const DEADLINE_MS = 60_000;

it("wrangler deploy bundles the Worker with every binding there is, needing no account for a dry run", () => {
  const outdir = mkdtempSync(join(tmpdir(), "postern-deploy-"));
  try {
    const env = { ...process.env, WRANGLER_SEND_METRICS: "false", NO_COLOR: "1" };
    const args = ["deploy", "--dry-run", "--outdir", outdir];
    const output = execFileSync(join(ROOT, "node_modules/.bin/wrangler"), args, { cwd: ROOT, env, encoding: "utf8", stdio: ["ignore", "pipe", "pipe"] });
    for (const binding of ["env.DB", "env.STREAMS", "env.DELIVERIES", "env.MAILBOXES", "env.RENDEZVOUS"]) expect(output).toContain(binding);
    expect(existsSync(join(outdir, "index.js"))).toBe(true);
  } finally {
    rmSync(outdir, { recursive: true, force: true });
  }
}, DEADLINE_MS);
