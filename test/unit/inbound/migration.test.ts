import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { describe, expect, it } from "vitest";

const MIGRATIONS = join(import.meta.dirname, "../../../migrations");

describe("the migration of sources", () => {
  it("keeps every source, and what SNS last said of its topics, with their references", () => {
    const sqlite = new DatabaseSync(":memory:");
    const files = readdirSync(MIGRATIONS).sort();
    const at = files.indexOf("0005_sources.sql");
    const run = (names: readonly string[]) => names.forEach((name) => sqlite.exec(readFileSync(join(MIGRATIONS, name), "utf8")));
    run(files.slice(0, at));
    sqlite.exec(`
      INSERT INTO sources (id, tenant_id, kind, name, topic_arns, topic, min_version, created_at, updated_at)
        VALUES ('src_1', 'default', 'sns', 'a', '["arn"]', NULL, 2, 1, 2), ('src_2', 'default', 'sns', NULL, '[]', 'orders', 1, 3, 4);
      INSERT INTO source_subscriptions (source_id, topic_arn, state, subscription_arn, updated_at) VALUES ('src_1', 'arn', 'confirmed', 'arn:1', 5);
    `);
    run(files.slice(at));
    expect(sqlite.prepare("SELECT id, kind, name, topic_arns, topic, min_version, scheme, deduplicate_by, updated_at FROM sources ORDER BY id").all()).toEqual([
      { id: "src_1", kind: "sns", name: "a", topic_arns: '["arn"]', topic: null, min_version: 2, scheme: null, deduplicate_by: "delivery", updated_at: 2 },
      { id: "src_2", kind: "sns", name: null, topic_arns: "[]", topic: "orders", min_version: 1, scheme: null, deduplicate_by: "delivery", updated_at: 4 },
    ]);
    expect(sqlite.prepare("SELECT * FROM source_subscriptions").all()).toMatchObject([{ source_id: "src_1", state: "confirmed", subscription_arn: "arn:1" }]);
    expect(sqlite.prepare("PRAGMA foreign_key_check").all()).toEqual([]);
    sqlite.exec("DELETE FROM sources WHERE id = 'src_1'");
    expect(sqlite.prepare("SELECT * FROM source_subscriptions").all()).toEqual([]);
  });
});
