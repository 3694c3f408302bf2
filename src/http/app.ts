import type { OpenAPIHono } from "@hono/zod-openapi";
import { accessLog } from "./middleware/access-log.ts";
import { authenticate } from "./middleware/authenticate.ts";
import { configuration } from "./middleware/configuration.ts";
import { idempotency } from "./middleware/idempotency.ts";
import { jsonBody } from "./middleware/json-body.ts";
import { knownRoute } from "./middleware/known-route.ts";
import { responseHeaders } from "./middleware/response-headers.ts";
import { onError } from "./on-error.ts";
import { type AppEnv, createRouter } from "./router.ts";
import { audit } from "./routes/audit.ts";
import { dead } from "./routes/dead.ts";
import { documentation } from "./routes/documentation.ts";
import { endpointActions } from "./routes/endpoint-actions.ts";
import { endpointHistory } from "./routes/endpoint-history.ts";
import { endpoints } from "./routes/endpoints.ts";
import { inbound } from "./routes/inbound.ts";
import { messages } from "./routes/messages.ts";
import { operation } from "./routes/operation.ts";
import { publishing } from "./routes/publishing.ts";
import { sources } from "./routes/sources.ts";
import { stats } from "./routes/stats.ts";
import { subscriptions } from "./routes/subscriptions.ts";
import { tenants } from "./routes/tenants.ts";
import { tokens } from "./routes/tokens.ts";

/** The HTTP face: what every request passes, in this order, and the routes it may reach. */
export function createApp(): OpenAPIHono<AppEnv> {
  const app = createRouter();
  app.onError(onError);
  app.use(responseHeaders, accessLog, knownRoute(app));
  app.use("/in/*", configuration);
  app.use("/metrics", configuration, authenticate);
  app.use("/v1/*", configuration, authenticate, idempotency, jsonBody);

  app.route("/", publishing);
  app.route("/", endpoints);
  app.route("/", endpointActions);
  app.route("/", endpointHistory);
  app.route("/", subscriptions);
  app.route("/", messages);
  app.route("/", dead);
  app.route("/", sources);
  app.route("/", inbound);
  app.route("/", tenants);
  app.route("/", tokens);
  app.route("/", audit);
  app.route("/", stats);
  app.route("/", operation);
  app.route("/", documentation(app));
  return app;
}
