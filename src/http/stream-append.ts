import type { Context } from "hono";
import { type Payload, unitsOf } from "../streams/protocol/content.ts";
import type { AppendResult, ProducerRequest } from "../streams/protocol/contract.ts";
import { formatOffset } from "../streams/protocol/offset.ts";
import { durableStreamName, durableStreamStub } from "../streams/protocol/stub.ts";
import { type AppEnv, fail } from "./router.ts";
import { failMissing } from "./stream-missing.ts";
import { contentTypeOf, header, isClosing, malformed, payloadOf, producerOf, readStreamBody } from "./stream-request.ts";

const MAX_SEQ_CHARACTERS = 1024;

/** POST: appends, closes, or both as one (§5.2, §5.3). Answers once it is on disk. */
export async function appendToStream(c: Context<AppEnv>, path: string): Promise<Response> {
  const producer = producerOf(c);
  const close = isClosing(c);
  const seq = header(c, "stream-seq") ?? null;
  if (seq !== null && seq.length > MAX_SEQ_CHARACTERS) malformed(`Stream-Seq has at most ${MAX_SEQ_CHARACTERS} characters.`);
  const body = await readStreamBody(c);
  if (body.length === 0 && !close) malformed("Send something to append, or `Stream-Closed: true` to close the stream.");
  const contentType = body.length === 0 ? null : requireContentType(c);
  const payload = contentType === null ? null : notEmpty(payloadOf(body, contentType));
  const name = durableStreamName(c.get("principal").tenantId, path);
  const result = await durableStreamStub(c.env.DURABLE_STREAMS, name).append({ contentType, payload, seq, producer, close });
  return answer(c, result, producer, payload !== null);
}

function requireContentType(c: Context<AppEnv>): string {
  return contentTypeOf(c) ?? malformed("Send the stream's content type in Content-Type.");
}

function notEmpty(payload: Payload): Payload {
  return unitsOf(payload) > 0 ? payload : malformed("An empty array appends nothing: send at least one message.");
}

function answer(c: Context<AppEnv>, result: AppendResult, producer: ProducerRequest | null, appends: boolean): Response {
  if (!result.ok) return refuse(result);
  c.header("stream-next-offset", formatOffset(result.tail));
  if (result.closed) c.header("stream-closed", "true");
  if (producer === null) return c.body(null, 204);
  c.header("producer-epoch", String(producer.epoch));
  c.header("producer-seq", String(result.acceptedSeq ?? producer.seq));
  return c.body(null, result.duplicate || !appends ? 204 : 200);
}

function refuse(result: AppendResult & { ok: false }): never {
  switch (result.code) {
    case "not-found":
    case "deleted":
    case "overloaded":
      return failMissing(result);
    case "closed":
      return fail({
        code: "stream-closed",
        detail: "The stream is closed: nothing can be appended any more.",
        headers: { "stream-closed": "true", "stream-next-offset": formatOffset(result.tail) },
      });
    case "content-type":
      return fail({ code: "conflict", detail: `The stream's content type is ${result.expected}: send that.` });
    case "sequence":
      return fail({ code: "sequence-conflict", detail: `Stream-Seq must be beyond ${JSON.stringify(result.last)}, compared byte by byte.` });
    case "stale-epoch":
      return fail({
        code: "stale-epoch",
        detail: `Another instance of this producer has taken over with epoch ${result.epoch}: stop, or claim a higher one.`,
        headers: { "producer-epoch": String(result.epoch) },
      });
    case "epoch-start":
      return malformed("A new Producer-Epoch begins with Producer-Seq 0.");
    case "producer-gap":
      return fail({
        code: "sequence-conflict",
        detail: `Producer-Seq ${result.expected} is the next one: send what is between first.`,
        headers: { "producer-expected-seq": String(result.expected), "producer-received-seq": String(result.received) },
      });
  }
}
