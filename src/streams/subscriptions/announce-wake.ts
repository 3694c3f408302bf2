import type { RingKey } from "../../crypto/keyring.ts";
import { checkPushUrl } from "../../delivery/address-guard.ts";
import type { AttemptWorld } from "../../delivery/attempt.ts";
import { MAX_READ_BYTES, readBounded } from "../../delivery/response-body.ts";
import { parseJsonPayload } from "../protocol/content.ts";
import { formatOffset } from "../protocol/offset.ts";
import { durableStreamName, durableStreamStub } from "../protocol/stub.ts";
import type { StreamLink, WakeRef } from "./contract.ts";
import type { SubscriptionRecord } from "./record.ts";
import { signWake } from "./wake-signature.ts";
import { makeWakeToken } from "./wake-token.ts";

/** What came of telling somebody of a wake; `done`: all that it showed is worked off. */
export type Announcement = { readonly ok: true; readonly done: boolean } | { readonly ok: false; readonly detail: string };

export type AnnounceWorld = {
  readonly attempt: AttemptWorld;
  readonly keys: readonly RingKey[];
  readonly streams: DurableObjectNamespace;
};

type Notice = { readonly record: SubscriptionRecord; readonly wake: WakeRef; readonly links: readonly StreamLink[] };

/** For the response head, as for a delivery. */
const TIMEOUT_MS = 15_000;
const MAX_DETAIL_CHARACTERS = 200;

/** Tells of a wake by the subscription's channel. Never throws. */
export async function announceWake(notice: Notice, world: AnnounceWorld): Promise<Announcement> {
  const { channel } = notice.record.config;
  try {
    return channel.type === "webhook" ? await postWake(channel.url, notice, world) : await writeWake(channel.wakeStream, notice, world);
  } catch (error) {
    return failed(error instanceof Error ? error.message : "It could not be announced.");
  }
}

/** A link as the protocol shows it. */
export function shownLink({ path, isExplicit, acked, tail }: StreamLink) {
  return {
    path,
    link_type: isExplicit ? ("explicit" as const) : ("glob" as const),
    acked_offset: formatOffset(acked),
    tail_offset: formatOffset(tail),
    has_pending: acked < tail,
  };
}

async function postWake(text: string, { record, wake, links }: Notice, { attempt, keys }: AnnounceWorld): Promise<Announcement> {
  const { tenantId, id } = record.ref;
  const address = checkPushUrl(text, attempt);
  if (!address.ok) return failed(address.detail);
  const name = await attempt.dns?.check(address.url, attempt);
  if (name?.ok === false) return failed(name.detail);
  const body = JSON.stringify({
    subscription_id: id,
    wake_id: wake.wakeId,
    generation: wake.generation,
    streams: links.map(shownLink),
    callback_url: `${record.origin}/v1/stream/__ds/subscriptions/${encodeURIComponent(id)}/callback`,
    callback_token: await makeWakeToken(keys, { tenantId, id, ...wake }),
  });
  const headers = {
    "content-type": "application/json",
    "user-agent": attempt.userAgent,
    "webhook-signature": await signWake(keys, tenantId, body, attempt.now()),
  };
  // AbortSignal.timeout() would keep its timer until it fires, answered or not.
  const abort = new AbortController();
  const timer = setTimeout(() => abort.abort(), TIMEOUT_MS);
  try {
    const init = { method: "POST", headers, body, redirect: "manual", signal: abort.signal } as const;
    const response = await attempt.fetch(address.url.href, init);
    const answer = await readBounded(response.body, MAX_READ_BYTES);
    return response.ok ? { ok: true, done: saysDone(answer) } : failed(`The webhook answered ${response.status}.`);
  } catch (error) {
    if (abort.signal.aborted) return failed(`The webhook did not answer within ${TIMEOUT_MS / 1000} s.`);
    throw error;
  } finally {
    clearTimeout(timer);
  }
}

/** An answer that is no JSON, or says nothing, means that a callback will. */
function saysDone(answer: Uint8Array): boolean {
  try {
    const value: unknown = JSON.parse(new TextDecoder().decode(answer));
    return typeof value === "object" && value !== null && "done" in value && value.done === true;
  } catch {
    return false;
  }
}

async function writeWake(wakeStream: string, { record, wake, links }: Notice, { attempt, streams }: AnnounceWorld): Promise<Announcement> {
  const { tenantId, id } = record.ref;
  const [first] = links;
  const event = { type: "wake", subscription_id: id, stream: first?.path ?? null, generation: wake.generation, ts: attempt.now() };
  const parsed = parseJsonPayload(new TextEncoder().encode(JSON.stringify(event)));
  if (!parsed.ok) throw new Error(parsed.detail);
  // One epoch a wake: however often it is written, it is there once.
  const producer = { id: `__ds/${id}/${record.instance}`, epoch: wake.generation, seq: 0 };
  const result = await durableStreamStub(streams, durableStreamName(tenantId, wakeStream)).append({
    contentType: "application/json", payload: parsed.payload, seq: null, producer, close: false,
  });
  if (result.ok) return { ok: true, done: false };
  switch (result.code) {
    case "not-found":
    case "deleted":
      return failed(`There is no stream at ${wakeStream}: create it, with content type application/json.`);
    case "closed":
      return failed(`The wake stream ${wakeStream} is closed.`);
    case "content-type":
      return failed(`The wake stream ${wakeStream} has the content type ${result.expected}, not application/json.`);
    case "stale-epoch":
      return { ok: true, done: false }; // a later wake was written already
    case "overloaded":
    case "sequence":
    case "epoch-start":
    case "producer-gap":
      return failed(`The wake stream ${wakeStream} did not take the wake (${result.code}).`);
  }
}

function failed(detail: string): Announcement {
  return { ok: false, detail: detail.slice(0, MAX_DETAIL_CHARACTERS) };
}
