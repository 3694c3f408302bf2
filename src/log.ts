export type LogLevel = "info" | "warn" | "error";

/** What a line says besides its message; a field that names a secret is masked whatever it holds. */
export type LogFields = Readonly<Record<string, unknown>>;

const SECRET_FIELD = /secret|token$|password|authorization|cookie|credential|signature|encryptionkey/i;
/** API tokens, webhook secrets and bearer credentials, wherever they stand in a text. */
const SECRET_TEXT = /\b(pst_|whsec_|whsk_)[A-Za-z0-9_+/=-]+|\b(Bearer +)[^\s"']+/gi;
const MASK = "***";
const MAX_DEPTH = 6;

/**
 * Writes one structured line: `time`, `level`, `message` and the fields, as JSON. Never pass bodies, headers or
 * query strings; what looks like a secret is masked even so.
 */
export function log(level: LogLevel, message: string, fields: LogFields = {}): void {
  // one JSON string, so that the log pipeline parses every line alike
  console[level](logLine(level, message, fields, Date.now()));
}

/** The line {@link log} writes. */
export function logLine(level: LogLevel, message: string, fields: LogFields, nowMs: number): string {
  const line = { time: new Date(nowMs).toISOString(), level, message: redactText(message), ...redactFields(fields, 0) };
  return JSON.stringify(line);
}

/** Name, message and stack of whatever was thrown, for the field `error`. */
export function describeError(thrown: unknown): LogFields {
  if (!(thrown instanceof Error)) return { name: "unknown", message: String(thrown) };
  const { name, message, stack, cause } = thrown;
  return { name, message, stack, ...(cause === undefined ? {} : { cause: String(cause) }) };
}

function redactFields(fields: object, depth: number): LogFields {
  return Object.fromEntries(
    Object.entries(fields).map(([name, value]) => [name, SECRET_FIELD.test(name) ? MASK : redact(value, depth)]),
  );
}

function redact(value: unknown, depth: number): unknown {
  if (typeof value === "string") return redactText(value);
  if (typeof value === "bigint") return String(value);
  if (value instanceof Error) return redactFields(describeError(value), depth + 1);
  if (typeof value !== "object" || value === null) return value;
  if (depth >= MAX_DEPTH || ArrayBuffer.isView(value)) return "…";
  return Array.isArray(value) ? value.map((item) => redact(item, depth + 1)) : redactFields(value, depth + 1);
}

function redactText(text: string): string {
  return text.replace(SECRET_TEXT, (_match, prefix: string | undefined, bearer: string | undefined) => `${prefix ?? bearer ?? ""}${MASK}`);
}
