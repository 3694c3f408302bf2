import { z } from "@hono/zod-openapi";
import { DEFAULT_TOLERANCE_SECONDS, MAX_TOLERANCE_SECONDS, schemeFaults, WEBHOOK_KINDS } from "../inbound/scheme.ts";
import { MAX_SECRET_CHARACTERS } from "../inbound/secret.ts";
import { DEFAULT_OVERLAP_SECONDS, MAX_OVERLAP_SECONDS } from "../registry/endpoint-secret.ts";
import { parseTopicArn } from "../sns/arn.ts";
import { Time } from "./schemas.ts";

const MAX_TOPIC_ARNS = 100;
const MAX_TEXT_CHARACTERS = 256;

const TopicArn = z
  .string()
  .refine((text) => parseTopicArn(text) !== null, { error: "Must be the ARN of an SNS topic: arn:aws:sns:<region>:<account>:<name>." })
  .openapi({ example: "arn:aws:sns:eu-central-1:123456789012:orders" });

const Name = z.string().trim().min(1).max(128).nullable();
const Topic = z.string().openapi({ description: "The topic its messages become events of", example: "orders.completed" });

const snsFields = {
  topicArns: z
    .array(TopicArn)
    .min(1)
    .max(MAX_TOPIC_ARNS)
    .refine((arns) => new Set(arns).size === arns.length, { error: "Must not name a topic twice." })
    .openapi({ description: "The SNS topics that may push here, exactly" }),
  topic: Topic.nullable().openapi({ description: "The topic its messages become events of; null: the SNS topic's own name" }),
  minVersion: z
    .union([z.literal(1), z.literal(2)])
    .openapi({ description: "The lowest SNS signature version that is accepted" }),
};

const Header = z.string().max(128).toLowerCase().openapi({ example: "x-signature" });
const DeduplicateBy = z.enum(["delivery", "content"], { error: "Must be `delivery` or `content`." }).openapi({
  description:
    "What makes two deliveries within 24 h the same: the id the sender gives them (without one, what was signed), or the bytes of the body. " +
    "Senders that sign no id (GitHub, Shopify) can be told apart from a replay with another id by `content` only",
});

const hmacFields = {
  signatureHeader: Header,
  algorithm: z.enum(["sha1", "sha256", "sha512"], { error: "Must be `sha1`, `sha256` or `sha512`." }).default("sha256"),
  encoding: z.enum(["hex", "base64"], { error: "Must be `hex` or `base64`." }).default("hex"),
  prefix: z.string().max(MAX_TEXT_CHARACTERS).default("").openapi({ description: "What stands before the signature", example: "sha256=" }),
  content: z
    .string()
    .max(MAX_TEXT_CHARACTERS)
    .default("{body}")
    .openapi({ description: "What is signed: `{body}` with any text around it, `{timestamp}` and `{id}` in it", example: "{timestamp}.{body}" }),
  timestampHeader: Header.nullable().default(null).openapi({ description: "Seconds since 1970; has to be signed too" }),
  toleranceSeconds: z.int().min(1).max(MAX_TOLERANCE_SECONDS).default(DEFAULT_TOLERANCE_SECONDS),
  idHeader: Header.nullable().default(null).openapi({ description: "Names a delivery, the same again when it is repeated" }),
  eventHeader: Header.nullable().default(null).openapi({ description: "Becomes the attribute `event`" }),
  secretEncoding: z
    .enum(["utf8", "hex", "base64"], { error: "Must be `utf8`, `hex` or `base64`." })
    .default("utf8")
    .openapi({ description: "What the secret's text stands for: its own bytes, or those it spells" }),
};

/** How a sender that is not known by name signs. */
const Hmac = z
  .strictObject(hmacFields)
  .superRefine((scheme, context) => {
    for (const { field, detail } of schemeFaults(scheme)) context.addIssue({ code: "custom", path: [field], message: `It ${detail}.` });
  })
  .openapi("HmacScheme");

