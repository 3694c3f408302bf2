import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { certificatesIn } from "../../../src/local/certificates.ts";
import { migratorConfig, workerdConfig, type WorkerdOptions } from "../../../src/local/workerd-config.ts";
import { parseWrangler } from "../../../src/local/wrangler-file.ts";

const HEAD = `
name = "gate"
main = "src/index.ts"
compatibility_date = "2026-11-01"
compatibility_flags = ["nodejs_compat", "some_flag"]
`;

const options: WorkerdOptions = {
  workerPath: "worker.js",
  stateDir: "/data/state",
  listen: "127.0.0.1:8787",
  drainListen: null,
  environment: [],
  allowAddresses: [],
  companions: [],
};

/** The configuration on one line, for the layout is of no interest. */
function configOf(toml: string, changed: Partial<WorkerdOptions> = {}): string {
  return flat(workerdConfig(parseWrangler(HEAD + toml), { ...options, ...changed }));
}

function flat(text: string): string {
  return text.replace(/\n\s*/g, " ");
}

describe("workerdConfig", () => {
  it("serves the Worker at the address it is given", () => {
    expect(configOf("")).toContain('( name = "gateway", address = "127.0.0.1:8787", http = (), service = "gate" )');
    expect(configOf("")).toContain('modules = [ ( name = "worker.js", esModule = embed "worker.js" ) ]');
  });

  it("has a socket that lets attempts end, where it is asked for", () => {
    expect(configOf("", { drainListen: "127.0.0.1:9" })).toContain('address = "127.0.0.1:9", http = (), service = ( name = "gate", entrypoint = "Drain" )');
    expect(configOf("")).not.toContain("Drain");
  });

  it("leaves out the flag that the compatibility date implies, and keeps the others", () => {
    expect(configOf("")).toContain('compatibilityDate = "2026-11-01", compatibilityFlags = [ "some_flag" ]');
    const older = workerdConfig(parseWrangler(HEAD.replace("2026-11-01", "2026-08-03")), options);
    expect(flat(older)).toContain('compatibilityFlags = [ "nodejs_compat", "some_flag" ]');
  });

  it("binds a database by name, to a service that keeps it on the state disk", () => {
    const config = configOf('[[d1_databases]]\nbinding = "DB"\ndatabase_name = "postern"\n');
    expect(config).toContain('name = "DB", wrapped = ( moduleName = "cloudflare-internal:d1-api"');
    expect(config).toContain('props = ( json = "{\\"database\\":\\"postern\\"}" )');
    expect(config).toContain('bundled = "/workerd/d1.js"');
    expect(config).toContain('className = "D1Database", uniqueKey = "gate-d1", enableSql = true');
    expect(config).toContain('name = "state", disk = ( path = "/data/state", writable = true )');
  });

  it("gives an object class a key made of its name, and SQL only where a migration says so", () => {
    const config = configOf(`
      [durable_objects]
      bindings = [{ name = "STREAMS", class_name = "Stream" }, { name = "OLD", class_name = "Old" }]
      [[migrations]]
      tag = "v1"
      new_sqlite_classes = ["Stream"]
    `);
    expect(config).toContain('name = "STREAMS", durableObjectNamespace = "Stream"');
    expect(config).toContain('className = "Stream", uniqueKey = "gate-Stream", enableSql = true');
    expect(config).toContain('className = "Old", uniqueKey = "gate-Old", enableSql = false');
    expect(config).toContain('durableObjectStorage = ( localDisk = "state" )');
  });

  it("hands every setting of a consumer on, and only those that are given", () => {
    const config = configOf(`
      [[queues.producers]]
      binding = "DELIVERIES"
      queue = "deliveries"
      [[queues.consumers]]
      queue = "deliveries"
      max_batch_size = 100
      max_batch_timeout = 0
      max_retries = 10
      dead_letter_queue = "deliveries-dlq"
      retry_delay = 7
      max_concurrency = 3
      [[queues.consumers]]
      queue = "deliveries-dlq"
    `);
    const settings = {
      deliveries: {
        consumer: "CONSUMER",
        maxBatchSize: 100,
        maxBatchTimeout: 0,
        maxRetries: 10,
        deadLetterQueue: "deliveries-dlq",
        retryDelay: 7,
        maxConcurrency: 3,
      },
      "deliveries-dlq": { consumer: "CONSUMER" },
    };
    expect(config).toContain(`name = "CONSUMERS", json = ${JSON.stringify(JSON.stringify(settings))}`);
    expect(config).toContain('name = "CONSUMER", service = "gate"');
    expect(config).toContain('name = "DELIVERIES", queue = ( name = "queues", props = ( json = "{\\"queue\\":\\"deliveries\\"}" ) )');
    expect(config).toContain('compatibilityFlags = [ "service_binding_extra_handlers" ]');
  });

  it("runs the crons", () => {
    const config = configOf('[triggers]\ncrons = ["* * * * *", "0 3 * * *"]\n');
    expect(config).toContain('name = "CRONS", json = "{\\"TARGET\\":[\\"* * * * *\\",\\"0 3 * * *\\"]}"');
    expect(config).toContain('name = "TARGET", service = "gate"');
  });

  it("starts no service that nothing asks for", () => {
    expect(configOf("")).not.toMatch(/bundled/);
  });

  it("lets the environment win over a variable, and writes no value of it", () => {
    const config = configOf('[vars]\nGREETING = "from the file"\nOTHER = "kept"\nLIST = [1, 2]\n', { environment: ["GREETING", "SECRET"] });
    expect(config).toContain('name = "GREETING", fromEnvironment = "GREETING"');
    expect(config).toContain('name = "SECRET", fromEnvironment = "SECRET"');
    expect(config).toContain('name = "OTHER", text = "kept"');
    expect(config).toContain('name = "LIST", json = "[1,2]"');
    expect(config).not.toContain("from the file");
  });

  it("escapes quotes, backslashes, line ends and control characters, and keeps other text as it is", () => {
    const config = configOf('[vars]\nODD = "a\\"b\\\\c\\nd\\u0001e\\u007F é ☃"\n');
    expect(config).toContain('text = "a\\"b\\\\c\\x0ad\\x01e\\x7f é ☃"');
  });

  it("lets connections go to public addresses, and to single private ones by exception", () => {
    expect(configOf("")).toContain('network = ( allow = [ "public" ], tlsOptions = ( trustBrowserCas = true ) )');
    expect(configOf("", { allowAddresses: ["127.0.0.1", "::1", "127.0.0.1"] })).toContain('allow = [ "public", "127.0.0.1/32", "::1/128" ]');
  });

  it("runs a companion beside it, on its own socket and with its own variables only", () => {
    const companions = [{ name: "subscriber", modulePath: "subscriber.js", listen: "127.0.0.1:9999", environment: ["SUBSCRIBER_SECRET"] }];
    const config = configOf("", { companions });
    expect(config).toContain('( name = "subscriber", address = "127.0.0.1:9999", http = (), service = "subscriber" )');
    expect(config).toContain('esModule = embed "subscriber.js"');
    expect(config.match(/SUBSCRIBER_SECRET/g)).toHaveLength(2);
  });
});

