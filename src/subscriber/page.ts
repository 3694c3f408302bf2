import type { ReceivedMessage } from "./received.ts";

const STYLE = `
  body { font: 15px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; }
  article { border-top: 1px solid #8884; padding: .7rem 0; }
  pre { overflow: auto; margin: .3rem 0 0; white-space: pre-wrap; overflow-wrap: anywhere; }
  small { opacity: .7; }
`;

const COMMON_HEADERS = { "x-content-type-options": "nosniff", "referrer-policy": "no-referrer" };

/** A page of what was received; nothing in it runs, and it needs no other host. */
export function receivedPage(messages: readonly ReceivedMessage[]): Response {
  const articles = messages.map(
    (message) => `<article><b>${escapeHtml(message.topic ?? "no topic")}</b>
      <small>${escapeHtml(message.id)} · ${message.time} · attempt ${escapeHtml(message.attempt ?? "?")} · ${escapeHtml(message.contentType ?? "no content type")}</small>
      <pre>${escapeHtml(message.body)}</pre></article>`,
  );
  const page = `<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>Demo subscriber</title><meta name="viewport" content="width=device-width">
<meta http-equiv="refresh" content="5"><link rel="stylesheet" href="style.css"></head>
<body><h1>Demo subscriber</h1><p>Verified messages, the latest first.</p>${articles.join("\n") || "<p>None so far.</p>"}</body></html>
`;
  return new Response(page, {
    headers: {
      "content-type": "text/html; charset=utf-8",
      "content-security-policy": "default-src 'none'; style-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
      ...COMMON_HEADERS,
    },
  });
}

/** A file of its own, so that the page's policy can refuse whatever is inline. */
export function pageStyle(): Response {
  return new Response(STYLE, { headers: { "content-type": "text/css; charset=utf-8", ...COMMON_HEADERS } });
}

const ENTITIES: Readonly<Record<string, string>> = { "&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;", "'": "&#39;" };

function escapeHtml(text: string): string {
  return text.replace(/[&<>"']/g, (character) => ENTITIES[character] ?? character);
}
