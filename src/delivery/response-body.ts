/** How much of a response is read before it is cancelled, and how much of that is kept. */
const MAX_READ_BYTES = 16 * 1024;
const MAX_KEPT_BYTES = 4 * 1024;
/** A body that drips is cut after this long; the status line has been decided by then. */
const BODY_DEADLINE_MS = 5_000;

/**
 * Reads at most 16 KiB of a response body within 5 s, then cancels it, and returns the first 4 KiB as text. A body
 * that breaks off, does not decompress or never ends yields what had come: the status has already spoken.
 */
export async function readBounded(body: ReadableStream<Uint8Array> | null): Promise<string> {
  if (body === null) return "";
  const reader = body.getReader();
  const chunks: Uint8Array[] = [];
  let length = 0;
  const timer = setTimeout(() => void reader.cancel("deadline").catch(ignoreBrokenStream), BODY_DEADLINE_MS);
  try {
    while (length < MAX_READ_BYTES) {
      const { done, value } = await reader.read();
      if (done) break;
      chunks.push(value);
      length += value.length;
    }
  } catch (error) {
    ignoreBrokenStream(error);
  } finally {
    clearTimeout(timer);
  }
  if (length >= MAX_READ_BYTES) await reader.cancel("enough").catch(ignoreBrokenStream);
  return decodeHead(chunks);
}

function decodeHead(chunks: readonly Uint8Array[]): string {
  const kept = new Uint8Array(MAX_KEPT_BYTES);
  let length = 0;
  for (const chunk of chunks) {
    const part = chunk.subarray(0, MAX_KEPT_BYTES - length);
    kept.set(part, length);
    length += part.length;
  }
  return new TextDecoder().decode(kept.subarray(0, length));
}

/** The body only illustrates the attempt in history; how it ended is not part of the outcome. */
function ignoreBrokenStream(_error: unknown): void {
  return;
}
