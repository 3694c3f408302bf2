import { createMiddleware } from "hono/factory";
import { checkJson } from "../../messages/json-members.ts";
import { readBody } from "../read-body.ts";
import { type AppEnv, fail } from "../router.ts";

export const MAX_JSON_BYTES = 256 * 1024;

/** Paths whose body is the message, of any type, or that read large JSON themselves. */
const OWN_BODY = /^\/v1\/(?:(?:events|commands|queries|direct|batch|stream(?!\/__ds\/))(?:\/|$)|messages\/[^/]+\/reply$)/;
const JSON_TYPE = /^application\/(?:[\w.+-]+\+)?json$/i;

/**
 * The body of a control-plane request: JSON, at most {@link MAX_JSON_BYTES}, well-formed; 413, 415 or 400
 * otherwise, before any route sees it. An empty body counts as `{}`, so that its schema names what is missing.
 */
export const jsonBody = createMiddleware<AppEnv>(async (c, next) => {
  if (!["POST", "PUT", "PATCH", "DELETE"].includes(c.req.method) || OWN_BODY.test(c.req.path)) return next();
  const bytes = await readBody(c.req.raw, MAX_JSON_BYTES);
  if (bytes === null) {
    return fail({ code: "payload-too-large", detail: `Send a JSON body of at most ${MAX_JSON_BYTES} bytes.` });
  }
  const type = (c.req.header("content-type") ?? "").split(";", 1)[0]?.trim() ?? "";
  if (bytes.length > 0 && !JSON_TYPE.test(type)) {
    return fail({ code: "unsupported-media-type", detail: "Send the body as JSON with `content-type: application/json`." });
  }
  const body = bytes.length === 0 ? "{}" : decode(bytes);
  requireWellFormed(body);
  const headers = new Headers(c.req.raw.headers);
  headers.set("content-type", "application/json");
  c.req.raw = new Request(c.req.raw, { body, headers });
  return next();
});

function decode(bytes: Uint8Array): string {
  try {
    return new TextDecoder("utf-8", { fatal: true, ignoreBOM: false }).decode(bytes);
  } catch (error) {
    if (error instanceof TypeError) return fail({ code: "malformed-json", detail: "The body is not valid UTF-8." });
    throw error;
  }
}

/** Also bounds the depth, so that nothing that walks the value later can run out of stack. */
function requireWellFormed(text: string): void {
  const checked = checkJson(text);
  if (checked.ok) return;
  const before = text.slice(0, checked.position).split("\n");
  const column = (before.at(-1)?.length ?? 0) + 1;
  fail({ code: "malformed-json", detail: `Line ${before.length}, column ${column}: ${checked.detail}.` });
}
