import { sha256Hex } from "../crypto/digest.ts";
import { shownTopic } from "../delivery/shown-topic.ts";
import { contentFields } from "../messages/content-fields.ts";
import type { StoredSegment } from "./log-reading.ts";
import { MAX_READ_BYTES, type ReadableLog } from "./protocol/readable-log.ts";
import type { StreamInfo } from "./protocol/contract.ts";
import { type StreamRef, streamName } from "./ref.ts";
import { entriesOf, type LogEntry } from "./segment-log.ts";
import { streamStub } from "./stub.ts";

const ENTITY_CHARACTERS = 16;

/**
 * The log of a topic, queue or node as a stream of JSON envelopes, one a message; its positions are the offsets that
 * publishing returned. One that nothing was ever sent to is an empty stream.
 */
export function openLog(namespace: DurableObjectNamespace, ref: StreamRef, maxBytes: number = MAX_READ_BYTES): ReadableLog {
  const name = streamName(ref);
  return {
    async head() {
      const { nextOffset } = await streamStub(namespace, name).describe(name);
      return { ok: true, info: infoOf(nextOffset, "") };
    },
    async read(from, waitMs) {
      const read = await streamStub(namespace, name).readLog(name, { from, maxBytes, waitMs });
      if (!read.ok) return read;
      const envelopes = read.segments.flatMap((segment) => envelopesOf(segment, read.from, ref));
      const bytes = encoded(envelopes);
      // a message whose bytes were expunged keeps its place, so the content itself has to tell one answer from another
      const entity = (await sha256Hex(bytes)).slice(0, ENTITY_CHARACTERS);
      const stretch = { from: read.from, next: read.from + envelopes.length, bytes };
      return { ok: true, info: infoOf(Math.max(read.tail, stretch.next), entity), stretch };
    },
  };
}

/** Between brackets, for which whoever shows them finds room there. */
function encoded(envelopes: readonly string[]): Uint8Array {
  return envelopes.length === 0 ? new Uint8Array() : new TextEncoder().encode(`[${envelopes.join(",")}]`).subarray(1, -1);
}

function infoOf(tail: number, entity: string): StreamInfo {
  return { incarnation: entity, contentType: "application/json", closed: false, tail, ttlSeconds: null, expiresAt: null };
}

/** The envelopes of a segment from an offset on, as JSON. */
function envelopesOf({ firstOffset, timeMs, messages, bodies }: StoredSegment, from: number, ref: StreamRef): string[] {
  const envelopes: string[] = [];
  let start = 0;
  for (const entry of entriesOf({ first_offset: firstOffset, time: timeMs, messages })) {
    const body = bodies.subarray(start, start + entry.size);
    start += entry.size;
    if (entry.offset >= from) envelopes.push(JSON.stringify(envelopeOf(entry, body, ref)));
  }
  return envelopes;
}

function envelopeOf(entry: LogEntry, body: Uint8Array, ref: StreamRef): object {
  const { id, offset, timeMs, contentType, attributes, event, answerByMs, expunged } = entry;
  return {
    id,
    topic: shownTopic(entry, ref),
    offset,
    time: new Date(timeMs).toISOString(),
    contentType,
    attributes,
    ...(event === undefined ? {} : { event }),
    ...(answerByMs === undefined ? {} : { answerBy: new Date(answerByMs).toISOString() }),
    ...(expunged ? { expunged } : contentFields(body)),
  };
}
