/** An error as SNS answers it (SNS API Reference, "Common Errors" and each action's own). */
export class SnsError extends Error {
  readonly code: string;
  readonly status: number;

  constructor(code: string, status: number, message: string) {
    super(message);
    this.name = "SnsError";
    this.code = code;
    this.status = status;
  }
}

export function invalidParameter(detail: string): SnsError {
  return new SnsError("InvalidParameter", 400, `Invalid parameter: ${detail}`);
}

export function notFound(what: "Topic" | "Subscription"): SnsError {
  return new SnsError("NotFound", 404, `${what} does not exist`);
}
