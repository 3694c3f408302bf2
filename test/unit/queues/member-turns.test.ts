import { describe, expect, it } from "vitest";
import { destinationsOf } from "../../../src/delivery/destination.ts";
import type { Directory } from "../../../src/delivery/directory.ts";
import { endpoint } from "../outbound/world.ts";

const STREAM = { tenantId: "default", kind: "queues", name: "work" } as const;

/** Whose turn it is at an attempt at the message of an offset, where these members fail. */
async function turns(failing: readonly string[]): Promise<(offset: number, attemptNumber?: number) => string> {
  const ids = ["ep_a", "ep_b", "ep_c"];
  const members = await Promise.all(ids.map((id) => endpoint({ id, failingSinceMs: failing.includes(id) ? 1 : null })));
  const directory: Directory = {
    endpoints: async () => new Map(members.map((member) => [member.id, member])),
    queue: async () => ({ name: "work", tenantId: "default", maxReceives: 5, retentionSeconds: 60, memberIds: ids }),
    nodeEndpointId: async () => null,
  };
  const destinationOf = await destinationsOf(STREAM, [], directory, 0);
  return (offset, attemptNumber = 1) => {
    const destination = destinationOf({ offset, endpointId: "member", attemptNumber });
    return destination.kind === "push" ? destination.endpoint.id : destination.kind;
  };
}

describe("the push members of a queue", () => {
  it("take turns, and another one has the next attempt", async () => {
    const turn = await turns([]);
    expect([0, 1, 2, 3].map((offset) => turn(offset))).toEqual(["ep_a", "ep_b", "ep_c", "ep_a"]);
    expect(new Set([1, 2, 3].map((attempt) => turn(7, attempt))).size).toBe(3);
  });

  it("that fail come after the others, but for a try now and then", async () => {
    const turn = await turns(["ep_b"]);
    const first = Array.from({ length: 60 }, (_, offset) => turn(offset));
    expect(first.filter((id) => id === "ep_b").length).toBeLessThanOrEqual(6);
    expect(first).toContain("ep_b");
    expect([1, 2, 3].map((attempt) => turn(11, attempt))).toEqual(["ep_c", "ep_a", "ep_b"]);
  });

  it("take turns as ever when all fail", async () => {
    const turn = await turns(["ep_a", "ep_b", "ep_c"]);
    expect([0, 1, 2].map((offset) => turn(offset))).toEqual(["ep_a", "ep_b", "ep_c"]);
  });
});
