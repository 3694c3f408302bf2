import type { OpenAPIHono } from "@hono/zod-openapi";
import { VERSION } from "../config.ts";
import { OPERATOR_EVENTS_TEXT, registerOperatorEvents } from "./operator-event-schemas.ts";
import { requirementOf } from "./middleware/require-scope.ts";
import type { ProblemCode } from "./problem.ts";
import type { AppEnv } from "./router.ts";
import { problemResponses, ProblemSchema } from "./schemas.ts";

type Document = ReturnType<OpenAPIHono<AppEnv>["getOpenAPI31Document"]>;
type Operation = NonNullable<NonNullable<Document["paths"]>[string]["get"]>;

const METHODS = ["get", "put", "post", "patch", "delete"] as const;
type Method = (typeof METHODS)[number];

const DESCRIPTION = `Receives messages over HTTP and from Amazon SNS, and delivers each to every subscriber as a signed webhook.

Send \`Authorization: Bearer <token>\`. A token belongs to one tenant; an operator token names the tenant in \`Postern-Tenant\`.
Every error is a problem (RFC 9457) whose \`detail\` says how to mend it, and whose \`instance\` is the request id in the log.
Lists take \`limit\` and \`cursor\`, and give the next cursor in \`next\`.
A POST with an \`Idempotency-Key\` runs once in 24 hours: a repeat gets the first response again.

${OPERATOR_EVENTS_TEXT}`;

const PARAMETERS = {
  PosternTenant: {
    name: "Postern-Tenant",
    in: "header" as const,
    description: "The tenant an operator token acts for; `default` when absent",
    schema: { type: "string" as const },
  },
  IdempotencyKey: {
    name: "Idempotency-Key",
    in: "header" as const,
    description: "1 to 255 visible ASCII characters; the same key and request within 24 h get the first response again",
    schema: { type: "string" as const, minLength: 1, maxLength: 255 },
  },
};

/**
 * The OpenAPI 3.1 document of the routes mounted so far: their schemas are the ones that validate, and the scope
 * each names is the one its middleware asks for.
 */
export function openApiDocument(app: OpenAPIHono<AppEnv>): Document {
  app.openAPIRegistry.register("Problem", ProblemSchema);
  registerOperatorEvents(app);
  app.openAPIRegistry.registerComponent("securitySchemes", "bearer", {
    type: "http",
    scheme: "bearer",
    description: "An API token (`pst_…`), or a JWT of a configured issuer",
  });
  const document = app.getOpenAPI31Document({
    openapi: "3.1.0",
    info: { title: "Postern", version: VERSION, description: DESCRIPTION, license: { name: "MIT" } },
    servers: [{ url: "/" }],
    tags: tagsOf(app),
  });
  for (const [path, item] of Object.entries(document.paths ?? {})) {
    for (const method of METHODS) {
      const operation = item[method];
      if (operation !== undefined) describeMiddleware(app, operation, method, path);
    }
  }
  document.components = { ...document.components, parameters: { ...document.components?.parameters, ...PARAMETERS } };
  return document;
}

/** Adds to an operation what the middleware before it does. */
function describeMiddleware(app: OpenAPIHono<AppEnv>, operation: Operation, method: Method, path: string): void {
  operation.operationId ??= operationId(method, path);
  for (const notOpenApi of ["middleware", "hide"]) Reflect.deleteProperty(operation, notOpenApi);
  const requirement = requirementFor(app, method, path);
  operation.responses = {
    ...commonProblems(operation, method, requirement !== undefined),
    ...operation.responses,
    default: { description: "Any other problem", content: PROBLEM_CONTENT },
  };
  operation.security = requirement === undefined ? [] : [{ bearer: [requirement.scope] }];
  if (requirement === undefined) return;
  if (requirement.operator) {
    operation.description = ["For operators.", operation.description].filter((text) => text !== undefined).join(" ");
  }
  operation.parameters = [
    ...(operation.parameters ?? []),
    ...(requirement.operator ? [] : [{ $ref: "#/components/parameters/PosternTenant" }]),
    ...(method === "post" ? [{ $ref: "#/components/parameters/IdempotencyKey" }] : []),
  ];
}

const PROBLEM_CONTENT = { "application/problem+json": { schema: { $ref: "#/components/schemas/Problem" } } };

/** What middleware and validation end requests with, alike for all routes; the page leaves these (`x-common`) out. */
function commonProblems(operation: Operation, method: Method, authenticated: boolean): Operation["responses"] {
  const takesJson = operation.requestBody !== undefined && "content" in operation.requestBody && "application/json" in operation.requestBody.content;
  const takesQuery = (operation.parameters ?? []).some((parameter) => "in" in parameter && parameter.in === "query");
  const codes: ProblemCode[] = [
    ...(authenticated ? (["unauthenticated", "missing-scope", "rate-limited"] as const) : []),
    ...(takesJson ? (["malformed-json", "payload-too-large", "unsupported-media-type"] as const) : []),
    ...(takesJson || takesQuery ? (["invalid-request"] as const) : []),
    ...(authenticated && method === "post" ? (["request-in-progress", "idempotency-mismatch"] as const) : []),
  ];
  return Object.fromEntries(
    Object.entries(problemResponses(...codes)).map(([status, { description }]) => [
      status,
      { description, content: PROBLEM_CONTENT, "x-common": true },
    ]),
  );
}

/** What the route's own middleware requires; undefined for what needs no token. */
export function requirementFor(app: OpenAPIHono<AppEnv>, method: string, path: string) {
  const routePath = path.replaceAll(/\{([^}]+)\}/g, ":$1");
  for (const route of app.routes) {
    if (route.method !== method.toUpperCase() || withoutPatterns(route.path) !== withoutPatterns(routePath)) continue;
    const requirement = requirementOf(route.handler);
    if (requirement !== undefined) return requirement;
  }
  return undefined;
}

/** `:topic{.+}` of a Hono path is `:topic` in OpenAPI. */
function withoutPatterns(path: string): string {
  return path.replaceAll(/\{[^}]*\}/g, "");
}

function operationId(method: Method, path: string): string {
  const words = path.split(/[^A-Za-z0-9]+/).filter((word) => word !== "" && word !== "v1");
  return [method, ...words].map((word, index) => (index === 0 ? word : word.charAt(0).toUpperCase() + word.slice(1))).join("");
}

/** In the order the routes were mounted, which is the order of a first reading. */
function tagsOf(app: OpenAPIHono<AppEnv>): { name: string }[] {
  const names = new Set<string>();
  for (const definition of app.openAPIRegistry.definitions) {
    if (definition.type === "route") for (const tag of definition.route.tags ?? []) names.add(tag);
  }
  return [...names].map((name) => ({ name }));
}
