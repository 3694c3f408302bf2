import { mediaType } from "./content.ts";
import type { AppendRequest, AppendResult, ProducerRequest } from "./contract.ts";

/** The last request of a producer that was accepted. */
export type ProducerState = { readonly epoch: number; readonly seq: number };

/** What decides whether an append is taken. */
export type AppendTarget = {
  readonly contentType: string;
  readonly closed: boolean;
  /** The producer's request that closed it. */
  readonly closedBy: ProducerRequest | null;
  readonly lastSeq: string | null;
  readonly tail: number;
};

type Verdict =
  | { readonly kind: "accepted" }
  | { readonly kind: "duplicate"; readonly seq: number }
  | { readonly kind: "refused"; readonly result: AppendResult };

/** The answer to a request that changes nothing; null for one to be taken. */
export function judgeAppend(target: AppendTarget, known: ProducerState | null, request: AppendRequest): AppendResult | null {
  const verdict = request.producer === null ? null : judgeProducer(known, request.producer);
  if (target.closed) return judgeClosed(target, verdict, request);
  if (request.payload !== null && mediaType(request.contentType ?? "") !== mediaType(target.contentType)) {
    return { ok: false, code: "content-type", expected: target.contentType };
  }
  if (verdict?.kind === "refused") return verdict.result;
  // before Stream-Seq: a repeat has the Stream-Seq of the first
  if (verdict?.kind === "duplicate") return duplicate(target, verdict.seq);
  if (request.seq !== null && target.lastSeq !== null && request.seq <= target.lastSeq) {
    return { ok: false, code: "sequence", last: target.lastSeq };
  }
  return null;
}

/** Nothing is added any more, but a repeat of what was taken before is told so, and closing twice is no fault. */
function judgeClosed(target: AppendTarget, verdict: Verdict | null, request: AppendRequest): AppendResult {
  const { producer, payload, close } = request;
  if (verdict === null && payload === null) return duplicate(target, null);
  if (verdict?.kind === "refused" && verdict.result.ok === false && verdict.result.code === "stale-epoch") return verdict.result;
  if (producer !== null && verdict?.kind === "duplicate") {
    const { closedBy } = target;
    const isClosing = closedBy?.id === producer.id && closedBy.epoch === producer.epoch && closedBy.seq === producer.seq;
    if (isClosing || !close) return duplicate(target, verdict.seq);
  }
  return { ok: false, code: "closed", tail: target.tail };
}

function duplicate({ tail, closed }: AppendTarget, acceptedSeq: number | null): AppendResult {
  return { ok: true, duplicate: true, tail, closed, acceptedSeq };
}

/** Protocol §5.2.1: within an epoch requests count from 0 without gaps, and a higher epoch fences a lower one. */
function judgeProducer(known: ProducerState | null, { epoch, seq }: ProducerRequest): Verdict {
  if (known !== null && epoch < known.epoch) {
    return { kind: "refused", result: { ok: false, code: "stale-epoch", epoch: known.epoch } };
  }
  if (known !== null && epoch > known.epoch && seq !== 0) return { kind: "refused", result: { ok: false, code: "epoch-start" } };
  const lastSeq = known?.epoch === epoch ? known.seq : -1;
  if (seq <= lastSeq) return { kind: "duplicate", seq: lastSeq };
  if (seq === lastSeq + 1) return { kind: "accepted" };
  return { kind: "refused", result: { ok: false, code: "producer-gap", expected: lastSeq + 1, received: seq } };
}
