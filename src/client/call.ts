import { jitteredMs, sleep } from "./backoff.ts";
import { PosternConnectionError, type PosternProblem } from "./errors.ts";
import { readProblem } from "./wire.ts";

/** `fetch`, or what stands in for it: a service binding's, an agent's, a test's. */
export type Fetch = (url: string, init: RequestInit) => Promise<Response>;

export type Connection = {
  /** Without a slash at its end. */
  readonly baseUrl: string;
  readonly token: string | (() => string | Promise<string>);
  readonly tenant: string | undefined;
  readonly fetch: Fetch;
  /** Attempts after the first. */
  readonly maxRetries: number;
};

export type Call = {
  readonly method: "GET" | "POST";
  /** Encoded, from the slash on. */
  readonly path: string;
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: string | Uint8Array<ArrayBuffer>;
  /** For one attempt. */
  readonly timeoutSeconds: number;
  /** Whether asking twice does no more than asking once: only then is it asked again. */
  readonly repeatable: boolean;
  readonly signal?: AbortSignal | undefined;
};

/** A 2xx answer, read to its end. */
export type Answered = { readonly status: number; readonly contentType: string; readonly bytes: Uint8Array };

const RETRY_LIMITS = { baseMs: 200, capMs: 10_000 };
/** A gateway that asks for a longer wait than this is not waited for. */
const MAX_RETRY_AFTER_SECONDS = 60;
/** What a header may carry; anything else would be shown, token and all, in the error that `fetch` throws. */
const VISIBLE_ASCII = /^[\x21-\x7e]+$/;

/**
 * Asks, and asks again where that is safe: when no answer came, on 429 and 503 (honouring `Retry-After`), and while
 * the first of two requests with one `Idempotency-Key` still runs.
 */
export async function call(connection: Connection, request: Call): Promise<Answered> {
  for (let failures = 1; ; failures++) {
    const outcome = await attempt(connection, request);
    if (!(outcome instanceof Error)) return outcome;
    const waitMs = request.repeatable && failures <= connection.maxRetries ? retryWaitMs(outcome, failures) : null;
    if (waitMs === null) throw outcome;
    await sleep(waitMs, request.signal);
    request.signal?.throwIfAborted();
  }
}

function retryWaitMs(error: PosternProblem | PosternConnectionError, failures: number): number | null {
  const jitterMs = jitteredMs(failures, RETRY_LIMITS, Math.random());
  if (error instanceof PosternConnectionError) return jitterMs;
  if (error.status !== 429 && error.status !== 503 && error.code !== "request-in-progress") return null;
  const askedSeconds = error.retryAfterSeconds ?? 0;
  // Those who were told the same time should not all come back at it.
  return askedSeconds > MAX_RETRY_AFTER_SECONDS ? null : askedSeconds * 1000 + jitterMs;
}

async function attempt(connection: Connection, request: Call): Promise<Answered | PosternProblem | PosternConnectionError> {
  const { signal } = request;
  signal?.throwIfAborted();
  const token = await tokenOf(connection);
  if (token instanceof Error) return token;
  const headers = headersOf(connection, request, token);
  const deadline = new AbortController();
  const abort = (): void => deadline.abort();
  signal?.addEventListener("abort", abort);
  const timer = setTimeout(abort, request.timeoutSeconds * 1000);
  try {
    const { method, path, body = null } = request;
    // "manual": a token must not follow a redirect to another host, and Workers know no "error".
    const init: RequestInit = { method, headers, body, redirect: "manual", signal: deadline.signal };
    const response = await connection.fetch(connection.baseUrl + path, init);
    const bytes = new Uint8Array(await response.arrayBuffer());
    const contentType = response.headers.get("content-type") ?? "application/octet-stream";
    if (response.ok) return { status: response.status, contentType, bytes };
    return readProblem(response.status, response.headers, bytes);
  } catch (error) {
    signal?.throwIfAborted();
    if (!deadline.signal.aborted) return new PosternConnectionError("unreachable", "the gateway could not be reached", { cause: error });
    return new PosternConnectionError("timed-out", `the gateway did not answer within ${request.timeoutSeconds} s`);
  } finally {
    clearTimeout(timer);
    signal?.removeEventListener("abort", abort);
  }
}

/** A token that could not be had may be there next time: it fails as an unreachable gateway does. */
async function tokenOf({ token }: Connection): Promise<string | PosternConnectionError> {
  if (typeof token === "string") return token;
  try {
    return await token();
  } catch (error) {
    return new PosternConnectionError("no-token", "the function that gives the token failed", { cause: error });
  }
}

function headersOf({ tenant }: Connection, request: Call, token: string): Headers {
  if (!VISIBLE_ASCII.test(token)) throw new TypeError("the token is empty or holds characters that no header can carry");
  const headers = new Headers(request.headers);
  headers.set("authorization", `Bearer ${token}`);
  if (tenant !== undefined) headers.set("postern-tenant", tenant);
  return headers;
}
