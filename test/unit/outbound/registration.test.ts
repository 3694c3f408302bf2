import { beforeAll, describe, expect, it, vi } from "vitest";
import { bodyOf, openGateway } from "../http/gateway.ts";
import { ADDRESS_ZOO } from "./address-zoo.ts";

const gateway = openGateway();
const PUBLIC = "https://example.com/hook";
const oauth = (tokenUrl: string) => ({ kind: "oauth2", tokenUrl, clientId: "me", clientSecret: "secret" });
let id: string;

beforeAll(async () => {
  vi.spyOn(console, "info").mockReturnValue(undefined);
  const made = await gateway.send("POST", "/v1/endpoints", { json: { kind: "push", url: PUBLIC } });
  id = (await bodyOf(made)).id;
});

/** What a request was refused for; null when it was not. */
async function faultOf(method: string, path: string, json: object): Promise<{ status: number; pointers: string[] } | null> {
  const response = await gateway.send(method, path, { json });
  if (response.status < 300) return null;
  return { status: response.status, pointers: (await bodyOf(response)).errors.map(({ pointer }) => pointer) };
}

describe("an address that is not public", () => {
  it.each(ADDRESS_ZOO)("%j is refused at creation and at a change, as the URL and as the token endpoint", async (url) => {
    expect(await faultOf("POST", "/v1/endpoints", { kind: "push", url })).toEqual({ status: 422, pointers: ["/url"] });
    expect(await faultOf("PATCH", `/v1/endpoints/${id}`, { url })).toEqual({ status: 422, pointers: ["/url"] });
    expect(await faultOf("POST", "/v1/endpoints", { kind: "push", url: PUBLIC, auth: oauth(url) })).toEqual({ status: 422, pointers: ["/auth/tokenUrl"] });
    expect(await faultOf("PATCH", `/v1/endpoints/${id}`, { auth: oauth(url) })).toEqual({ status: 422, pointers: ["/auth/tokenUrl"] });
  });

  it("changed nothing", async () => {
    expect(await bodyOf(await gateway.send("GET", `/v1/endpoints/${id}`))).toMatchObject({ url: PUBLIC, auth: null });
    expect((await bodyOf(await gateway.send("GET", "/v1/endpoints"))).data).toHaveLength(1);
  });
});
