import { describe, expect, it } from "vitest";
import { type AppendTarget, judgeAppend } from "../../../../src/streams/protocol/append-rules.ts";
import type { AppendRequest } from "../../../../src/streams/protocol/contract.ts";

const target: AppendTarget = { contentType: "text/plain; charset=utf-8", closed: false, closedBy: null, lastSeq: null, tail: 10 };
const request: AppendRequest = { contentType: "TEXT/plain", payload: { bytes: new Uint8Array(3), lengths: null }, seq: null, producer: null, close: false };
const closeOnly: AppendRequest = { ...request, contentType: null, payload: null, close: true };
const by = (epoch: number, seq: number, base = request): AppendRequest => ({ ...base, producer: { id: "p", epoch, seq } });

describe("an append", () => {
  it("is taken when its content type is the stream's, whatever its parameters and case", () => {
    expect(judgeAppend(target, null, request)).toBeNull();
    expect(judgeAppend(target, null, { ...request, contentType: "text/html" })).toMatchObject({ code: "content-type" });
  });

  it("needs a Stream-Seq beyond the last, compared byte by byte", () => {
    const judge = (lastSeq: string | null, seq: string) => judgeAppend({ ...target, lastSeq }, null, { ...request, seq });
    expect([judge(null, "1"), judge("09", "10"), judge("B", "a")]).toEqual([null, null, null]);
    for (const [last, seq] of [["2", "10"], ["2", "2"], ["a", "B"]] as const) expect(judge(last, seq)).toEqual({ ok: false, code: "sequence", last });
  });

  it("of a producer counts from 0 in every epoch, without gaps", () => {
    expect(judgeAppend(target, null, by(0, 0))).toBeNull();
    expect(judgeAppend(target, null, by(7, 0))).toBeNull();
    expect(judgeAppend(target, null, by(0, 1))).toEqual({ ok: false, code: "producer-gap", expected: 0, received: 1 });
    const known = { epoch: 3, seq: 5 };
    expect(judgeAppend(target, known, by(3, 6))).toBeNull();
    expect(judgeAppend(target, known, by(4, 0))).toBeNull();
    expect(judgeAppend(target, known, by(4, 1))).toEqual({ ok: false, code: "epoch-start" });
    expect(judgeAppend(target, known, by(3, 8))).toEqual({ ok: false, code: "producer-gap", expected: 6, received: 8 });
    expect(judgeAppend(target, known, by(2, 6))).toEqual({ ok: false, code: "stale-epoch", epoch: 3 });
  });

  it("that is a producer's repeat is told the highest accepted, also with the Stream-Seq it had", () => {
    const repeated = judgeAppend({ ...target, lastSeq: "x" }, { epoch: 3, seq: 5 }, { ...by(3, 2), seq: "a" });
    expect(repeated).toEqual({ ok: true, duplicate: true, tail: 10, closed: false, acceptedSeq: 5 });
  });
});

describe("a closed stream", () => {
  const closed: AppendTarget = { ...target, closed: true, closedBy: { id: "p", epoch: 0, seq: 4 } };
  const known = { epoch: 0, seq: 4 };
  const refused = { ok: false, code: "closed", tail: 10 };

  it("takes nothing more, whoever asks", () => {
    expect(judgeAppend(closed, null, request)).toEqual(refused);
    expect(judgeAppend(closed, null, { ...request, close: true })).toEqual(refused);
    expect(judgeAppend(closed, known, by(0, 5))).toEqual(refused);
    expect(judgeAppend(closed, known, by(0, 9, closeOnly))).toEqual(refused);
    expect(judgeAppend(closed, null, { ...by(0, 0, closeOnly), producer: { id: "q", epoch: 0, seq: 0 } })).toEqual(refused);
  });

  it("may be closed again, and tells a producer that its repeats were taken", () => {
    expect(judgeAppend(closed, null, closeOnly)).toMatchObject({ ok: true, duplicate: true, closed: true });
    expect(judgeAppend(closed, known, by(0, 4, closeOnly))).toMatchObject({ ok: true, duplicate: true, acceptedSeq: 4 });
    expect(judgeAppend(closed, known, by(0, 3))).toMatchObject({ ok: true, duplicate: true, acceptedSeq: 4 });
    expect(judgeAppend(closed, known, by(0, 3, closeOnly))).toEqual(refused);
    expect(judgeAppend(closed, { epoch: 1, seq: 0 }, by(0, 4, closeOnly))).toEqual({ ok: false, code: "stale-epoch", epoch: 1 });
  });
});
