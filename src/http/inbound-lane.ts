import { type InboundCall, principalOf } from "./inbound-answer.ts";
import { receiveFromSns } from "./inbound-sns.ts";
import { receiveWebhook } from "./inbound-webhook.ts";
import { answerInLane } from "./lane.ts";
import { type InboundReceiver, knownReceiver } from "./receivers.ts";

const ROUTE = "/in/:sourceId";
const PATH = "/in/";
const SOURCE_ID = /^[A-Za-z0-9_]+$/;

/** Takes what a sender pushes to a source that was settled within the last second, as the route `POST /in/{sourceId}` does; null for all else. */
export function inboundLane(request: Request, env: Cloudflare.Env, ctx: ExecutionContext): Promise<Response> | null {
  const sourceId = sourceIdOf(request);
  const receiver = sourceId === null ? null : knownReceiver(sourceId, Date.now());
  if (receiver === null) return null;
  const lane = { request, brings: true, route: ROUTE, headers: new Map(request.headers), principal: principalOf(receiver.source) };
  return answerInLane(lane, async (state) => {
    const call: InboundCall = {
      request,
      env,
      requestId: state.requestId,
      limits: receiver.limits,
      inBackground: (work) => ctx.waitUntil(work),
      onRateLimit: (rateLimit) => (state.rateLimit = rateLimit),
    };
    return { status: 200, body: JSON.stringify(await receiveInbound(call, receiver)) };
  });
}

/** What came is an event then, or a handshake is answered; ends the request for what does not verify. */
export function receiveInbound(call: InboundCall, { source, secrets }: InboundReceiver) {
  return source.kind === "sns" ? receiveFromSns(call, source) : receiveWebhook(call, source, secrets);
}

function sourceIdOf({ method, url }: Request): string | null {
  if (method !== "POST") return null;
  const start = url.indexOf("/", url.indexOf("//") + 2);
  if (!url.startsWith(PATH, start)) return null;
  const sourceId = url.slice(start + PATH.length);
  return SOURCE_ID.test(sourceId) ? sourceId : null;
}
