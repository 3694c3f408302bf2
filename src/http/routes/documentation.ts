import type { OpenAPIHono } from "@hono/zod-openapi";
import { docsPage } from "../docs-page.ts";
import { DOCS_STYLE } from "../docs-style.ts";
import { openApiDocument } from "../openapi.ts";
import { type AppEnv, createRouter } from "../router.ts";

const PAGE_POLICY = "default-src 'none'; style-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";
const FRESH_FOR = "public, max-age=300";

/** `/openapi.json` and the page of it; both are made on first use, when every route is mounted. */
export function documentation(app: OpenAPIHono<AppEnv>): OpenAPIHono<AppEnv> {
  let json: string | undefined;
  let page: string | undefined;
  const text = () => (json ??= JSON.stringify(openApiDocument(app)));

  const router = createRouter();
  router.get("/openapi.json", (c) =>
    c.body(text(), 200, { "content-type": "application/json", "cache-control": FRESH_FOR }),
  );
  router.get("/docs", (c) => {
    const shown = (page ??= docsPage(JSON.parse(text())));
    return c.html(shown, 200, { "content-security-policy": PAGE_POLICY, "cache-control": FRESH_FOR });
  });
  router.get("/docs/style.css", (c) =>
    c.body(DOCS_STYLE, 200, { "content-type": "text/css; charset=utf-8", "cache-control": FRESH_FOR }),
  );
  return router;
}
