/**
 * A subscriber to copy from: it verifies, de-duplicates by `webhook-id`, answers quickly, and shows what it received.
 * What it keeps is in the memory of one isolate; a real one keeps the ids it has handled where its work is kept.
 */
import { type IRequest, Router } from "itty-router";
import { Received } from "./received.ts";
import { pageStyle, receivedPage } from "./page.ts";
import { verifyWebhook } from "./verify.ts";

type Environment = {
  /** The endpoint's signing secret, `whsec_…`. */
  readonly SUBSCRIBER_SECRET: string;
};

const MAX_BODY_BYTES = 1024 * 1024;
const TOO_LARGE = "the body is larger than 1 MiB";

const received = new Received();

const router = Router<IRequest, [Environment]>();

router
  .post("/webhooks", async (request, environment) => {
    const declaredBytes = Number(request.headers.get("content-length") ?? "0");
    if (declaredBytes > MAX_BODY_BYTES) return refusal(413, TOO_LARGE);
    const body = new Uint8Array(await request.arrayBuffer());
    if (body.length > MAX_BODY_BYTES) return refusal(413, TOO_LARGE);

    const verified = verifyWebhook(environment.SUBSCRIBER_SECRET, request.headers, body);
    if (!verified.ok) return refusal(verified.status, verified.detail);

    // A repeat was handled before: say so with a 2xx, or it is sent again.
    const isNew = received.record({
      id: verified.id,
      time: new Date().toISOString(),
      topic: request.headers.get("postern-topic"),
      attempt: request.headers.get("postern-attempt"),
      contentType: request.headers.get("content-type"),
      body: verified.text,
    });
    log(isNew ? "received" : "repeated", { id: verified.id, topic: request.headers.get("postern-topic"), bytes: body.length });
    return new Response(null, { status: 204 });
  })
  .get("/received", () => Response.json({ data: received.latestFirst() }))
  .get("/", () => receivedPage(received.latestFirst()))
  .get("/style.css", () => pageStyle())
  .all("*", () => refusal(404, "POST /webhooks receives; GET / and GET /received show"));

export default {
  fetch: (request, environment) => router.fetch(request, environment),
} satisfies ExportedHandler<Environment>;

function refusal(status: number, detail: string): Response {
  log("refused", { status, detail });
  return Response.json({ status, detail }, { status, headers: { "content-type": "application/problem+json" } });
}

function log(event: string, fields: Record<string, unknown>): void {
  console.info(JSON.stringify({ from: "subscriber", event, ...fields }));
}
