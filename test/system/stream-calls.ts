import { type Answered, call, type CallOptions } from "./api.ts";
import type { Gateway } from "./gateway.ts";

type Asked = Pick<Gateway, "url" | "token">;

const DIGITS = 16;

/** The protocol's offset of a position. */
export function offsetOf(position: number): string {
  return `${"0".repeat(DIGITS)}_${String(position).padStart(DIGITS, "0")}`;
}

export function positionOf(answer: Answered): number {
  return Number(answer.headers.get("stream-next-offset")?.split("_")[1]);
}

/** Creates a stream; JSON unless it says otherwise. */
export async function createStream(gateway: Asked, path: string, contentType = "application/json"): Promise<void> {
  const answer = await call(gateway, "PUT", `/v1/stream/${path}`, { headers: { "content-type": contentType } });
  if (answer.status !== 201) throw new Error(`create: ${answer.status} ${answer.bytes.toString()}`);
}

/** Appends JSON, or what `options` says. */
export function append(gateway: Asked, path: string, body: unknown, options: CallOptions = {}): Promise<Answered> {
  return call(gateway, "POST", `/v1/stream/${path}`, { body, ...options });
}

/** Everything from an offset on, answer by answer; throws when one is not 200 or the offsets do not advance. */
export async function readAll(gateway: Asked, path: string, from = "-1"): Promise<{ messages: any[]; next: string; answers: number }> {
  const messages: any[] = [];
  let next = from;
  for (let answers = 1; ; answers++) {
    const answer = await call(gateway, "GET", `/v1/stream/${path}?offset=${next}`);
    if (answer.status !== 200) throw new Error(`read: ${answer.status} ${answer.bytes.toString()}`);
    messages.push(...answer.json);
    const after = answer.headers.get("stream-next-offset") ?? "";
    if (answer.headers.get("stream-up-to-date") === "true") return { messages, next: after, answers };
    if (after <= next) throw new Error(`${after} does not advance ${next}`);
    next = after;
  }
}
