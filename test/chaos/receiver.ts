import { createHmac } from "node:crypto";
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import { type Behaviour, HEALTHY, type Phase } from "./behaviours.ts";
import { type Arrival, type EndpointEntry, hashOf, type Ledgers, type SecretEntry } from "./ledgers.ts";

/** All push subscribers: one server, each endpoint at a path of its own, which is `/` and its label. */
export type ChaosReceiver = {
  readonly url: string;
  readonly host: string;
  /** From now on this endpoint answers by these phases, and well after the last. */
  readonly behave: (label: string, phases: readonly Phase[]) => void;
  /** Everybody answers well from now on. */
  readonly heal: () => void;
  /** `label id` of what was answered with a `Retry-After` that may hold it back for long. */
  readonly heldBack: ReadonlySet<string>;
  /** Paths that nobody may ever ask for. */
  readonly strays: readonly string[];
  readonly close: () => Promise<void>;
};

/** Endpoints of the run wait this long for a response head. */
export const TIMEOUT_SECONDS = 2;
/** An answer later than this may have met the timeout. */
const SURELY_IN_TIME_MS = TIMEOUT_SECONDS * 1000 - 700;

/** Listens on loopback and enters every request into the ledger of arrivals. */
export async function startChaosReceiver(ledgers: Ledgers): Promise<ChaosReceiver> {
  const phasesByLabel = new Map<string, { readonly sinceMs: number; readonly phases: readonly Phase[] }>();
  const heldBack = new Set<string>();
  const strays: string[] = [];
  let healed = false;

  const behaviourOf = (label: string): Behaviour => {
    const plan = phasesByLabel.get(label);
    if (healed || plan === undefined) return HEALTHY;
    const atMs = Date.now() - plan.sinceMs;
    return plan.phases.find(({ untilMs }) => atMs < untilMs)?.next() ?? HEALTHY;
  };

  const handle = async (request: IncomingMessage, response: ServerResponse): Promise<void> => {
    const label = request.url?.slice(1) ?? "";
    const endpoint = ledgers.endpoints.get(label);
    const id = String(request.headers["webhook-id"]);
    if (endpoint === undefined || request.method !== "POST") {
      strays.push(`${request.method} ${request.url} ${id}`);
      response.writeHead(404).end();
      return;
    }
    const behaviour = behaviourOf(label);
    const arrival: Arrival = {
      place: endpoint.place, label, id, hash: null, atMs: Date.now(), succeeded: behaviour.succeeds, answer: behaviour.name,
      signed: { timestampMs: Number(request.headers["webhook-timestamp"]) * 1000, by: [] },
    };
    if (behaviour.early) {
      ledgers.arrivals.push(arrival);
      request.socket.resetAndDestroy();
      return;
    }
    const chunks: Buffer[] = [];
    for await (const chunk of request) chunks.push(Buffer.from(chunk));
    const body = Buffer.concat(chunks);
    const signed = { timestampMs: arrival.signed?.timestampMs ?? 0, by: signersOf(endpoint, request, body) };
    const late = Date.now() - arrival.atMs > SURELY_IN_TIME_MS || response.destroyed;
    const hash = hashOf(body);
    ledgers.arrivals.push({ ...arrival, hash, signed, ...(late && behaviour.succeeds !== false ? { succeeded: null } : {}) });
    if (behaviour.name.includes("retry-after")) heldBack.add(`${label} ${id}`);
    behaviour.answer(request, response, hash);
  };
  const server = createServer((request, response) => {
    response.on("error", () => response.destroy());
    handle(request, response).catch(() => response.destroy()); // the gateway was killed while it sent
  });
  await new Promise<void>((resolve, reject) => {
    server.once("error", reject);
    server.listen(0, "127.0.0.1", resolve);
  });
  const address = server.address();
  if (typeof address !== "object" || address === null) throw new Error("the receiver has no port");
  const host = `127.0.0.1:${address.port}`;
  return {
    url: `http://${host}`,
    host,
    behave: (label, phases) => void phasesByLabel.set(label, { sinceMs: Date.now(), phases }),
    heal: () => {
      healed = true;
    },
    heldBack,
    strays,
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };
}

/** Which of the endpoint's secrets, present and past, the request is signed with (Standard Webhooks 1.0). */
function signersOf(endpoint: EndpointEntry, request: IncomingMessage, body: Buffer): SecretEntry[] {
  const signatures = String(request.headers["webhook-signature"]).split(" ");
  const head = `${request.headers["webhook-id"]}.${request.headers["webhook-timestamp"]}.`;
  return endpoint.secrets.filter(({ secret }) => {
    const key = Buffer.from(secret.slice("whsec_".length), "base64");
    return signatures.includes(`v1,${createHmac("sha256", key).update(head).update(body).digest("base64")}`);
  });
}
