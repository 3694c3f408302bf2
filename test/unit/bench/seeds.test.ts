import { mkdirSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { copyRows, countRows, withDatabase } from "../../bench/growth/database.ts";
import { addHistory, addOpenRetries, addSubscriptions } from "../../bench/growth/seeds.ts";

let dataDir: string;

beforeEach(() => {
  dataDir = mkdtempSync(join(tmpdir(), "postern-seeds-"));
  mkdirSync(join(dataDir, "state", "objects"), { recursive: true });
});
afterEach(() => rmSync(dataDir, { recursive: true, force: true }));

function makeDatabase(name: string, sql: string): void {
  const db = new DatabaseSync(join(dataDir, "state", "objects", `${name}.sqlite`));
  db.exec(sql);
  db.close();
}

const STREAM = `
  CREATE TABLE _cf_KV (key TEXT PRIMARY KEY, value BLOB);
  CREATE TABLE segments (first_offset INTEGER PRIMARY KEY, count INTEGER, time INTEGER, bytes_before INTEGER,
    messages TEXT, bodies BLOB, settled_before INTEGER, history_before INTEGER);
  CREATE TABLE checkpoint (id INTEGER PRIMARY KEY, settled_before INTEGER, history_before INTEGER, next_offset INTEGER);
  CREATE TABLE open_deliveries (offset INTEGER, endpoint_id TEXT, message_id TEXT, message_time INTEGER, status TEXT,
    attempts INTEGER, next_at INTEGER, PRIMARY KEY (offset, endpoint_id));`;

describe("copied rows", () => {
  it("differ in what is said, and in nothing else", () => {
    makeDatabase("a", "CREATE TABLE things (id TEXT PRIMARY KEY, size INTEGER, note TEXT); INSERT INTO things VALUES ('one', 1, 'kept'), ('two', 2, 'not copied')");
    withDatabase(dataDir, "things", (db) => {
      copyRows(db, "things", { where: "id = 'one'", copies: 3, changes: { id: "'copy' || n.i" } });
      expect(db.prepare("SELECT id, size, note FROM things WHERE id LIKE 'copy%' ORDER BY id").all().map((row) => ({ ...row }))).toEqual([
        { id: "copy1", size: 1, note: "kept" },
        { id: "copy2", size: 1, note: "kept" },
        { id: "copy3", size: 1, note: "kept" },
      ]);
    });
  });

  it("need the table", () => {
    makeDatabase("a", "CREATE TABLE things (id TEXT)");
    expect(() => withDatabase(dataDir, "others", () => undefined)).toThrow("no database");
  });
});

describe("open retries", () => {
  it("are of every message of the stream that was named, at each endpoint, and due later", () => {
    const name = "default/topics/bench.retries";
    for (const stream of ["default/topics/bench.other", name]) {
      makeDatabase(stream.replaceAll("/", "-"), `${STREAM}
        INSERT INTO _cf_KV VALUES ('name', CAST('..${stream}' AS BLOB));
        INSERT INTO segments VALUES (0, 2, 1000, 0, '[{"id":"msg_a"},{"id":"msg_b"}]', x'0102', 0, 0);`);
    }
    addOpenRetries(dataDir, name, ["ep_1", "ep_2"], 12);
    withDatabase(dataDir, "open_deliveries", (db) => {
      expect(countRows(db, "open_deliveries")).toBe(12);
      expect(db.prepare("SELECT min(next_at) AS due FROM open_deliveries").get()?.["due"]).toBeGreaterThan(Date.now());
      expect(db.prepare("SELECT message_id FROM open_deliveries WHERE offset = 5 AND endpoint_id = 'ep_2'").get()?.["message_id"]).toBe("msg_b");
      expect(db.prepare("SELECT first_offset FROM segments ORDER BY 1").all().map((row) => row["first_offset"])).toEqual([0, 2, 4]);
      expect(db.prepare("SELECT max(settled_before) AS settled FROM checkpoint").get()?.["settled"]).toBe(6);
    }, (db) => db.prepare("SELECT 1 FROM _cf_KV WHERE instr(value, CAST('bench.retries' AS BLOB)) > 0").get() !== undefined);
    withDatabase(dataDir, "open_deliveries", (db) => expect(countRows(db, "open_deliveries")).toBe(0), (db) => countRows(db, "checkpoint") === 0);
  });
});

describe("subscriptions", () => {
  it("are each of an endpoint and to a topic of its own, and else like the one they were copied from", () => {
    makeDatabase("d1", `
      CREATE TABLE endpoints (id TEXT PRIMARY KEY, url TEXT);
      CREATE TABLE subscriptions (id TEXT PRIMARY KEY, endpoint_id TEXT, topic TEXT, topic_key TEXT, filter TEXT);
      INSERT INTO endpoints VALUES ('ep_t', 'http://there'), ('ep_else', 'http://elsewhere');
      INSERT INTO subscriptions VALUES ('sub_t', 'ep_t', 'bench.other', 'bench.other', '{}'), ('sub_else', 'ep_else', 'x', 'x', NULL);`);
    addSubscriptions(dataDir, "ep_t", 20);
    withDatabase(dataDir, "subscriptions", (db) => {
      expect(countRows(db, "subscriptions")).toBe(22);
      const made = db.prepare(
        `SELECT count(DISTINCT s.endpoint_id) AS endpoints, count(DISTINCT s.topic) AS topics, min(s.topic = s.topic_key) AS keyed, min(s.filter) AS filter,
           min(e.url) AS url FROM subscriptions s JOIN endpoints e ON e.id = s.endpoint_id WHERE s.id LIKE 'sub_other%'`,
      ).get();
      expect({ ...made }).toEqual({ endpoints: 20, topics: 20, keyed: 1, filter: "{}", url: "http://there" });
    });
  });
});

describe("history", () => {
  const D1 = "CREATE TABLE subscriptions (id TEXT);";

  it("is copied into the past until there is enough of it", () => {
    makeDatabase("d1", `${D1}
      CREATE TABLE deliveries (tenant_id TEXT, message_time INTEGER, offset INTEGER, PRIMARY KEY (tenant_id, message_time, offset)) WITHOUT ROWID;
      INSERT INTO deliveries VALUES ('default', 1000000000000, 0), ('default', 1000000000001, 1);`);
    expect(addHistory(dataDir, 150, 10_000)).toEqual({ records: 202, rows: 202 });
    withDatabase(dataDir, "deliveries", (db) => {
      expect(db.prepare("SELECT max(message_time) AS newest FROM deliveries").get()?.["newest"]).toBe(1000000000001);
    });
  });

  it("counts what packs hold, not packs", () => {
    makeDatabase("d1", `${D1}
      CREATE TABLE message_packs (time INTEGER, first_time INTEGER, count INTEGER, PRIMARY KEY (time)) WITHOUT ROWID;
      INSERT INTO message_packs VALUES (1000000000500, 1000000000000, 40);`);
    expect(addHistory(dataDir, 2_000, 10_000)).toEqual({ records: 40 * 51, rows: 51 });
    withDatabase(dataDir, "message_packs", (db) => {
      expect(db.prepare("SELECT DISTINCT time - first_time AS span FROM message_packs").all().map((row) => row["span"])).toEqual([500]);
    });
  });

  it("needs something to copy", () => {
    makeDatabase("d1", `${D1} CREATE TABLE attempts (time INTEGER)`);
    expect(() => addHistory(dataDir, 10, 1000)).toThrow("no history");
  });
});
