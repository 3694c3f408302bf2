import { z } from "@hono/zod-openapi";
import { Time } from "./schemas.ts";

// The words of the protocol (§6 and §7), which writes them with underscores.

const MIN_LEASE_MS = 1_000;
const MAX_LEASE_MS = 600_000;
const DEFAULT_LEASE_MS = 30_000;
const LEASE_ERROR = `Must be a whole number of milliseconds from ${MIN_LEASE_MS} to ${MAX_LEASE_MS}.`;
const MAX_STREAMS = 1_000;
const MAX_WORKER_CHARACTERS = 256;

const StreamPathText = z.string().openapi({ description: "The path of a stream of your own, as after `/v1/stream/`", example: "events/manual-a" });
const StreamList = z.array(StreamPathText).max(MAX_STREAMS, { error: `May list at most ${MAX_STREAMS} streams at once.` });
const Offset = z.string().openapi({ example: "0000000000000000_0000000000000042" });

export const SubscriptionParam = z.object({
  id: z.string().openapi({ param: { name: "id", in: "path" }, description: "Your own choice", example: "event-processor" }),
});

export const PutSubscription = z
  .strictObject({
    type: z.enum(["webhook", "pull-wake"], { error: "Must be `webhook` (with a webhook) or `pull-wake` (with a wake_stream)." }),
    pattern: z
      .string()
      .nullable()
      .optional()
      .openapi({ description: "Paths of streams: `*` is any one segment, `**` any number of them", example: "events/*" }),
    streams: StreamList.optional().openapi({ description: "Streams beside those of the pattern; they need not exist yet" }),
    webhook: z
      .strictObject({ url: z.string().openapi({ description: "Public and https; checked again at every wake", example: "https://example.com/wake" }) })
      .nullable()
      .optional(),
    wake_stream: z.string().nullable().optional().openapi({ description: "The JSON stream that wakes are written to", example: "wake/pool" }),
    lease_ttl_ms: z
      .int({ error: LEASE_ERROR })
      .min(MIN_LEASE_MS, { error: LEASE_ERROR })
      .max(MAX_LEASE_MS, { error: LEASE_ERROR })
      .default(DEFAULT_LEASE_MS)
      .openapi({ description: "How long a wake is its worker's without a sign of life" }),
    description: z.string().max(1024, { error: "May have at most 1024 characters." }).nullable().optional(),
  })
  .refine(({ pattern, streams }) => (pattern ?? null) !== null || (streams ?? []).length > 0, {
    path: ["pattern"], error: "Give a pattern, streams, or both.",
  })
  .refine(({ type, webhook }) => (type === "webhook") === ((webhook ?? null) !== null), {
    path: ["webhook"], error: "Belongs to the type `webhook`, and only to that.",
  })
  .refine(({ type, wake_stream }) => (type === "pull-wake") === ((wake_stream ?? null) !== null), {
    path: ["wake_stream"], error: "Belongs to the type `pull-wake`, and only to that.",
  })
  .openapi("PutStreamSubscription");

export const StreamPaths = z.strictObject({ streams: StreamList.min(1, { error: "Name at least one stream." }) }).openapi("StreamPaths");

export const Claim = z
  .strictObject({
    worker: z
      .string()
      .min(1, { error: "Say who claims: others are told." })
      .max(MAX_WORKER_CHARACTERS, { error: `May have at most ${MAX_WORKER_CHARACTERS} characters.` })
      .openapi({ example: "worker-1" }),
  })
  .openapi("WakeClaim");

const wakeFields = {
  wake_id: z.string().openapi({ example: "w_abc123" }),
  generation: z.int({ error: "Must be the whole number that came with the wake." }),
};

export const WakeAck = z
  .strictObject({
    ...wakeFields,
    acks: z
      .array(z.strictObject({ stream: StreamPathText, offset: Offset }))
      .max(MAX_STREAMS, { error: `May name at most ${MAX_STREAMS} streams.` })
      .default([])
      .openapi({ description: "Up to where streams were worked off" }),
    done: z.boolean().default(false).openapi({ description: "The wake is over; without it the lease begins anew" }),
  })
  .openapi("WakeAck");

export const WakeRelease = z.strictObject(wakeFields).openapi("WakeRelease");

export const LinkedStream = z
  .object({
    path: z.string(),
    link_type: z.enum(["glob", "explicit"]),
    acked_offset: Offset.openapi({ description: "Everything before it was worked off" }),
    tail_offset: Offset,
    has_pending: z.boolean(),
  })
  .openapi("LinkedStream");

export const SubscriptionBody = z
  .object({
    id: z.string(),
    subscription_id: z.string(),
    type: z.enum(["webhook", "pull-wake"]),
    pattern: z.string().nullable(),
    streams: z.array(LinkedStream).openapi({ description: "At most 1,000, those with pending work first" }),
    stream_count: z.number().int().openapi({ description: "How many there are" }),
    webhook: z
      .object({
        url: z.string(),
        signing: z.object({ alg: z.literal("ed25519"), kid: z.string(), jwks_url: z.string() }),
      })
      .nullable(),
    wake_stream: z.string().nullable(),
    lease_ttl_ms: z.number().int(),
    created_at: Time,
    status: z.enum(["active", "failed"]).openapi({ description: "`failed` while another attempt to wake is due" }),
    last_error: z.string().nullable().openapi({ description: "Why the last one failed, while it is `failed`" }),
    next_attempt_at: Time.nullable(),
    description: z.string().nullable(),
  })
  .openapi("StreamSubscription");

export const Claimed = z
  .object({
    ...wakeFields,
    token: z.string().openapi({ description: "For `ack` and `release` of this wake alone" }),
    streams: z.array(LinkedStream),
    lease_ttl_ms: z.number().int(),
  })
  .openapi("ClaimedWake");

export const Acked = z
  .object({ ok: z.literal(true), next_wake: z.boolean().openapi({ description: "Whether there is pending work, and so another wake" }) })
  .openapi("AckedWake");
