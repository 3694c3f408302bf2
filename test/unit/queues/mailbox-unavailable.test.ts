import { beforeEach, describe, expect, it } from "vitest";
import { bodyOf, openGateway, type TestGateway } from "../http/gateway.ts";

/** What the gateway did to its streams, as far as queues do anything. */
let purged: string[];
let gateway: TestGateway;

beforeEach(() => {
  purged = [];
  gateway = openGateway({
    // with no credentials: every call of the mailbox is a fault that says so
    POSTERN_MAILBOX: "sqs",
    STREAMS: {
      getByName: () => ({
        backlog: async () => ({ open: 2, oldestTimeMs: Date.now() }),
        purge: async (stream: string) => purged.push(stream),
        reopen: async () => {
          throw new Error("nothing may be opened while the mailbox is away");
        },
      }),
    },
  });
});

describe("while the mailbox can not be reached", () => {
  it("a queue can be made, changed and listed, its depth unknown", async () => {
    expect((await gateway.send("PUT", "/v1/queues/q", { json: {} })).status).toBe(201);
    expect((await gateway.send("PUT", "/v1/queues/q", { json: { maxReceives: 3 } })).status).toBe(200);
    const listed = await gateway.send("GET", "/v1/queues");
    expect(listed.status).toBe(200);
    expect((await bodyOf(listed)).data).toMatchObject([
      { queue: "q", maxReceives: 3, depth: null, inFlight: null, dead: null, oldestAgeSeconds: null },
    ]);
  });

  it.each([
    ["GET", "/v1/queues/q"],
    ["POST", "/v1/queues/q/purge"],
    ["POST", "/v1/queues/q/redrive"],
  ])("%s %s answers 503 and names what is missing", async (method, path) => {
    await gateway.send("PUT", "/v1/queues/q", { json: {} });
    const answer = await gateway.send(method, path);
    expect(answer.status).toBe(503);
    const problem = await bodyOf(answer);
    expect(problem.type).toMatch(/\/unavailable$/);
    expect(problem.detail).toMatch(/AWS_ACCESS_KEY_ID/);
  });

  it("a purge that found only half of its work done is in the audit log all the same", async () => {
    await gateway.send("PUT", "/v1/queues/q", { json: {} });
    await gateway.send("POST", "/v1/queues/q/purge");
    expect(purged).toEqual(["default/queues/q"]);
    const [entry] = gateway.sqlite.prepare("SELECT change FROM audit WHERE action = 'queue.purge'").all();
    expect(JSON.parse(String(entry?.["change"]))).toMatchObject({ after: { mailbox: "not-configured" } });
  });

  it("a queue can be deleted: its box is the operator's to remove", async () => {
    await gateway.send("PUT", "/v1/queues/q", { json: {} });
    expect((await gateway.send("DELETE", "/v1/queues/q")).status).toBe(204);
    expect((await gateway.send("GET", "/v1/queues/q")).status).toBe(404);
  });
});
