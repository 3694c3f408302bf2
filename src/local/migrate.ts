import { readFileSync, readdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { bundleWorker } from "./bundle.ts";
import { freePort } from "./addresses.ts";
import type { DataDir } from "./data-dir.ts";
import { migratorConfig } from "./workerd-config.ts";
import { startWorkerd } from "./workerd-process.ts";
import type { Wrangler } from "./wrangler-file.ts";

const LOOPBACK = "127.0.0.1";

/**
 * Applies the migrations of every database that it does not have yet, before anything is served, and returns their
 * names. Throws when one fails: it leaves no trace of itself, those before it stay.
 */
export async function migrate(root: string, wrangler: Wrangler, dataDir: DataDir): Promise<string[]> {
  if (wrangler.d1_databases.length === 0) return [];
  const port = await freePort(LOOPBACK, 0);
  await bundleWorker({
    entry: join(root, "src/local/migrator.worker.ts"),
    outfile: join(dataDir.build, "migrator.js"),
  });
  const configPath = join(dataDir.build, "migrator.capnp");
  const config = migratorConfig(wrangler, { modulePath: "migrator.js", stateDir: dataDir.state, listen: `${LOOPBACK}:${port}` });
  writeFileSync(configPath, config, { mode: 0o600 });

  const url = `http://${LOOPBACK}:${port}/`;
  const workerd = await startWorkerd({ configPath, pidPath: dataDir.workerdPid, environment: process.env, aliveUrl: url });
  try {
    const applied: string[] = [];
    for (const database of wrangler.d1_databases) {
      applied.push(...(await applyTo(url, database.binding, readMigrations(join(root, database.migrations_dir)))));
    }
    return applied;
  } finally {
    await workerd.stop();
  }
}

type Migration = { readonly name: string; readonly sql: string };

/** By name, which is their order: `0001_….sql`, `0002_….sql`. */
function readMigrations(directory: string): Migration[] {
  return readdirSync(directory)
    .filter((name) => name.endsWith(".sql"))
    .sort()
    .map((name) => ({ name, sql: readFileSync(join(directory, name), "utf8") }));
}

async function applyTo(url: string, binding: string, migrations: readonly Migration[]): Promise<string[]> {
  const response = await fetch(url, { method: "POST", body: JSON.stringify({ binding, migrations }) });
  if (!response.ok) throw new Error(await response.text());
  const answer: unknown = await response.json();
  if (typeof answer !== "object" || answer === null || !("applied" in answer) || !Array.isArray(answer.applied)) {
    throw new Error("the migrator answered what it should not");
  }
  return answer.applied.map(String);
}
