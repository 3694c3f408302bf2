/**
 * Every error a client can get, by stable code: the last part of the problem's `type`
 * (`https://postern.dev/problems/<code>`, RFC 9457 §3.1.1) with its status and title. README and /docs list them.
 */
export const PROBLEMS = {
  "malformed-request": { status: 400, title: "The request is malformed" },
  "malformed-json": { status: 400, title: "The body is not valid JSON" },
  "malformed-target": { status: 400, title: "The target name is malformed" },
  "invalid-cursor": { status: 400, title: "The cursor is not one of ours" },
  "webhook-url-rejected": { status: 400, title: "The URL of the webhook is refused" },
  unauthenticated: { status: 401, title: "A valid token is needed" },
  "missing-scope": { status: 403, title: "The token lacks a scope" },
  "reserved-topic": { status: 403, title: "The topic is reserved" },
  "bound-token": { status: 403, title: "The token is bound to one endpoint" },
  "tenant-suspended": { status: 403, title: "The tenant is suspended" },
  "stale-epoch": { status: 403, title: "Another instance of the producer has taken over" },
  "code-refused": { status: 403, title: "The code is not accepted" },
  "verification-failed": { status: 403, title: "The message was refused" },
  "not-found": { status: 404, title: "Not found" },
  "unknown-queue": { status: 404, title: "There is no such queue" },
  "method-not-allowed": { status: 405, title: "The method is not allowed here" },
  conflict: { status: 409, title: "Conflict with what exists" },
  "stream-closed": { status: 409, title: "The stream is closed" },
  fenced: { status: 409, title: "This wake is over" },
  "already-claimed": { status: 409, title: "Another worker is at it" },
  "nothing-pending": { status: 409, title: "There is nothing to work on" },
  "sequence-conflict": { status: 409, title: "Out of sequence" },
  "request-in-progress": { status: 409, title: "The same request is still running" },
  gone: { status: 410, title: "No longer available" },
  "payload-too-large": { status: 413, title: "The body is too large" },
  "unsupported-media-type": { status: 415, title: "The content type is not supported" },
  "invalid-request": { status: 422, title: "The request breaks the schema" },
  "limit-reached": { status: 422, title: "The tenant has as many as it may" },
  "idempotency-mismatch": { status: 422, title: "The Idempotency-Key was used for another request" },
  "rate-limited": { status: 429, title: "Too many requests" },
  internal: { status: 500, title: "Something went wrong on our side" },
  overloaded: { status: 503, title: "Too busy to accept this now" },
  unavailable: { status: 503, title: "A part we depend on is unavailable" },
  "query-timeout": { status: 504, title: "No answer came in time" },
} as const satisfies Record<string, { status: number; title: string }>;

export type ProblemCode = keyof typeof PROBLEMS;

/** One broken field: JSON Pointer into the body (`/url`), or `?name`, `header:name` for the rest of a request. */
export type FieldError = { readonly pointer: string; readonly detail: string };

export type Problem = {
  readonly code: ProblemCode;
  /** Says how to mend it; never holds a secret, a stack or an internal name. */
  readonly detail: string;
  readonly errors?: readonly FieldError[];
  /** The fault in the words of a protocol that has its own, beside ours (RFC 9457 §3.2). */
  readonly error?: Readonly<Record<string, string | number>> & { readonly code: string };
  /** Response headers that belong to it: `Allow`, `Retry-After`, `WWW-Authenticate`. */
  readonly headers?: Readonly<Record<string, string>>;
};

/** Thrown by request parsing and middleware only; `app.onError` turns it into the response. */
export class ProblemError extends Error {
  readonly problem: Problem;
  constructor(problem: Problem) {
    super(problem.detail);
    this.name = "ProblemError";
    this.problem = problem;
  }
}

/** `instance` is the request id, which is in our logs too. */
export function problemResponse(problem: Problem, requestId: string): Response {
  const { status, title } = PROBLEMS[problem.code];
  const body = {
    type: `https://postern.dev/problems/${problem.code}`,
    title,
    status,
    detail: problem.detail,
    instance: requestId,
    ...(problem.errors === undefined ? {} : { errors: problem.errors }),
    ...(problem.error === undefined ? {} : { error: problem.error }),
  };
  return new Response(JSON.stringify(body), {
    status,
    headers: { ...problem.headers, "content-type": "application/problem+json" },
  });
}
