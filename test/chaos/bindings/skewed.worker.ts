// First, so that everything after it sees no other clock.
import { setClock } from "./skewed-clock.ts";
import worker from "../../../src/index.ts";

export * from "../../../src/index.ts";

const CLOCK_PATH = "/chaos/clock";

/** The gateway, in an isolate whose clock the test sets. */
export default {
  ...worker,
  async fetch(request, env, ctx) {
    const { pathname, searchParams } = new URL(request.url);
    if (pathname !== CLOCK_PATH) return worker.fetch(request, env, ctx);
    setClock(Number(searchParams.get("offset")));
    return Response.json({ now: Date.now() });
  },
} satisfies ExportedHandler<Cloudflare.Env>;
