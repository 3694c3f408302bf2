import { html } from "hono/html";
import {
  type DocumentModel, exampleOf, fieldsOf, type Operation, operationsOf, type Parameter, parseDocument, resolveParameter,
  resolveSchema, type Schema, typeName,
} from "./docs-model.ts";
import { PROBLEMS } from "./problem.ts";

/** What `html` makes: text in it is escaped already. */
type Markup = ReturnType<typeof html>;

const MAX_NESTING = 3;

/** The readable page of our OpenAPI document: no script, nothing from another host. Every text in it is escaped. */
export function docsPage(openApi: unknown): string {
  const document = parseDocument(openApi);
  const page = html`<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>${document.info.title} API</title>
<link rel="stylesheet" href="/docs/style.css">
</head>
<body>
<a class="skip" href="#main">Skip to the content</a>
${navigation(document)}
<main id="main">
<h1>${document.info.title} API</h1>
${document.info.description.split("\n").filter((line) => line !== "").map((line) => html`<p>${prose(line)}</p>`)}
<p>The same as a machine reads it: <a href="/openapi.json">openapi.json</a>, OpenAPI 3.1.</p>
${document.tags.map(({ name }) => tagSection(document, name))}
${problemSection()}
</main>
</body>
</html>`;
  return String(page);
}

function navigation(document: DocumentModel): Markup {
  return html`<nav aria-label="Operations">
<a class="brand" href="#main">${document.info.title}</a>
<p class="version">version ${document.info.version}</p>
${document.tags.map(
  ({ name }) => html`<h2>${name}</h2>
<ul>${operationsOf(document, name).map(
    (operation) =>
      html`<li><a href="#${operation.operationId}">${methodBadge(operation.method)}<span>${operation.summary ?? operation.path}</span></a></li>`,
  )}</ul>`,
)}
<h2>Errors</h2>
<ul><li><a href="#problems">Problem codes</a></li></ul>
</nav>`;
}

function tagSection(document: DocumentModel, tag: string): Markup {
  return html`<section aria-label="${tag}">
<h2>${tag}</h2>
${operationsOf(document, tag).map((operation) => operationArticle(document, operation))}
</section>`;
}

function operationArticle(document: DocumentModel, operation: Operation): Markup {
  const { operationId, method, path, summary, description } = operation;
  const parameters = operation.parameters.flatMap((parameter) => resolveParameter(document, parameter) ?? []);
  return html`<article id="${operationId}">
<h3><a href="#${operationId}">${summary ?? path}</a></h3>
<p class="route">${methodBadge(method)}<code>${path}</code>${scopeNote(operation)}</p>
${description === undefined ? "" : html`<p>${prose(description)}</p>`}
${parameters.length === 0 ? "" : parameterList(document, parameters)}
${requestBody(document, operation)}
${responses(document, operation)}
<h4>Example</h4>
<pre><code>${curl(document, operation)}</code></pre>
</article>`;
}

function methodBadge(method: string): Markup {
  return html`<span class="method ${method}">${method}</span>`;
}

function scopeNote({ security }: Operation): Markup {
  const scopes = security.flatMap((requirement) => Object.values(requirement).flat());
  if (scopes.length === 0) return html`<span class="scope">no token needed</span>`;
  return html`<span class="scope">scope <code>${scopes.join(", ")}</code></span>`;
}

function parameterList(document: DocumentModel, parameters: readonly Parameter[]): Markup {
  return html`<h4>Parameters</h4>
<dl>${parameters.map(
    ({ name, in: place, required, description, schema }) =>
      html`<div><dt><code>${name}</code><span class="mark">${place}${required === true ? ", required" : ""}</span></dt>
<dd>${schema === undefined ? "" : fieldNotes(document, schema, description)}</dd></div>`,
  )}</dl>`;
}

function requestBody(document: DocumentModel, { requestBody: body }: Operation): Markup | string {
  if (body === undefined) return "";
  return html`${Object.entries(body.content).map(
    ([type, { schema }]) => html`<h4>Body: ${type}${body.required === true ? "" : ", optional"}</h4>
${schema === undefined ? "" : schemaFields(document, schema, 1)}`,
  )}`;
}

