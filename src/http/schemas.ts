import { z } from "@hono/zod-openapi";
import { PROBLEMS, type ProblemCode } from "./problem.ts";

/** A time in a response: RFC 3339 in UTC, made with {@link toTime}. */
export const Time = z.iso.datetime().openapi({ description: "RFC 3339, UTC", example: "2026-11-17T09:30:00.000Z" });

/** A time in a request: RFC 3339 with `Z` or an offset; parsed to ms since the epoch. */
export const TimeInput = z.iso
  .datetime({ offset: true, error: "Must be an RFC 3339 time such as 2026-11-17T09:30:00Z." })
  .transform((text) => Date.parse(text))
  .openapi({ type: "string", format: "date-time", description: "RFC 3339", example: "2026-11-17T09:30:00Z" });

/** Milliseconds since the epoch as a {@link Time}. */
export function toTime(timeMs: number): string {
  return new Date(timeMs).toISOString();
}

const MAX_PAGE = 250;
const DEFAULT_PAGE = 50;

/** The query of every list: extend it with the list's own filters. */
export const Page = z.object({
  limit: z
    .string()
    .regex(/^[0-9]{1,6}$/, { error: `Must be a whole number from 1 to ${MAX_PAGE}.` })
    .transform(Number)
    .refine((limit) => limit >= 1 && limit <= MAX_PAGE, { error: `Must be a whole number from 1 to ${MAX_PAGE}.` })
    .default(DEFAULT_PAGE)
    .openapi({ type: "integer", minimum: 1, maximum: MAX_PAGE, default: DEFAULT_PAGE, description: "How many to return at most" }),
  // whatever is none of ours, of any length, is 400
  cursor: z.string().optional().openapi({ description: "The `next` of the page before" }),
});

/**
 * A path id. Its form is not checked: what is not one of ours answers 404, exactly as one of another tenant does.
 */
export const IdParam = z.object({
  id: z.string().min(1).openapi({ param: { name: "id", in: "path" } }),
});

/** `{data: [...], next}` of a list of `item`. */
export function pageOf<Item extends z.ZodType>(item: Item) {
  return z.object({
    data: z.array(item),
    next: z.string().nullable().openapi({ description: "Pass it as `cursor` for the next page; null on the last" }),
  });
}

/** RFC 9457, as `problemResponse` writes it. */
export const ProblemSchema = z
  .object({
    type: z.url().openapi({ example: "https://postern.dev/problems/invalid-request" }),
    title: z.string(),
    status: z.number().int(),
    detail: z.string().openapi({ description: "How to mend it" }),
    instance: z.string().openapi({ description: "The request id, for the logs" }),
    errors: z
      .array(z.object({ pointer: z.string().openapi({ description: "JSON Pointer into the body, `?name`, `header:name` or `path:name`" }), detail: z.string() }))
      .optional(),
  })
  .openapi("Problem");

type ProblemStatus = (typeof PROBLEMS)[ProblemCode]["status"];
type ProblemDocument = {
  description: string;
  content: { "application/problem+json": { schema: typeof ProblemSchema } };
};

/** The `responses` of a route for the problems it can answer with; the ones every route has come by themselves. */
export function problemResponses(...codes: readonly ProblemCode[]): Partial<Record<ProblemStatus, ProblemDocument>> {
  const responses: Partial<Record<ProblemStatus, ProblemDocument>> = {};
  for (const code of codes) {
    const { status, title } = PROBLEMS[code];
    const known = responses[status];
    const description = `\`${code}\`: ${title}`;
    responses[status] = {
      description: known === undefined ? description : `${known.description}; ${description}`,
      content: { "application/problem+json": { schema: ProblemSchema } },
    };
  }
  return responses;
}

/** A JSON response of a route, for its `responses`. */
export function jsonResponse<Schema extends z.ZodType>(schema: Schema, description: string) {
  return { description, content: { "application/json": { schema } } };
}

/** A required JSON request body, for a route's `request.body`; make `schema` a `z.strictObject`. */
export function jsonBody<Schema extends z.ZodType>(schema: Schema) {
  return { required: true, content: { "application/json": { schema } } } as const;
}
