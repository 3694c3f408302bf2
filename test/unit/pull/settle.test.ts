import { beforeEach, describe, expect, it, vi } from "vitest";
import type { RingKey } from "../../../src/crypto/keyring.ts";
import { settleReceipts, type SettleWorld } from "../../../src/http/pull-receipts.ts";
import type { BoxRef } from "../../../src/mailbox/mailbox.ts";
import { sealReceipt } from "../../../src/mailbox/receipt.ts";
import { boxNamed, FakeMailbox, UNREACHABLE } from "./fake-mailbox.ts";

const KEY: RingKey = { id: "k1", key: new Uint8Array(32).fill(1) };
const ENDPOINT = boxNamed("ep_one", "endpoint");
const BILLING = boxNamed("billing");

let mailbox: FakeMailbox;
let boxes: BoxRef[];
let world: SettleWorld;

beforeEach(() => {
  mailbox = new FakeMailbox();
  boxes = [ENDPOINT, BILLING];
  world = {
    keys: [KEY],
    tenantId: "ten_a",
    mailbox,
    findBox: async (kind, id) => boxes.find((box) => box.kind === kind && box.id === id) ?? null,
  };
  vi.spyOn(console, "warn").mockImplementation(() => undefined);
});

function receiptOf({ kind, id }: BoxRef, handle: string, tenantId = "ten_a"): Promise<string> {
  return sealReceipt([KEY], tenantId, { kind, id, handle });
}

describe("settling receipts", () => {
  it("hands the handles to the mailbox in order, with the delay or the time", async () => {
    const receipts = [await receiptOf(ENDPOINT, "h1"), await receiptOf(ENDPOINT, "h2")];
    await settleReceipts(world, receipts, { verb: "ack" }, ENDPOINT);
    await settleReceipts(world, receipts, { verb: "nack", delaySeconds: 7 }, ENDPOINT);
    const settled = await settleReceipts(world, receipts, { verb: "extend", visibilitySeconds: 60 }, ENDPOINT);
    expect(settled).toEqual({ ok: true, results: receipts.map((receipt) => ({ receipt, ok: true })) });
    expect(mailbox.settled).toEqual([
      { verb: "ack", box: "ep_one", handles: ["h1", "h2"], seconds: null },
      { verb: "nack", box: "ep_one", handles: ["h1", "h2"], seconds: 7 },
      { verb: "extend", box: "ep_one", handles: ["h1", "h2"], seconds: 60 },
    ]);
  });

  it("refuses each bad receipt by itself, with its reason, and does the rest", async () => {
    const good = await receiptOf(ENDPOINT, "h1");
    const receipts = [
      "nonsense",
      `${good.slice(0, -1)}${good.endsWith("A") ? "B" : "A"}`,
      await receiptOf(ENDPOINT, "h2", "ten_b"),
      await receiptOf(BILLING, "h3"),
      await receiptOf(boxNamed("ep_one", "queue"), "h4"),
      good,
      good,
    ];
    const settled = await settleReceipts(world, receipts, { verb: "ack" }, ENDPOINT);
    expect(settled).toEqual({
      ok: true,
      results: [
        { receipt: receipts[0], ok: false, error: "malformed" },
        { receipt: receipts[1], ok: false, error: "forged" },
        { receipt: receipts[2], ok: false, error: "forged" },
        { receipt: receipts[3], ok: false, error: "foreign" },
        { receipt: receipts[4], ok: false, error: "foreign" },
        { receipt: good, ok: true },
        { receipt: good, ok: false, error: "repeated" },
      ],
    });
    expect(mailbox.settled).toEqual([{ verb: "ack", box: "ep_one", handles: ["h1"], seconds: null }]);
  });

  it("says what the mailbox says of each", async () => {
    const reasons = ["stale", "invalid", "failed"] as const;
    const receipts = await Promise.all(reasons.map((reason) => receiptOf(ENDPOINT, reason)));
    mailbox.results = (handle) => ({ ok: false, reason: reasons.find((reason) => reason === handle)! });
    const settled = await settleReceipts(world, receipts, { verb: "ack" }, ENDPOINT);
    expect(settled).toMatchObject({ ok: true, results: [{ error: "stale" }, { error: "stale" }, { error: "failed" }] });
  });

  it("takes receipts of all boxes of the tenant when none is named, each to its own", async () => {
    const gone = boxNamed("deleted");
    const receipts = [await receiptOf(BILLING, "b1"), await receiptOf(gone, "g1"), await receiptOf(ENDPOINT, "e1"), await receiptOf(BILLING, "b2")];
    const settled = await settleReceipts(world, receipts, { verb: "ack" }, null);
    expect(settled).toMatchObject({ ok: true, results: [{ ok: true }, { ok: false, error: "stale" }, { ok: true }, { ok: true }] });
    expect(mailbox.settled.map(({ box, handles }) => [box, handles])).toEqual([
      ["billing", ["b1", "b2"]],
      ["ep_one", ["e1"]],
    ]);
  });

  it("is a fault when no box could be asked, and a failure of some receipts when others could", async () => {
    mailbox.faulty.add("billing");
    const billing = await receiptOf(BILLING, "b1");
    const endpoint = await receiptOf(ENDPOINT, "e1");
    expect(await settleReceipts(world, ["nonsense", billing], { verb: "ack" }, null)).toEqual(UNREACHABLE);
    expect(await settleReceipts(world, [billing, endpoint], { verb: "ack" }, null)).toEqual({
      ok: true,
      results: [{ receipt: billing, ok: false, error: "failed" }, { receipt: endpoint, ok: true }],
    });
  });

  it("asks the mailbox nothing when no receipt is good", async () => {
    mailbox.faulty.add("ep_one");
    const settled = await settleReceipts(world, ["a", "b"], { verb: "ack" }, ENDPOINT);
    expect(settled).toMatchObject({ ok: true, results: [{ ok: false, error: "malformed" }, { ok: false, error: "malformed" }] });
  });
});
