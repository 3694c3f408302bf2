import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { queueNames } from "../../../src/mailbox/sqs-queue-name.ts";

type Box = Parameters<typeof queueNames>[1];

const ENDPOINT = "ep_01k9zq3v5x7t8w2y4r6p0n1m3k";
const box = (fields: Partial<Box>): Box => ({ tenantId: "default", kind: "queue", id: "jobs", ordered: false, ...fields });

describe("the name of a box's queue", () => {
  it("is prefix, tenant and id where those can stand as they are", async () => {
    expect(await queueNames("postern", box({}))).toEqual({ main: "postern-default-jobs", deadLetters: "postern-default-jobs-dlq" });
    expect(await queueNames("postern", box({ kind: "endpoint", id: ENDPOINT, tenantId: "ten_01k9zq3v5x7t8w2y4r6p0n1m3k" }))).toEqual({
      main: `postern-ten_01k9zq3v5x7t8w2y4r6p0n1m3k-${ENDPOINT}`,
      deadLetters: `postern-ten_01k9zq3v5x7t8w2y4r6p0n1m3k-${ENDPOINT}-dlq`,
    });
    expect(await queueNames("acme", box({ id: "print-Jobs_2", ordered: true }))).toEqual({
      main: "acme-default-print-Jobs_2.fifo",
      deadLetters: "acme-default-print-Jobs_2-dlq.fifo",
    });
  });

  it.each([
    ["a character SQS refuses", { id: "orders.eu" }, /^postern-default-orders_eu-x[0-9a-f]{24}$/],
    ["what is too long", { id: "q".repeat(128) }, /^postern-default-q+-x[0-9a-f]{24}$/],
    ["a queue that looks like an endpoint", { id: ENDPOINT }, /-x[0-9a-f]{24}$/],
    ["a queue that looks like dead letters", { id: "jobs-dlq" }, /-x[0-9a-f]{24}$/],
    ["a tenant whose end is not clear", { tenantId: "my-team" }, /^postern-my-team-jobs-x[0-9a-f]{24}$/],
  ])("has a hash for %s", async (_what, fields, expected) => {
    const { main } = await queueNames("postern", box(fields));
    expect(main).toMatch(expected);
    expect(await queueNames("postern", box(fields))).toMatchObject({ main });
  });

  it("is one that SQS takes, and no other box's, whatever tenant and queue are called", async () => {
    const tenant = fc.stringMatching(/^[A-Za-z0-9][A-Za-z0-9_-]{0,62}$/);
    const queue = fc.oneof(
      fc.stringMatching(/^[A-Za-z0-9_-]{1,40}(\.[A-Za-z0-9_-]{1,40})?$/),
      fc.constantFrom("a", "a-b", "b", "a-dlq", "a.b", "a_b", ENDPOINT, `b-${ENDPOINT}`),
    );
    const boxes = fc.oneof(
      fc.record({ tenantId: fc.oneof(tenant, fc.constantFrom("a", "a-b", "a_b")), kind: fc.constant("queue" as const), id: queue, ordered: fc.boolean() }),
      fc.record({ tenantId: fc.oneof(tenant, fc.constantFrom("a", "a-b")), kind: fc.constant("endpoint" as const), id: fc.constant(ENDPOINT), ordered: fc.boolean() }),
    );
    await fc.assert(
      fc.asyncProperty(boxes, boxes, async (one, other) => {
        const [first, second] = [await queueNames("postern", one), await queueNames("postern", other)];
        for (const name of [first.main, first.deadLetters]) expect(name).toMatch(/^(?=.{1,80}$)[A-Za-z0-9_-]+(\.fifo)?$/);
        const same = JSON.stringify(one) === JSON.stringify(other);
        expect(new Set([...Object.values(first), ...Object.values(second)]).size).toBe(same ? 2 : 4);
      }),
      { numRuns: 500 },
    );
  });
});
