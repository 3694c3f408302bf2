import { beforeEach, describe, expect, it, vi } from "vitest";
import { bodyOf, makeToken, openGateway } from "./gateway.ts";

const gateway = openGateway();

beforeEach(() => void vi.spyOn(console, "info").mockImplementation(() => undefined));

async function codeOf(response: Response): Promise<string> {
  const { type } = await bodyOf(response);
  return `${response.status} ${type.split("/").at(-1)}`;
}

describe("a request without a valid token", () => {
  it.each([
    ["none", {}],
    ["another scheme", { authorization: "Basic cHN0X3g6" }],
    ["an empty one", { authorization: "Bearer " }],
    ["two at once", { authorization: "Bearer pst_a pst_b" }],
    ["one that is not known", { authorization: "Bearer pst_unknown" }],
  ])("is answered 401 (%s)", async (_what, headers) => {
    const response = await gateway.send("GET", "/v1/tokens", { token: null, headers });
    expect(response.headers.get("www-authenticate")).toMatch(/^Bearer realm="postern"/);
    expect(await codeOf(response)).toBe("401 unauthenticated");
  });

  it("takes the operator's token as a whole only", async () => {
    for (const token of ["pst_operator_of_these_test", "pst_operator_of_these_testsx", "PST_OPERATOR_OF_THESE_TESTS"]) {
      expect((await gateway.send("GET", "/v1/tokens", { token })).status).toBe(401);
    }
  });

  it("takes a token up to its end and no longer", async () => {
    vi.useFakeTimers({ toFake: ["Date"] });
    try {
      const expiresAt = new Date(Date.now() + 10_000).toISOString();
      const made = await gateway.send("POST", "/v1/tokens", { json: { name: "brief", scopes: ["admin"], expiresAt } });
      const { token } = await bodyOf(made);
      vi.setSystemTime(Date.now() + 9_500);
      expect((await gateway.send("GET", "/v1/tokens", { token })).status).toBe(200);
      vi.setSystemTime(Date.now() + 500); // the isolate still has it
      expect((await gateway.send("GET", "/v1/tokens", { token })).status).toBe(401);
    } finally {
      vi.useRealTimers();
    }
  });
});

describe("a token that is revoked", () => {
  it("is not accepted any more once its deletion was acknowledged", async () => {
    vi.useFakeTimers({ toFake: ["Date", "setTimeout"] });
    try {
      const token = await makeToken(gateway, ["admin"]);
      const { data } = await bodyOf(await gateway.send("GET", "/v1/tokens", { token }));
      const deleting = gateway.send("DELETE", `/v1/tokens/${data[0]?.id}`);
      await vi.waitFor(() => expect(vi.getTimerCount()).toBe(1));
      expect((await gateway.send("GET", "/v1/tokens", { token })).status).toBe(200); // not acknowledged yet
      await vi.advanceTimersByTimeAsync(1_100);
      expect((await deleting).status).toBe(204);
      expect((await gateway.send("GET", "/v1/tokens", { token })).status).toBe(401);
    } finally {
      vi.useRealTimers();
    }
  });
});

describe("scopes", () => {
  it.each([
    ["GET", "/v1/tokens", "admin"],
    ["POST", "/v1/sources", "admin"],
    ["GET", "/v1/audit", "admin"],
    ["GET", "/metrics", "read"],
    ["GET", "/v1/messages", "read"],
    ["POST", "/v1/endpoints", "manage"],
    ["POST", "/v1/events/orders", "publish"],
  ])("%s %s needs %s, whatever else the token may do", async (method, path, scope) => {
    const others = ["publish", "consume", "manage", "read", "admin"].filter((other) => other !== scope);
    const response = await gateway.send(method, path, { token: await makeToken(gateway, others) });
    expect(response.status).toBe(403);
    expect(await response.text()).toContain(`\`${scope}\``);
  });

  it("does not read the body of whoever lacks the scope", async () => {
    const token = await makeToken(gateway, ["read"]);
    expect(await codeOf(await gateway.send("POST", "/v1/tokens", { token, json: { name: 1 } }))).toBe("403 missing-scope");
  });
});

describe("tenants", () => {
  it("lets an operator name any tenant, the default one when none is named", async () => {
    await gateway.send("POST", "/v1/tenants", { json: { id: "named" } });
    const token = await makeToken(gateway, ["admin"], "named");
    const { data } = await bodyOf(await gateway.send("GET", "/v1/tokens", { tenant: "named" }));
    expect(data).toHaveLength(1);
    const own = await bodyOf(await gateway.send("GET", "/v1/tokens", { token }));
    expect(own.data.map(({ id }) => id)).toEqual(data.map(({ id }) => id));
  });

  it("answers a tenant's token alike for another tenant that exists and one that does not", async () => {
    await gateway.send("POST", "/v1/tenants", { json: { id: "other" } });
    const token = await makeToken(gateway, ["admin"]);
    const answers = await Promise.all(
      ["other", "nowhere"].map(async (tenant) => {
        const response = await gateway.send("GET", "/v1/tokens", { token, tenant });
        return { ...(await bodyOf(response)), instance: "" };
      }),
    );
    expect(answers[0]).toEqual(answers[1]);
    expect(answers[0]).toMatchObject({ status: 404 });
    expect((await gateway.send("GET", "/v1/tokens", { token, tenant: "default" })).status).toBe(200);
  });

  it("answers an operator 404 for a tenant that does not exist", async () => {
    for (const tenant of ["absent", "DEFAULT", "a'b"]) {
      expect(await codeOf(await gateway.send("GET", "/v1/tokens", { tenant }))).toBe("404 not-found");
    }
  });

  it("keeps operators' routes from a tenant's admin", async () => {
    const token = await makeToken(gateway, ["admin"]);
    for (const [method, path] of [["GET", "/v1/tenants"], ["POST", "/v1/tenants"], ["DELETE", "/v1/tenants/other"], ["GET", "/v1/tenants/nowhere"]] as const) {
      expect(await codeOf(await gateway.send(method, path, { token }))).toBe("403 missing-scope");
    }
    expect(await codeOf(await gateway.send("GET", "/v1/audit?operator=true", { token }))).toBe("403 missing-scope");
    expect(await codeOf(await gateway.send("GET", "/v1/tokens?operator=true", { token }))).toBe("403 missing-scope");
  });
});

it("writes no token to the log", async () => {
  const lines: string[] = [];
  vi.spyOn(console, "info").mockImplementation((line: unknown) => void lines.push(String(line)));
  const token = await makeToken(gateway, ["admin"]);
  await gateway.send("GET", "/v1/tokens", { token });
  expect(lines).toHaveLength(2);
  expect(lines.join("\n")).not.toContain(token.slice(4, 20));
});
