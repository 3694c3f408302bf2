import { describe, expect, it } from "vitest";
import { CreateEndpoint, PatchEndpoint, RotateSecret } from "../../../src/http/endpoint-schemas.ts";

const PUSH = { kind: "push", url: "https://example.com/hook" };

function pointersOf(input: unknown): string[] {
  const parsed = CreateEndpoint.safeParse(input);
  return parsed.success ? [] : parsed.error.issues.map((issue) => `/${issue.path.join("/")}`);
}

describe("CreateEndpoint", () => {
  it("fills in what the contract says is the default", () => {
    expect(CreateEndpoint.parse(PUSH)).toEqual({
      ...PUSH,
      name: null,
      node: null,
      topics: [],
      filter: null,
      filterScope: "attributes",
      queue: null,
      format: "raw",
      headers: null, asymmetric: false, auth: null, handshake: false,
      timeoutSeconds: 15,
      retrySchedule: [5, 30, 120, 600, 1800, 7200, 21600, 43200, 86400, 97200],
      rateLimit: null,
      maxConcurrency: null,
      ordered: false,
      orderingKey: null,
      fallback: null,
      description: null,
      metadata: null,
    });
  });

  it.each([
    ["the longest schedule", { retrySchedule: Array.from({ length: 30 }, () => 604_800) }],
    ["no retries", { retrySchedule: [] }],
    ["the shortest timeout", { timeoutSeconds: 1 }],
    ["the longest timeout", { timeoutSeconds: 30 }],
    ["a fractional rate", { rateLimit: 0.5 }],
    ["a fallback", { fallback: "pull" }],
    ["metadata of every scalar", { metadata: { a: "b", c: 1, d: true, e: null } }],
    ["a hundred topics", { topics: Array.from({ length: 100 }, (_, index) => `t.${index}`) }],
    ["a secret", { secret: "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw" }],
    ["nulls for what may be empty", { name: null, node: null, headers: null, description: null, metadata: null, filter: null }],
  ])("takes %s", (_name, fields) => {
    expect(pointersOf({ ...PUSH, ...fields })).toEqual([]);
  });

  it("makes header names lower case", () => {
    expect(CreateEndpoint.parse({ ...PUSH, headers: { "X-Key": "A" } }).headers).toEqual({ "x-key": "A" });
  });

  it.each([
    ["no kind", { kind: undefined }, "/kind"],
    ["another kind", { kind: "fax" }, "/kind"],
    ["a url that is no text", { url: 5 }, "/url"],
    ["a name of 129 characters", { name: "n".repeat(129) }, "/name"],
    ["a description of 1025 characters", { description: "d".repeat(1025) }, "/description"],
    ["topics that are no list", { topics: "orders" }, "/topics"],
    ["a topic that is no text", { topics: ["a", 1] }, "/topics/1"],
    ["101 topics", { topics: Array.from({ length: 101 }, (_, index) => `t.${index}`) }, "/topics"],
    ["a filter that is no object", { filter: ["a"] }, "/filter"],
    ["another filter scope", { filterScope: "MessageBody" }, "/filterScope"],
    ["another format", { format: "xml" }, "/format"],
    ["a refused header", { headers: { "x-a": "1", Host: "evil" } }, "/headers/Host"],
    ["a header value with a line break", { headers: { "x-a": "1\r\nx-b: 2" } }, "/headers/x-a"],
    ["a header value that is no text", { headers: { "x-a": 1 } }, "/headers/x-a"],
    ["the same header twice", { headers: { "X-A": "1", "x-a": "2" } }, "/headers/x-a"],
    ["21 headers", { headers: Object.fromEntries(Array.from({ length: 21 }, (_, i) => [`x-${i}`, "v"])) }, "/headers"],
    ["a short secret", { secret: "whsec_c2hvcnQ=" }, "/secret"],
    ["a timeout of 0", { timeoutSeconds: 0 }, "/timeoutSeconds"],
    ["a timeout of 31", { timeoutSeconds: 31 }, "/timeoutSeconds"],
    ["a fractional timeout", { timeoutSeconds: 1.5 }, "/timeoutSeconds"],
    ["a timeout as text", { timeoutSeconds: "15" }, "/timeoutSeconds"],
    ["31 retries", { retrySchedule: Array.from({ length: 31 }, () => 1) }, "/retrySchedule"],
    ["a step of 0", { retrySchedule: [5, 0] }, "/retrySchedule/1"],
    ["a step of more than 7 days", { retrySchedule: [604_801] }, "/retrySchedule/0"],
    ["a fractional step", { retrySchedule: [0.5] }, "/retrySchedule/0"],
    ["a rate of 0", { rateLimit: 0 }, "/rateLimit"],
    ["a negative rate", { rateLimit: -1 }, "/rateLimit"],
    ["nothing under way at all", { maxConcurrency: 0 }, "/maxConcurrency"],
    ["a part of a request", { maxConcurrency: 1.5 }, "/maxConcurrency"],
    ["another fallback", { fallback: "push" }, "/fallback"],
    ["ordered as text", { ordered: "yes" }, "/ordered"],
    ["nested metadata", { metadata: { a: { b: 1 } } }, "/metadata/a"],
    ["51 keys of metadata", { metadata: Object.fromEntries(Array.from({ length: 51 }, (_, i) => [`k${i}`, 1])) }, "/metadata"],
    ["a field that is not in the contract", { colour: "red" }, "/"],
  ])("refuses %s", (_name, fields, pointer) => {
    expect(pointersOf({ ...PUSH, ...fields })).toEqual([pointer]);
  });

  it("names no value of a header or secret in what it says", () => {
    const parsed = CreateEndpoint.safeParse({ ...PUSH, secret: "whsec_hunter2", headers: { "x-a": "hunter2\n" } });
    expect(JSON.stringify(parsed.error?.issues)).not.toContain("hunter2");
  });
});

describe("PatchEndpoint", () => {
  it("adds nothing to what was sent", () => {
    expect(PatchEndpoint.parse({})).toEqual({});
    expect(PatchEndpoint.parse({ name: null, ordered: true })).toEqual({ name: null, ordered: true });
  });

  it.each([{ kind: "pull" }, { secret: "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw" }, { status: "active" }, { id: "ep_1" }])(
    "refuses %j, which is not for a PATCH",
    (fields) => {
      expect(PatchEndpoint.safeParse(fields).success).toBe(false);
    },
  );

  it.each(["timeoutSeconds", "retrySchedule", "format", "ordered", "topics", "filterScope"])("refuses null for %s", (field) => {
    expect(PatchEndpoint.safeParse({ [field]: null }).success).toBe(false);
  });
});

describe("RotateSecret", () => {
  it("overlaps for a day unless told otherwise", () => {
    expect(RotateSecret.parse({})).toEqual({ overlapSeconds: 86_400 });
  });

  it.each([-1, 604_801, 0.5, "1", null])("refuses an overlap of %j", (overlapSeconds) => {
    expect(RotateSecret.safeParse({ overlapSeconds }).success).toBe(false);
  });
});
