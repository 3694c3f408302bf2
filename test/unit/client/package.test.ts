import { execFileSync } from "node:child_process";
import { cpSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";

const ROOT = join(import.meta.dirname, "../../..");

/** A directory of someone who installed the package: what `npm pack` would ship, under node_modules. */
let user: string;
let shipped: string[];

function run(command: string, args: readonly string[], cwd: string): string {
  return execFileSync(command, args, { cwd, encoding: "utf8", stdio: ["ignore", "pipe", "pipe"] });
}

beforeAll(() => {
  user = mkdtempSync(join(tmpdir(), "postern-client-"));
  run("npm", ["run", "build:client"], ROOT);
  const [packed] = JSON.parse(run("npm", ["pack", "--dry-run", "--json", "--ignore-scripts"], ROOT));
  shipped = packed.files.map(({ path }: { path: string }) => path);
  for (const path of shipped) cpSync(join(ROOT, path), join(user, "node_modules/postern", path));
  writeFileSync(join(user, "package.json"), '{"type":"module"}');
}, 60_000);
afterAll(() => {
  rmSync(user, { recursive: true, force: true });
});

describe("the package", () => {
  it("ships the client and nothing of the gateway", () => {
    expect(shipped).toContain("dist/client/index.js");
    expect(shipped.filter((path) => !/^(dist\/client\/|package\.json$|README\.md$|LICENSE$)/.test(path))).toEqual([]);
  });

  it("depends on nothing: no import is left in the client", () => {
    const code = readFileSync(join(user, "node_modules/postern/dist/client/index.js"), "utf8");
    expect(code).not.toMatch(/^\s*(import|export)\b[^;]*\bfrom\b/m);
    expect(code).not.toMatch(/\b(require|import)\(|\bprocess\.|\bBuffer\b/);
  });

  it("is imported by plain Node", () => {
    const script = `
      import { createMemoryBus, verifyWebhook } from "postern/client";
      const bus = createMemoryBus();
      bus.createEndpoint({ queue: "prices", handler: ({ topic }) => ({ topic }) });
      const answer = await bus.query("prices/quote", "x");
      const verified = await verifyWebhook({
        secret: "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
        headers: {
          "webhook-id": "msg_p5jXN8AQM9LWM0D4loKWxJek",
          "webhook-timestamp": "1614265330",
          "webhook-signature": "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
        },
        body: '{"test": 2432232314}',
        now: new Date(1614265330000),
      });
      console.log(JSON.stringify([answer.json(), verified.timestamp]));
    `;
    writeFileSync(join(user, "index.js"), script);
    expect(JSON.parse(run(process.execPath, ["index.js"], user))).toEqual([{ topic: "prices/quote" }, 1_614_265_330]);
  });

  it.each(["nodenext", "bundler"])("has types that hold in a browser's program, with the module resolution of %s", (resolution) => {
    const program = `
      import { createClient, type Delivery, PosternProblem } from "postern/client";
      const bus = createClient({ url: "https://gateway.example", token: "t", fetch });
      export async function use(): Promise<number> {
        const { offset } = await bus.publish("orders.created", { order: 17 }, { signal: AbortSignal.timeout(1000) });
        for await (const delivery of bus.consume({ queue: "billing" }, { max: 5 })) {
          const item: Delivery = delivery;
          await item.ack();
        }
        return offset;
      }
      export function isGone(error: unknown): boolean {
        // @ts-expect-error -- codes are a closed union
        if (error instanceof PosternProblem && error.code === "no-such-code") return false;
        return error instanceof PosternProblem && error.code === "gone";
      }
    `;
    writeFileSync(join(user, "program.ts"), program);
    const module = resolution === "bundler" ? "esnext" : resolution;
    const flags = ["--noEmit", "--strict", "--target", "es2022", "--lib", "es2023,dom,dom.asynciterable", "--module", module];
    // Throws with the compiler's output when there is an error, in the declarations themselves too.
    run(join(ROOT, "node_modules/.bin/tsc"), [...flags, "--moduleResolution", resolution, "program.ts"], user);
  }, 30_000);
});