function responses(document: DocumentModel, operation: Operation): Markup {
  return html`<h4>Responses</h4>
<dl>${Object.entries(operation.responses).filter(([, response]) => response["x-common"] !== true).map(
    ([status, { description, content }]) => html`<div><dt><code>${status}</code></dt><dd>${prose(description)}
${Object.entries(content ?? {})
  .filter(([type]) => type !== "application/problem+json")
  .map(([, { schema }]) => (schema === undefined ? "" : responseFields(document, schema)))}</dd></div>`,
  )}</dl>`;
}

/** Folded, for they are many and mostly known from the request. */
function responseFields(document: DocumentModel, schema: Schema): Markup | string {
  if (fieldsOf(document, schema).length === 0) return "";
  return html`<details><summary>Fields</summary>${schemaFields(document, schema, 1)}</details>`;
}

function schemaFields(document: DocumentModel, schema: Schema, depth: number): Markup | string {
  const fields = fieldsOf(document, schema);
  if (fields.length === 0 || depth > MAX_NESTING) return "";
  return html`<dl>${fields.map(
    (field) => html`<div><dt><code>${field.name}</code>${field.required ? "" : html`<span class="mark">optional</span>`}</dt>
<dd>${fieldNotes(document, field.schema)}${schemaFields(document, field.schema, depth + 1)}</dd></div>`,
  )}</dl>`;
}

function fieldNotes(document: DocumentModel, given: Schema, description?: string): Markup {
  const schema = resolveSchema(document, given);
  const text = description ?? schema.description;
  const limits = limitNotes(schema).join(", ");
  return html`<span class="type">${typeName(document, schema)}</span>${limits === "" ? "" : html` <span class="type">(${limits})</span>`}
${text === undefined ? "" : html`<br>${prose(text)}`}`;
}

function limitNotes(schema: Schema): string[] {
  return [
    range(schema.minimum, schema.maximum, ""),
    range(schema.minLength, schema.maxLength, " characters"),
    range(schema.minItems, schema.maxItems, " items"),
    schema.default === undefined ? "" : `default ${JSON.stringify(schema.default)}`,
  ].filter((note) => note !== "");
}

function range(least: number | undefined, most: number | undefined, unit: string): string {
  if (least === undefined && most === undefined) return "";
  if (least === undefined) return `at most ${most}${unit}`;
  return most === undefined ? `at least ${least}${unit}` : `${least} to ${most}${unit}`;
}

/** Shown with a placeholder for the host, since the page may be read anywhere. */
function curl(document: DocumentModel, operation: Operation): string {
  const { method, path, security, requestBody: body } = operation;
  const [type, content] = Object.entries(body?.content ?? {})[0] ?? [];
  const data = content?.schema === undefined ? "hello" : JSON.stringify(exampleOf(document, content.schema));
  const lines = [
    `curl${method === "get" ? "" : ` -X ${method.toUpperCase()}`} "$POSTERN_URL${path}"`,
    ...(security.length === 0 ? [] : ['-H "authorization: Bearer $POSTERN_TOKEN"']),
    ...(type === undefined ? [] : [`-H "content-type: ${type === "*/*" ? "text/plain" : type}"`, `-d '${data.replaceAll("'", "'\\''")}'`]),
  ];
  return lines.join(" \\\n  ");
}

function problemSection(): Markup {
  return html`<section aria-label="Problem codes">
<h2 id="problems">Problem codes</h2>
<p>The last part of a problem's <code>type</code>, <code>https://postern.dev/problems/&lt;code&gt;</code>.</p>
<table><thead><tr><th>Code</th><th>Status</th><th>Meaning</th></tr></thead>
<tbody>${Object.entries(PROBLEMS).map(
    ([code, { status, title }]) => html`<tr id="problem-${code}"><td><code>${code}</code></td><td>${status}</td><td>${title}</td></tr>`,
  )}</tbody></table>
</section>`;
}

/** A sentence with its `code` marked up. */
function prose(text: string): Markup[] {
  return text.split("`").map((part, index) => (index % 2 === 1 ? html`<code>${part}</code>` : html`${part}`));
}
