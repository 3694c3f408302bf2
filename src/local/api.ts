export type Api = (method: string, path: string, body?: Json) => Promise<JsonObject>;
export type Json = string | number | boolean | null | readonly Json[] | { readonly [key: string]: Json };
export type JsonObject = Readonly<Record<string, unknown>>;

/** The gateway's public API as its operator; throws an `Error` that quotes what was refused and why. */
export function gatewayApi(baseUrl: string, token: string, signal: AbortSignal): Api {
  return async (method, path, body) => {
    const response = await fetch(baseUrl + path, {
      method,
      headers: { authorization: `Bearer ${token}`, "content-type": "application/json" },
      signal,
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
    });
    const text = await response.text();
    if (!response.ok) throw new Error(`${method} ${path} was answered ${response.status}: ${text.slice(0, 500)}`);
    return text === "" ? {} : jsonObject(JSON.parse(text));
  };
}

/** The one of a list whose field has this value; null when there is none. Reads every page. */
export async function findInList(api: Api, path: string, field: string, value: string): Promise<JsonObject | null> {
  let cursor = "";
  for (;;) {
    const page = await api("GET", `${path}?limit=250${cursor}`);
    const data = Array.isArray(page["data"]) ? page["data"].map(jsonObject) : [];
    const found = data.find((item) => item[field] === value);
    if (found !== undefined) return found;
    if (typeof page["next"] !== "string") return null;
    cursor = `&cursor=${encodeURIComponent(page["next"])}`;
  }
}

/** A field that must be text, or an `Error` that names it. */
export function textField(object: JsonObject, field: string): string {
  const value = object[field];
  if (typeof value !== "string") throw new Error(`the answer has no ${field}`);
  return value;
}

export function jsonObject(value: unknown): JsonObject {
  if (typeof value !== "object" || value === null || Array.isArray(value)) throw new Error("the answer is not an object");
  return Object.fromEntries(Object.entries(value));
}
