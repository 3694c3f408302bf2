import { describe, expect, it } from "vitest";
import { changedAddresses } from "../../../src/delivery/release-addresses.ts";
import type { EndpointAddresses } from "../../../src/storage/endpoints.ts";

function endpoint(more: Partial<EndpointAddresses> = {}): EndpointAddresses {
  return { kind: "push", status: "active", node: null, queues: [], ...more };
}

const NOTHING = { node: null, joined: [], left: [] };

describe("what a change of an endpoint lets flow", () => {
  it.each([
    ["is created as a member", null, endpoint({ queues: ["q", "r"] }), { ...NOTHING, joined: ["q", "r"] }],
    ["becomes a member", endpoint({ queues: ["q"] }), endpoint({ queues: ["q", "r"] }), { ...NOTHING, joined: ["r"] }],
    ["moves to another queue", endpoint({ queues: ["q"] }), endpoint({ queues: ["r"] }), { ...NOTHING, joined: ["r"], left: ["q"] }],
    ["is paused", endpoint({ queues: ["q"] }), endpoint({ queues: ["q"], status: "paused" }), { ...NOTHING, left: ["q"] }],
    ["is resumed", endpoint({ queues: ["q"], status: "paused" }), endpoint({ queues: ["q"] }), { ...NOTHING, joined: ["q"] }],
    ["is enabled", endpoint({ queues: ["q"], status: "disabled" }), endpoint({ queues: ["q"] }), { ...NOTHING, joined: ["q"] }],
    ["is deleted", endpoint({ queues: ["q"], node: "n" }), null, { ...NOTHING, left: ["q"] }],
    ["becomes a member while paused", endpoint({ status: "paused" }), endpoint({ status: "paused", queues: ["q"] }), NOTHING],
    ["is a member that pulls", null, endpoint({ kind: "pull", queues: ["q"] }), NOTHING],
    ["changes nothing of this", endpoint({ queues: ["q"], node: "n" }), endpoint({ queues: ["q"], node: "n" }), NOTHING],
  ])("when it %s, are the queues it joined or left", (_what, before, after, expected) => {
    expect(changedAddresses(before, after)).toEqual(expected);
  });

  it.each([
    ["is created with a node name", null, endpoint({ node: "n" }), "n"],
    ["pulls and has a node name", null, endpoint({ kind: "pull", node: "n" }), "n"],
    ["is given one", endpoint(), endpoint({ node: "n" }), "n"],
    ["is given another", endpoint({ node: "n" }), endpoint({ node: "m" }), "m"],
    ["is resumed", endpoint({ node: "n", status: "paused" }), endpoint({ node: "n" }), "n"],
    ["loses it", endpoint({ node: "n" }), endpoint(), null],
    ["is deleted", endpoint({ node: "n" }), null, null],
    ["never had one", endpoint({ status: "paused" }), endpoint(), null],
  ])("when it %s, is what waits for the node", (_what, before, after, node) => {
    expect(changedAddresses(before, after).node).toBe(node);
  });
});
