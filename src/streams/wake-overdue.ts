import { findOverdueStreams } from "../storage/overdue-streams.ts";
import { streamStub } from "./stub.ts";

/** Longer than a stream takes to find what is overdue by itself. */
const OVERDUE_MS = 2 * 60_000;
const STREAMS_PER_RUN = 50;

/**
 * Wakes the streams that have something overdue: their alarm may be lost, and nobody may call them for long. How many
 * that were.
 */
export async function wakeOverdueStreams(env: Pick<Cloudflare.Env, "DB" | "STREAMS">, nowMs: number): Promise<number> {
  const streams = await findOverdueStreams(env.DB, nowMs - OVERDUE_MS, STREAMS_PER_RUN);
  for (const stream of streams) await streamStub(env.STREAMS, stream).wake(stream);
  return streams.length;
}
