const NAMESPACE = "http://sns.amazonaws.com/doc/2010-03-31/";

/** A piece of XML, escaped already. */
export type Xml = { readonly xml: string };

/** `<name>text</name>`, escaped. */
export function text(name: string, value: string): Xml {
  return { xml: `<${name}>${escape(value)}</${name}>` };
}

export function element(name: string, ...children: readonly Xml[]): Xml {
  return { xml: `<${name}>${children.map((child) => child.xml).join("")}</${name}>` };
}

/** A map of attributes, as the query protocol writes one. */
export function attributeMap(attributes: Iterable<readonly [string, string]>): Xml {
  const entries = [...attributes].map(([key, value]) => element("entry", text("key", key), text("value", value)));
  return element("Attributes", ...entries);
}

/** The answer to an action; SNS leaves the result element out where there is nothing to say. */
export function actionResponse(action: string, result: readonly Xml[] | null, requestId: string): string {
  const metadata = element("ResponseMetadata", text("RequestId", requestId));
  const children = result === null ? [metadata] : [element(`${action}Result`, ...result), metadata];
  return document(`${action}Response`, children);
}

export function errorResponse(error: { type: string; code: string; message: string }, requestId: string): string {
  const { type, code, message } = error;
  return document("ErrorResponse", [
    element("Error", text("Type", type), text("Code", code), text("Message", message)),
    text("RequestId", requestId),
  ]);
}

function document(name: string, children: readonly Xml[]): string {
  return `<${name} xmlns="${NAMESPACE}">${children.map((child) => child.xml).join("")}</${name}>\n`;
}

function escape(value: string): string {
  return value.replace(/[&<>"'\r]/g, (character) => `&#${character.charCodeAt(0)};`);
}
