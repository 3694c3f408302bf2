import { z } from "@hono/zod-openapi";
import { Time } from "./schemas.ts";

export const MAX_MESSAGES = 10;
export const MAX_WAIT_SECONDS = 20;
export const MAX_HIDDEN_SECONDS = 43_200;
const DEFAULT_VISIBILITY_SECONDS = 30;
const MAX_RECEIPTS = 100;
const MAX_QUEUES = 20;

/** A whole number in a query. */
function wholeNumber(range: { readonly min: number; readonly max: number; readonly default: number }, description: string) {
  const error = `Must be a whole number from ${range.min} to ${range.max}.`;
  return z
    .string()
    .regex(/^[0-9]{1,6}$/, { error })
    .transform(Number)
    .refine((value) => value >= range.min && value <= range.max, { error })
    .default(range.default)
    .openapi({ type: "integer", minimum: range.min, maximum: range.max, default: range.default, description });
}

/** The query of every call that receives. */
export const ReceiveQuery = z.object({
  max: wholeNumber({ min: 1, max: MAX_MESSAGES, default: MAX_MESSAGES }, "How many messages at most"),
  wait: wholeNumber(
    { min: 0, max: MAX_WAIT_SECONDS, default: 0 },
    "Seconds to wait for a message when there is none; 0 answers at once",
  ),
  visibility: wholeNumber(
    { min: 0, max: MAX_HIDDEN_SECONDS, default: DEFAULT_VISIBILITY_SECONDS },
    "Seconds until a message that was not acknowledged is there again",
  ),
});

const QUEUES_ERROR = `Name 1 to ${MAX_QUEUES} queues, each as \`queue=<name>\`.`;

export const SeveralQueuesQuery = ReceiveQuery.extend({
  queue: z
    .union([z.string(), z.array(z.string())], { error: QUEUES_ERROR })
    .transform((names) => [...new Set([names].flat())])
    .refine((names) => names.length <= MAX_QUEUES, { error: QUEUES_ERROR })
    .openapi({
      type: "array",
      items: { type: "string" },
      minItems: 1,
      maxItems: MAX_QUEUES,
      description: "The queues to read; repeat it for each",
      example: ["billing", "shipping"],
    }),
});

export const PulledMessage = z
  .object({
    id: z.string().openapi({ description: "The same however often it is received" }),
    topic: z.string().openapi({ description: "The topic; `queue/method` of a command or query; the node of a direct message" }),
    offset: z.number().int().openapi({ description: "Its place in its stream" }),
    time: Time,
    receiveCount: z.number().int().openapi({ description: "How often it was received, this time included" }),
    contentType: z.string(),
    attributes: z.record(z.string(), z.string()),
    event: z.record(z.string(), z.string()).optional().openapi({ description: "Its CloudEvents context, where it has one" }),
    answerBy: Time.optional().openapi({ description: "Of a query: until when its caller waits for the reply" }),
    queue: z.string().optional().openapi({ description: "Where several queues were read: the one it came from" }),
    data: z.string().optional().openapi({
      description: "The body as text, exactly as it was published: JSON stays text, and is not parsed on the way",
      example: '{"order":17}',
    }),
    dataBase64: z.string().optional().openapi({ description: "The body where it is not UTF-8, in place of `data`" }),
    receipt: z.string().openapi({ description: "Opaque; stands for this receive of it, for ack, nack and extend" }),
  })
  .openapi("PulledMessage");

export const PulledMessages = z.object({ messages: z.array(PulledMessage) }).openapi("PulledMessages");

const RECEIPTS_ERROR = `Must list 1 to ${MAX_RECEIPTS} receipts.`;
const receipts = z
  .array(z.string({ error: "Must be a receipt, as a text." }), { error: RECEIPTS_ERROR })
  .min(1, { error: RECEIPTS_ERROR })
  .max(MAX_RECEIPTS, { error: RECEIPTS_ERROR });

const HIDDEN_ERROR = `Must be a whole number of seconds from 0 to ${MAX_HIDDEN_SECONDS}.`;
const hiddenSeconds = z
  .int({ error: HIDDEN_ERROR })
  .min(0, { error: HIDDEN_ERROR })
  .max(MAX_HIDDEN_SECONDS, { error: HIDDEN_ERROR });

export const AckBody = z.strictObject({ receipts }).openapi("Ack");
export const NackBody = z
  .strictObject({ receipts, delaySeconds: hiddenSeconds.default(0).openapi({ description: "When it is to be there again" }) })
  .openapi("Nack");
export const ExtendBody = z
  .strictObject({ receipts, visibility: hiddenSeconds.openapi({ description: "Seconds from now that it stays hidden" }) })
  .openapi("Extend");

/** Why nothing was done for a receipt. */
export const ReceiptErrorCode = z.enum(["malformed", "forged", "foreign", "repeated", "stale", "failed"]);
export type ReceiptErrorCode = z.infer<typeof ReceiptErrorCode>;

export const ReceiptResults = z
  .object({
    results: z.array(
      z.object({
        receipt: z.string(),
        ok: z.boolean(),
        error: ReceiptErrorCode.optional().openapi({
          description:
            "`malformed`: no receipt; `forged`: not one of ours; `foreign`: of another endpoint or queue; `repeated`: " +
            "twice in this call; `stale`: acknowledged already, or visible again since; `failed`: try it again",
        }),
      }),
    ),
  })
  .openapi("ReceiptResults");
export type ReceiptResult = z.infer<typeof ReceiptResults>["results"][number];
