import type { StreamApi } from "../streams/contract.ts";
import type { DeliveryRef } from "./outcome.ts";

/** Deliveries in one call to a stream: keeps a call within what an object does in a moment. */
const REFS_PER_CALL = 1_000;
/** Streams that are called at once. */
const STREAMS_AT_ONCE = 8;

/** Gives the stream object of that name. */
export type StreamLookup = (stream: string) => StreamApi;

/**
 * Opens deliveries of any number of streams again, in their order within each stream, and has the streams report
 * it, so that history shows it before this answers. Counts those opened: one whose message the stream no longer has
 * is not. Safe to repeat.
 */
export async function reopenDeliveries(
  streamOf: StreamLookup,
  deliveries: readonly (DeliveryRef & { readonly stream: string })[],
): Promise<number> {
  const byStream = Map.groupBy(deliveries, (delivery) => delivery.stream);
  const streams = [...byStream];
  let opened = 0;
  for (let next = 0; next < streams.length; next += STREAMS_AT_ONCE) {
    const counts = await Promise.all(
      streams.slice(next, next + STREAMS_AT_ONCE).map(([stream, refs]) => reopenInStream(streamOf(stream), stream, refs)),
    );
    opened += counts.reduce((sum, count) => sum + count, 0);
  }
  return opened;
}

/** Where streams begin whose oldest messages were trimmed: what is before can not be opened again. */
export async function earliestOffsets(streamOf: StreamLookup, streams: readonly string[]): Promise<Map<string, number>> {
  const earliest = new Map<string, number>();
  for (let next = 0; next < streams.length; next += STREAMS_AT_ONCE) {
    await Promise.all(
      streams.slice(next, next + STREAMS_AT_ONCE).map(async (stream) => {
        const { earliestOffset } = await streamOf(stream).describe(stream);
        if (earliestOffset > 0) earliest.set(stream, earliestOffset);
      }),
    );
  }
  return earliest;
}

async function reopenInStream(api: StreamApi, stream: string, deliveries: readonly DeliveryRef[]): Promise<number> {
  const refs = deliveries.map(({ offset, endpointId }) => ({ offset, endpointId }));
  let opened = 0;
  for (let next = 0; next < refs.length; next += REFS_PER_CALL) {
    opened += await api.reopen(stream, refs.slice(next, next + REFS_PER_CALL));
  }
  await api.flushHistory(stream);
  return opened;
}