describe("migratorConfig", () => {
  it("sees the databases where the gateway sees them", () => {
    const wrangler = parseWrangler(`${HEAD}[[d1_databases]]\nbinding = "DB"\ndatabase_name = "postern"\n`);
    const gateway = flat(workerdConfig(wrangler, options));
    const migrator = flat(migratorConfig(wrangler, { modulePath: "migrator.js", stateDir: "/data/state", listen: "127.0.0.1:0" }));
    const place = (config: string): (string | undefined)[] => [
      /className = "D1Database", uniqueKey = "[^"]*"/.exec(config)?.[0],
      /path = "[^"]*", writable = true/.exec(config)?.[0],
      /database\\":\\"[^"]*"/.exec(config)?.[0],
    ];
    expect(place(migrator)).toEqual(place(gateway));
    expect(place(migrator)).not.toContain(undefined);
    expect(migrator).not.toContain("worker.js");
  });
});

describe("parseWrangler", () => {
  it.each([
    ["a kind of binding it does not run", '[[kv_namespaces]]\nbinding = "CACHE"\n', /kv_namespaces/],
    ["a setting of a queue it does not know", '[[queues.producers]]\nbinding = "Q"\nqueue = "q"\ndelivery_delay = 5\n', /delivery_delay/],
    ["a value of the wrong type", "[triggers]\ncrons = [1]\n", /triggers\.crons/],
  ])("refuses %s by name", (_case, toml, expected) => {
    expect(() => parseWrangler(HEAD + toml)).toThrow(expected);
  });

  it("refuses a file without a name", () => {
    expect(() => parseWrangler('main = "a.ts"\ncompatibility_date = "2026-11-01"\n')).toThrow(/name/);
  });
});

describe("client certificates", () => {
  it("are networks of their own, with the same addresses to reach, and bindings to them", () => {
    const certificates = [{ binding: "CERT", certificatePath: "../c.pem", keyPath: "../k.pem" }];
    const config = configOf("", { certificates, authorityPath: "../ca.pem", allowAddresses: ["127.0.0.1"] });
    expect(config).toContain('( name = "CERT", service = "certificate-CERT" )');
    expect(config).toContain('name = "certificate-CERT", network = ( allow = [ "public", "127.0.0.1/32" ], tlsOptions = ( trustBrowserCas = true, trustedCertificates = [ embed "../ca.pem" ], keypair = ( privateKey = embed "../k.pem", certificateChain = embed "../c.pem" )');
    expect(configOf("")).not.toContain("keypair");
  });

  it("are the pairs of files in a directory; a certificate without its key is an error that names it", () => {
    const directory = mkdtempSync(join(tmpdir(), "postern-certificates-"));
    for (const name of ["A.cert.pem", "A.key.pem", "ca.pem", "not-a-name.cert.pem"]) writeFileSync(join(directory, name), "");
    expect(certificatesIn(directory, join(directory, "build/workerd.capnp"))).toEqual([{ binding: "A", certificatePath: "../A.cert.pem", keyPath: "../A.key.pem" }]);
    writeFileSync(join(directory, "B.cert.pem"), "");
    expect(() => certificatesIn(directory, "/x")).toThrow("B.cert.pem has no B.key.pem beside it");
    rmSync(directory, { recursive: true });
    expect(certificatesIn(null, "/x")).toEqual([]);
  });

  it("that wrangler.toml binds are of Cloudflare's, and no reason not to start", () => {
    expect(configOf('[[mtls_certificates]]\nbinding = "CERT"\ncertificate_id = "a-b"\n')).not.toContain("CERT");
  });
});
