import { judgeAppend, type ProducerState } from "./append-rules.ts";
import { type Payload, unitsOf } from "./content.ts";
import type { AppendRequest, AppendResult } from "./contract.ts";
import type { StreamState, StreamStore } from "./store.ts";

/**
 * Applies the requests of one commit in their order, each as if those before it were on disk, and writes what they
 * add at once. Call within a transaction.
 */
export function appendGroup(store: StreamStore, before: StreamState, requests: readonly AppendRequest[]): AppendResult[] {
  let state = before;
  let tail = store.tail;
  const payloads: Payload[] = [];
  const producers = new Map<string, ProducerState>();
  const results = requests.map((request): AppendResult => {
    const { producer, payload, seq, close } = request;
    const known = producer === null ? null : (producers.get(producer.id) ?? store.producer(producer.id));
    const verdict = judgeAppend({ ...state, tail }, known, request);
    if (verdict !== null) return verdict;
    if (payload !== null) {
      payloads.push(payload);
      tail += unitsOf(payload);
    }
    if (producer !== null) producers.set(producer.id, { epoch: producer.epoch, seq: producer.seq });
    if (seq !== null) state = { ...state, lastSeq: seq };
    if (close) state = { ...state, closed: true, closedBy: producer };
    return { ok: true, duplicate: false, tail, closed: close, acceptedSeq: producer?.seq ?? null };
  });
  if (payloads.length > 0) store.append(state, payloads, tail);
  for (const [id, producer] of producers) store.saveProducer(id, producer);
  if (state !== before) store.save(state);
  return results;
}
