import { cloudflareTest, readD1Migrations } from "@cloudflare/vitest-plugin";
import { defineConfig, type TestProjectInlineConfiguration } from "vitest/config";

type ProjectConfig = TestProjectInlineConfiguration["test"];

/** Keys of the tests alone: any 32 bytes do, and they must not change from one run to the next. */
const TEST_KEY_RING = `test:${Buffer.alloc(32, 7).toString("base64")}`;

/** Tests of a whole gateway that look at times or memory: nothing else runs beside them. */
const ALONE = ["kill", "neighbours", "rate-limit", "stream-memory"].map((name) => `test/system/${name}.test.ts`);

/** Tests of gateways as users start them, each file with some of its own; they mostly wait. */
function systemProject(name: string, options: ProjectConfig): TestProjectInlineConfiguration {
  return {
    // The protocol's conformance suite brings a Vitest of its own: its tests are to be this one's.
    resolve: { dedupe: ["vitest"] },
    test: {
      name,
      server: { deps: { inline: ["@durable-streams/server-conformance-tests"] } },
      environment: "node",
      testTimeout: 60_000,
      hookTimeout: 60_000,
      ...options,
    },
  };
}

export default defineConfig({
  test: {
    // most of them wait more than they compute
    maxWorkers: 3,
    projects: [
      { test: { name: "unit", include: ["test/unit/**/*.test.ts"], environment: "node" } },
      {
        plugins: [
          cloudflareTest(async () => ({
            wrangler: { configPath: "./wrangler.toml" },
            miniflare: {
              bindings: {
                POSTERN_ADMIN_TOKEN: "pst_operator_of_the_worker_tests_0123456789",
                POSTERN_ENCRYPTION_KEYS: TEST_KEY_RING,
                POSTERN_ALLOW_HTTP: "1",
                TEST_MIGRATIONS: await readD1Migrations("migrations"),
              },
              // A deployment need not have one: those of test/system do not.
              r2Buckets: ["ARCHIVE"],
              // A test that forgot to answer a fetch must fail, not reach the network.
              outboundService: (request: { readonly url: string }) => {
                throw new Error(`no test answers ${request.url}`);
              },
            },
          })),
        ],
        test: { name: "worker", include: ["test/worker/**/*.test.ts"] },
      },
      systemProject("system", { include: ["test/system/**/*.test.ts"], exclude: ALONE, sequence: { groupOrder: 1 } }),
      systemProject("system-alone", { include: ALONE, fileParallelism: false, sequence: { groupOrder: 2 } }),
    ],
  },
});
