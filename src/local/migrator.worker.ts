/**
 * Applies D1 migrations, run by itself before the gateway is (src/local/migrate.ts). It keeps the table that
 * `wrangler d1 migrations apply` keeps, so that a database can move between the two.
 */
type Migration = { readonly name: string; readonly sql: string };
type MigrationRequest = { readonly binding: string; readonly migrations: readonly Migration[] };

const CREATE_TABLE = `CREATE TABLE IF NOT EXISTS d1_migrations (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  name TEXT UNIQUE,
  applied_at TIMESTAMP DEFAULT CURRENT_TIMESTAMP NOT NULL
)`;

export default {
  async fetch(request, environment) {
    if (request.method !== "POST") return new Response("ready");
    const { binding, migrations } = await request.json<MigrationRequest>();
    const database = environment[binding];
    if (database === undefined) return new Response(`no database ${binding}`, { status: 404 });
    try {
      return Response.json({ applied: await applyMigrations(database, migrations) });
    } catch (error) {
      return new Response(error instanceof Error ? error.message : String(error), { status: 500 });
    }
  },
} satisfies ExportedHandler<Record<string, D1Database>>;

/** In order, each exactly once: a migration and the record of it are one transaction. */
async function applyMigrations(database: D1Database, migrations: readonly Migration[]): Promise<string[]> {
  await database.prepare(CREATE_TABLE).run();
  const { results } = await database.prepare("SELECT name FROM d1_migrations").all<{ name: string }>();
  const known = new Set(results.map((row) => row.name));
  const applied: string[] = [];
  for (const { name, sql } of migrations) {
    if (known.has(name)) continue;
    try {
      await database.batch([
        database.prepare(sql),
        database.prepare("INSERT INTO d1_migrations (name) VALUES (?)").bind(name),
      ]);
    } catch (error) {
      throw new Error(`migration ${name}: ${error instanceof Error ? error.message : String(error)}`, { cause: error });
    }
    applied.push(name);
  }
  return applied;
}