const Secret = z
  .string()
  .min(1)
  .max(MAX_SECRET_CHARACTERS)
  .openapi({ description: "What the sender signs with; never shown again", example: "as-shown-by-the-sender" });

const webhookFields = { topic: Topic, deduplicateBy: DeduplicateBy };
const known = { name: Name.default(null), topic: Topic, secret: Secret, deduplicateBy: DeduplicateBy.default("delivery") };

const NewSnsSource = z
  .strictObject({
    kind: z.literal("sns"),
    name: Name.default(null),
    topicArns: snsFields.topicArns,
    topic: snsFields.topic.default(null),
    minVersion: snsFields.minVersion.default(1),
  })
  .openapi("NewSnsSource");

const NewKnownSource = z
  .strictObject({ kind: z.enum(WEBHOOK_KINDS).exclude(["hmac"]), ...known })
  .openapi("NewWebhookSource");

const NewHmacSource = z.strictObject({ kind: z.literal("hmac"), ...known, hmac: Hmac }).openapi("NewHmacSource");

/** Body of `POST /v1/sources`. */
export const NewSource = z.discriminatedUnion("kind", [NewSnsSource, NewKnownSource, NewHmacSource], {
  error: (issue) => (issue.code === "invalid_union" ? `Must be \`sns\`, ${WEBHOOK_KINDS.map((kind) => `\`${kind}\``).join(", ")}.` : undefined),
});

/** Body of `PATCH /v1/sources/{id}`: the fields of its kind, what is left out stays. */
export const SourceChange = z
  .strictObject({ name: Name, ...snsFields, deduplicateBy: DeduplicateBy, hmac: Hmac })
  .partial()
  .openapi("SourceChange");

/** Fields of {@link SourceChange} that belong to some kinds only. */
export const FIELDS_OF_KIND = {
  sns: ["topicArns", "minVersion"],
  webhook: ["deduplicateBy"],
  hmac: ["deduplicateBy", "hmac"],
} as const;

const shown = {
  id: z.string().openapi({ example: "src_01kgh2m8q0v7x3w5y9z1a2b3c4" }),
  name: Name,
  url: z.string().openapi({ description: "Where the sender is to push, below the gateway's own address", example: "/in/src_…" }),
  createdAt: Time,
  updatedAt: Time,
};

const SnsSourceBody = z
  .object({
    kind: z.literal("sns"),
    ...shown,
    ...snsFields,
    subscriptions: z
      .array(
        z.object({
          topicArn: z.string(),
          state: z.enum(["pending", "confirmed", "unsubscribed"]),
          subscriptionArn: z.string().nullable(),
          updatedAt: Time.nullable(),
        }),
      )
      .openapi({ description: "What SNS last said about each topic; pending: nothing yet" }),
  })
  .openapi("SnsSource");

const WebhookSourceBody = z
  .object({
    kind: z.enum(WEBHOOK_KINDS),
    ...shown,
    ...webhookFields,
    hmac: z.object(hmacFields).nullable().openapi({ description: "Of kind `hmac`" }),
    secrets: z
      .array(z.object({ id: z.string(), createdAt: Time, expiresAt: Time.nullable() }))
      .openapi({ description: "Those that verify, the current one first, without their values" }),
  })
  .openapi("WebhookSource");

export const SourceBody = z.discriminatedUnion("kind", [SnsSourceBody, WebhookSourceBody]).openapi("Source");

const OVERLAP_ERROR = `Must be a whole number of seconds from 0 to ${MAX_OVERLAP_SECONDS}.`;

/** Body of `POST /v1/sources/{id}/secret/rotate`. */
export const RotateSourceSecret = z
  .strictObject({
    secret: Secret,
    overlapSeconds: z
      .int({ error: OVERLAP_ERROR })
      .min(0, { error: OVERLAP_ERROR })
      .max(MAX_OVERLAP_SECONDS, { error: OVERLAP_ERROR })
      .default(DEFAULT_OVERLAP_SECONDS)
      .openapi({ description: "How long the secret before is still accepted" }),
  })
  .openapi("RotateSourceSecret");
