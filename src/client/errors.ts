import { type FieldError, type ProblemCode as GatewayProblemCode, PROBLEMS } from "../http/problem.ts";

export type { FieldError };

/** The gateway's codes, and `other` for an error answer that is none of them: of a proxy, or of a newer gateway. */
export type ProblemCode = GatewayProblemCode | "other";

/** What a {@link PosternProblem} is made of. */
export type ProblemFields = {
  readonly code: ProblemCode;
  readonly status: number;
  /** Says how to mend it. */
  readonly detail: string;
  /** One for each broken field, when the request broke the schema. */
  readonly errors?: readonly FieldError[];
  /** The request id, which is in the gateway's logs; null when it gave none. */
  readonly instance?: string | null;
  /** From `Retry-After`; null when the answer had none. */
  readonly retryAfterSeconds?: number | null;
};

/** The gateway answered, and refused. Switch on `code`; `detail` is for people. */
export class PosternProblem extends Error {
  readonly code: ProblemCode;
  readonly status: number;
  readonly detail: string;
  readonly errors: readonly FieldError[];
  readonly instance: string | null;
  readonly retryAfterSeconds: number | null;

  constructor(fields: ProblemFields) {
    super(`${fields.code} (${fields.status}): ${fields.detail}`);
    this.name = "PosternProblem";
    this.code = fields.code;
    this.status = fields.status;
    this.detail = fields.detail;
    this.errors = fields.errors ?? [];
    this.instance = fields.instance ?? null;
    this.retryAfterSeconds = fields.retryAfterSeconds ?? null;
  }
}

/** Why no answer came: `no-token` when the function that gives the token failed, and nothing was sent. */
export type ConnectionFailure = "unreachable" | "timed-out" | "no-token";

/** No answer came: whether the gateway got the request is not known. `cause` is what was thrown. */
export class PosternConnectionError extends Error {
  readonly reason: ConnectionFailure;

  constructor(reason: ConnectionFailure, message: string, options?: ErrorOptions) {
    super(message, options);
    this.name = "PosternConnectionError";
    this.reason = reason;
  }
}

/** A problem of this side, as the gateway would have answered it. */
export function problem(code: GatewayProblemCode, detail: string, errors: readonly FieldError[] = []): PosternProblem {
  return new PosternProblem({ code, status: PROBLEMS[code].status, detail, errors });
}

/** Whether this is one of the codes that the gateway documents. */
export function isGatewayCode(code: string): code is GatewayProblemCode {
  return Object.hasOwn(PROBLEMS, code);
}
