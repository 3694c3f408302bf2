/** How much of a response is read before it is cancelled, and how much of that history keeps. */
export const MAX_READ_BYTES = 16 * 1024;
const MAX_KEPT_BYTES = 4 * 1024;
/** A body that drips is cut after this long; the status line has been decided by then. */
const BODY_DEADLINE_MS = 5_000;

/**
 * Reads at most `maxBytes` of a response body within 5 s, then cancels it. A body that breaks off, does not decompress
 * or never ends yields what had come: the status has already spoken.
 */
export async function readBounded(body: ReadableStream<Uint8Array> | null, maxBytes: number): Promise<Uint8Array> {
  if (body === null) return new Uint8Array();
  const reader = body.getReader();
  const chunks: Uint8Array[] = [];
  let length = 0;
  const timer = setTimeout(() => void reader.cancel("deadline").catch(ignoreBrokenStream), BODY_DEADLINE_MS);
  try {
    while (length < maxBytes) {
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
  if (length >= maxBytes) await reader.cancel("enough").catch(ignoreBrokenStream);
  return joined(chunks, Math.min(length, maxBytes));
}

/** The first 4 KiB as text, for history; `mask` sees more than is kept, so that nothing of a secret stays at the edge. */
export function textHead(bytes: Uint8Array, mask: (text: string) => string): string {
  if (bytes.length === 0) return "";
  const masked = mask(new TextDecoder().decode(bytes.subarray(0, MAX_READ_BYTES)));
  return new TextDecoder().decode(new TextEncoder().encode(masked).subarray(0, MAX_KEPT_BYTES));
}

function joined(chunks: readonly Uint8Array[], length: number): Uint8Array {
  const [only] = chunks;
  if (chunks.length === 1 && only !== undefined) return only.subarray(0, length);
  const bytes = new Uint8Array(length);
  let at = 0;
  for (const chunk of chunks) {
    const part = chunk.subarray(0, length - at);
    bytes.set(part, at);
    at += part.length;
  }
  return bytes;
}

/** The body only illustrates the attempt in history; how it ended is not part of the outcome. */
function ignoreBrokenStream(_error: unknown): void {
  return;
}
