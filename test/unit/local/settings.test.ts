import { describe, expect, it } from "vitest";
import { readSettings } from "../../../src/local/settings.ts";

describe("readSettings", () => {
  it("has an answer for everything that is not set", () => {
    expect(readSettings({}, "/home/me/postern")).toEqual({
      port: 8787,
      host: "127.0.0.1",
      dataDir: "/home/me/postern/.postern",
      demo: true,
      sqsEndpoint: null,
      snsEndpoint: null,
      allowHosts: [],
      certificateDirectory: null,
      authorityFile: null,
      handedOn: {},
    });
  });

  it("takes files from where it was started", () => {
    const given = { POSTERN_MTLS_DIR: "certificates", POSTERN_CA_FILE: "/etc/ca.pem" };
    expect(readSettings(given, "/home/me")).toMatchObject({ certificateDirectory: "/home/me/certificates", authorityFile: "/etc/ca.pem" });
  });

  it("takes an empty variable for an absent one", () => {
    expect(readSettings({ PORT: "", POSTERN_HOST: "", POSTERN_SQS_ENDPOINT: "" }, "/")).toMatchObject({
      port: 8787,
      host: "127.0.0.1",
      sqsEndpoint: null,
      handedOn: {},
    });
  });

  it("hands every POSTERN_ and AWS_ variable on, and no other", () => {
    const { handedOn } = readSettings({ POSTERN_X: "1", AWS_REGION: "eu-west-1", HOME: "/root", XPOSTERN_Y: "2" }, "/");
    expect(handedOn).toEqual({ POSTERN_X: "1", AWS_REGION: "eu-west-1" });
  });

  it("splits the allowed hosts at commas and spaces", () => {
    expect(readSettings({ POSTERN_ALLOW_HOSTS: "127.0.0.1:9000, [::1]:9001" }, "/").allowHosts).toEqual(["127.0.0.1:9000", "[::1]:9001"]);
  });

  it("leaves the demo out for 0 only", () => {
    expect(readSettings({ POSTERN_DEMO: "0" }, "/").demo).toBe(false);
    expect(readSettings({ POSTERN_DEMO: "1" }, "/").demo).toBe(true);
  });

  it.each(["abc", "-1", "65536", "80.5", "1e3"])("refuses PORT=%s and names it", (port) => {
    expect(() => readSettings({ PORT: port }, "/")).toThrow(/PORT/);
  });

  it.each([["0", 0], ["65535", 65_535]])("takes PORT=%s", (text, port) => {
    expect(readSettings({ PORT: text }, "/").port).toBe(port);
  });
});
