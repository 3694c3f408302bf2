import { log } from "../log.ts";
import { accessLine } from "./middleware/access-log.ts";
import { NO_ROOM, tryAdmit } from "./middleware/admission.ts";
import { headersOf, rateLimitHeaders, requestIdOf } from "./middleware/response-headers.ts";
import { problemOf } from "./on-error.ts";
import { type Problem, PROBLEMS, problemResponse } from "./problem.ts";
import { countRequest } from "./request-counts.ts";
import type { Principal, RateLimitState } from "./router.ts";

/** A request of somebody who is known. */
export type LaneRequest = {
  readonly request: Request;
  /** What brings messages is let in as far as there is room, and is not logged where it is accepted: history has it. */
  readonly brings: boolean;
  /** Its pattern, for the log and the counts. */
  readonly route: string;
  readonly headers: ReadonlyMap<string, string>;
  readonly principal: Principal;
};

/** What the answer says besides its body. */
export type LaneState = { readonly requestId: string; rateLimit: RateLimitState | undefined };

/** `body` is JSON. */
export type LaneAnswer = { readonly status: number; readonly body: string | ReadableStream<Uint8Array> };

const OVERLOAD_LINE_MS = 1_000;

let refusedSinceLine = 0;
let lastOverloadLineAtMs = 0;

/**
 * Answers what a busy gateway is asked nearly all the time, from the same parts as the route that it is for, without what
 * a framework does for each request: counted, logged, with the headers of every answer. What is refused for lack of room
 * is logged once a second.
 */
export async function answerInLane(
  { request, brings, route, headers, principal }: LaneRequest,
  work: (state: LaneState) => Promise<LaneAnswer>,
): Promise<Response> {
  const startedAtMs = Date.now();
  const state: LaneState = { requestId: requestIdOf(headers.get("x-request-id")), rateLimit: undefined };
  const general = (): Record<string, string> => ({
    ...rateLimitHeaders(state.rateLimit),
    ...headersOf(state.requestId, request.url.startsWith("https:")),
  });
  const note = (status: number, isLogged: boolean): void => {
    countRequest(request.method, route, status);
    if (isLogged) accessLine({ method: request.method, route, status, startedAtMs, requestId: state.requestId, principal });
  };
  const refusal = (problem: Problem): Response => {
    const isOverload = problem.code === "overloaded";
    note(PROBLEMS[problem.code].status, !isOverload);
    if (isOverload) overloadLine(startedAtMs);
    return problemResponse({ ...problem, headers: { ...general(), ...problem.headers } }, state.requestId);
  };
  const admitted = brings ? tryAdmit(headers.get("content-length")) : null;
  // Nothing is read of it, nor thrown: there is no time for that now.
  if (brings && admitted === null) return refusal(NO_ROOM);
  let isAccepted = false;
  try {
    const { status, body } = await work(state);
    isAccepted = true;
    note(status, !brings);
    return new Response(body, { status, headers: { "content-type": "application/json", ...general() } });
  } catch (thrown) {
    return refusal(problemOf(thrown, state.requestId));
  } finally {
    admitted?.leave(Date.now(), isAccepted);
  }
}

/** A line for each would be work for every request that there is no room for. */
function overloadLine(nowMs: number): void {
  refusedSinceLine++;
  if (Math.abs(nowMs - lastOverloadLineAtMs) < OVERLOAD_LINE_MS) return;
  log("error", "overloaded", { refused: refusedSinceLine });
  refusedSinceLine = 0;
  lastOverloadLineAtMs = nowMs;
}
