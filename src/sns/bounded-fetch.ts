/** `fetch`, or what stands in for it. */
export type Fetch = (url: string, init: RequestInit) => Promise<Response>;

export type Fetched =
  | { readonly ok: true; readonly status: number; readonly body: Uint8Array }
  | { readonly ok: false; readonly reason: "timed-out" | "connection-failed" | "too-large" };

type Bounds = { readonly maxBytes: number; readonly deadlineMs: number };

/** GETs a URL without following redirects; head and body come within the deadline and the byte cap, or not at all. */
export async function boundedFetch(fetch: Fetch, url: string, bounds: Bounds): Promise<Fetched> {
  const abort = new AbortController();
  // not AbortSignal.timeout(): that keeps its timer until it fires, answered or not
  const timer = setTimeout(() => abort.abort(), bounds.deadlineMs);
  try {
    const response = await fetch(url, { redirect: "manual", signal: abort.signal });
    const body = await readAtMost(response.body, bounds.maxBytes);
    return body === null ? { ok: false, reason: "too-large" } : { ok: true, status: response.status, body };
  } catch {
    // fetch has no other way to fail: no name, no route, no TLS, reset, or our own abort
    return { ok: false, reason: abort.signal.aborted ? "timed-out" : "connection-failed" };
  } finally {
    clearTimeout(timer);
  }
}

/** The whole body; null, with the rest of it cancelled, once it is longer than `maxBytes`. Throws when it breaks off. */
export async function readAtMost(body: ReadableStream<Uint8Array> | null, maxBytes: number): Promise<Uint8Array | null> {
  if (body === null) return new Uint8Array();
  const reader = body.getReader();
  const chunks: Uint8Array[] = [];
  let length = 0;
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return concatenate(chunks, length);
    length += value.length;
    if (length > maxBytes) {
      await reader.cancel("longer than allowed");
      return null;
    }
    chunks.push(value);
  }
}

function concatenate(chunks: readonly Uint8Array[], length: number): Uint8Array {
  const whole = new Uint8Array(length);
  let position = 0;
  for (const chunk of chunks) {
    whole.set(chunk, position);
    position += chunk.length;
  }
  return whole;
}
