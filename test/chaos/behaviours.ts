import type { IncomingMessage, ServerResponse } from "node:http";
import { gzipSync } from "node:zlib";
import type { Random } from "./random.ts";

/** How a subscriber answers for a while. */
export type Behaviour = {
  readonly name: string;
  /** What the gateway makes of it; null where it depends on the moment. */
  readonly succeeds: boolean | null;
  /** Cuts the connection before the body was read. */
  readonly early?: true;
  /** `hash` is that of the bytes that came. */
  readonly answer: (request: IncomingMessage, response: ServerResponse, hash: string) => void;
};

/** `next` says how the next request of the phase is answered. */
export type Phase = { readonly untilMs: number; readonly next: () => Behaviour };

const DRIP_EVERY_MS = 1_000;
const CHUNK = Buffer.alloc(16 * 1024, "endless ");
/** 64 MiB of nothing, in 64 KiB. */
const BOMB = gzipSync(Buffer.alloc(64 * 1024 * 1024));

/** Of these, those a gateway may honour keep a delivery waiting for up to a day: the run sends it again at its end. */
export const RETRY_AFTERS = ["0", "-1", "soon", "1e9", "99999999999999999999", "86400000", "999999999", "Thu, 01 Jan 1970 00:00:00 GMT", "Fri, 31 Dec 9999 23:59:59 GMT"];

/** The answer of a query of these bytes. */
export const answerTo = (hash: string): string => `answer ${hash}`;

export const HEALTHY: Behaviour = { name: "200", succeeds: true, answer: (_request, response, hash) => void response.writeHead(200).end(answerTo(hash)) };

const fails = (code: number, headers: Record<string, string> = {}): Behaviour => ({
  name: `${code}${headers["retry-after"] === undefined ? "" : ` retry-after ${headers["retry-after"]}`}`,
  succeeds: false,
  answer: (_request, response) => void response.writeHead(code, headers).end("no"),
});

const HANGS: Behaviour = { name: "hangs", succeeds: false, answer: () => undefined };

const RESETS: Behaviour = { name: "resets", succeeds: false, answer: (request) => void request.socket.resetAndDestroy() };
const RESETS_EARLY: Behaviour = { ...RESETS, name: "resets early", early: true };

/** Not one byte of the head after the other reaches the gateway in time. */
const DRIPS_HEAD: Behaviour = {
  name: "drips its head",
  succeeds: false,
  answer: (request) => {
    const { socket } = request;
    const head = "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n";
    let at = 0;
    const timer = setInterval(() => {
      if (socket.destroyed || at >= head.length) return clearInterval(timer);
      socket.write(head.charAt(at++));
    }, DRIP_EVERY_MS);
  },
};

/** The status has spoken; what follows never ends. */
const DRIPS_BODY: Behaviour = {
  name: "drips its body",
  succeeds: true,
  answer: (_request, response) => {
    response.writeHead(200, { "content-type": "text/plain" }).write("a");
    const timer = setInterval(() => {
      if (response.destroyed) return clearInterval(timer);
      response.write("a");
    }, DRIP_EVERY_MS);
  },
};

const ENDLESS: Behaviour = {
  name: "endless body",
  succeeds: true,
  answer: (_request, response) => {
    response.writeHead(200, { "content-type": "text/plain" });
    const pump = (): void => {
      while (!response.destroyed && response.write(CHUNK)) continue;
    };
    response.on("drain", pump);
    pump();
  },
};

const COMPRESSED: Behaviour = {
  name: "compressed body",
  succeeds: true,
  answer: (_request, response) => void response.writeHead(200, { "content-encoding": "gzip" }).end(BOMB),
};

const BROKEN_GZIP: Behaviour = {
  name: "broken compression",
  succeeds: true,
  answer: (_request, response) => void response.writeHead(200, { "content-encoding": "gzip" }).end("this is no gzip"),
};

const REDIRECTS: Behaviour = {
  name: "redirects",
  succeeds: false,
  answer: (request, response) => void response.writeHead(307, { location: `http://${request.headers.host}/redirected` }).end(),
};

/** The behaviour of one subscriber over the run: health and trouble in turns, each for some seconds. */
export function phasesOf(random: Random, totalMs: number, troubles: readonly Trouble[] = TROUBLES): Phase[] {
  const phases: Phase[] = [];
  for (let untilMs = 0; untilMs < totalMs; ) {
    const trouble = phases.length % 2 === 0 ? null : random.pick(troubles);
    // What disables an endpoint, or makes it wait for a day, leaves time for the rest.
    untilMs += random.int(1_500, trouble === gone || trouble === throttled ? 2_500 : 9_000);
    phases.push({ untilMs, next: trouble === null ? () => HEALTHY : trouble(random) });
  }
  return phases;
}

type Trouble = (random: Random) => () => Behaviour;

const always = (behaviour: Behaviour): Trouble => () => () => behaviour;

const gone: Trouble = always(fails(410));

const throttled: Trouble = (random) => {
  const behaviour = fails(random.pick([429, 503]), { "retry-after": random.pick(RETRY_AFTERS) });
  return () => behaviour;
};

const failing: Trouble = (random) => always(fails(random.pick([500, 502, 503, 404, 400])))(random);

/** Another answer every time. */
const mixed: Trouble = (random) => () => random.pick([HEALTHY, HEALTHY, fails(500), RESETS, DRIPS_BODY]);

const TROUBLES: readonly Trouble[] = [
  failing, mixed, mixed, gone, throttled,
  ...[HANGS, DRIPS_HEAD, DRIPS_BODY, ENDLESS, COMPRESSED, BROKEN_GZIP, RESETS, RESETS_EARLY, REDIRECTS].map(always),
];

/** For who answers queries: every one of them is a failure, so that it is no answer. */
export const FAILURES: readonly Trouble[] = [failing, ...[HANGS, DRIPS_HEAD, RESETS, RESETS_EARLY, REDIRECTS].map(always)];
