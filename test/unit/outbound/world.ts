import type { AttemptWorld } from "../../../src/delivery/attempt.ts";
import type { DeliveryEndpoint } from "../../../src/delivery/endpoint.ts";
import type { StoredMessage } from "../../../src/messages/message.ts";

export const NOW_MS = Date.parse("2026-11-17T09:30:00Z");

export const MESSAGE: StoredMessage = {
  id: "msg_1", offset: 7, timeMs: NOW_MS, contentType: "text/plain", attributes: {},
  traceparent: "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", body: new TextEncoder().encode("hello"),
};

export async function endpoint(change: Partial<DeliveryEndpoint> = {}): Promise<DeliveryEndpoint> {
  const key = await crypto.subtle.importKey("raw", new Uint8Array(32), { name: "HMAC", hash: "SHA-256" }, false, ["sign"]);
  return {
    id: "ep_1", tenantId: "default", kind: "push", url: "https://example.com/hook", status: "active", format: "raw", headers: {},
    signingKeys: [key], timeoutSeconds: 1, retryScheduleSeconds: [5, 30], rateLimit: null, ordered: false, fallback: null, failingSinceMs: null, ...change,
  };
}

export type Sent = { readonly url: string; readonly init: RequestInit };

/** The outside world: what is sent is kept, and answered as told. */
export function world(answer: (sent: Sent) => Response | Promise<Response>, change: Partial<AttemptWorld> = {}): AttemptWorld & { readonly sent: Sent[] } {
  const sent: Sent[] = [];
  return {
    sent,
    fetch: async (input, init) => {
      const one = { url: String(input), init: init ?? {} };
      sent.push(one);
      return answer(one);
    },
    now: () => NOW_MS,
    random: () => 0.5,
    fillRandom: (bytes) => void crypto.getRandomValues(bytes),
    userAgent: "Postern/test",
    allowHosts: new Set(),
    allowHttp: false,
    ...change,
  };
}
