import { describe, expect, it } from "vitest";
import { jobsFor } from "../../../src/streams/jobs.ts";

const NOW = 1_000_000;
const DAY_MS = 24 * 60 * 60 * 1000;

describe("the jobs for what is due", () => {
  it("carry references only, 50 a job, together when due in the same second", () => {
    const due = Array.from({ length: 120 }, (_, offset) => ({ offset, endpointId: "ep_1", atMs: NOW + 4_600 }));
    const jobs = jobsFor("default/topics/t", due, NOW);
    expect(jobs.map(({ body, delaySeconds }) => [body.refs.length, delaySeconds])).toEqual([[50, 5], [50, 5], [20, 5]]);
    expect(jobs[2]?.body).toEqual({ v: 1, stream: "default/topics/t", refs: due.slice(100).map(({ offset, endpointId }) => ({ offset, endpointId })) });
  });

  it("do not delay what is overdue", () => {
    expect(jobsFor("s", [{ offset: 0, endpointId: "ep_1", atMs: NOW - 60_000 }], NOW)[0]?.delaySeconds).toBe(0);
  });

  it("leave out what the queue can not delay that long: the alarm carries it", () => {
    const due = [{ offset: 0, endpointId: "ep_1", atMs: NOW + DAY_MS + 600 }, { offset: 1, endpointId: "ep_1", atMs: NOW + DAY_MS }];
    expect(jobsFor("s", due, NOW).map(({ body }) => body.refs.map(({ offset }) => offset))).toEqual([[1]]);
  });
});
