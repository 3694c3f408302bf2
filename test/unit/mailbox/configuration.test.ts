import { describe, expect, it } from "vitest";
import { parseConfig } from "../../../src/config.ts";
import { openMailbox } from "../../../src/mailbox/open-mailbox.ts";

const KEYS = { POSTERN_ENCRYPTION_KEYS: `k:${btoa("k".repeat(32))}` };
const AWS = { AWS_ACCESS_KEY_ID: "AKID", AWS_SECRET_ACCESS_KEY: "secret" };

const mailbox = (env: Record<string, string>) => parseConfig({ ...KEYS, ...env }).mailbox;

describe("the configuration of the mailbox", () => {
  it.each([
    [{}, "durable-object"],
    [AWS, "sqs"],
    [{ POSTERN_SQS_ENDPOINT: "http://127.0.0.1:4566" }, "sqs"],
    [{ ...AWS, POSTERN_MAILBOX: "durable-object" }, "durable-object"],
    [{ POSTERN_MAILBOX: "sqs" }, "sqs"],
    [{ POSTERN_MAILBOX: "", AWS_ACCESS_KEY_ID: "" }, "durable-object"],
  ])("makes of %o the kind %s", (env, kind) => {
    expect(mailbox(env).kind).toBe(kind);
  });

  it("takes what AWS's own tools take", () => {
    expect(mailbox({})).toMatchObject({ awsRegion: "us-east-1", awsAccessKeyId: null, awsSecretAccessKey: null, awsSessionToken: null, queuePrefix: "postern" });
    expect(mailbox({ AWS_DEFAULT_REGION: "eu-west-1" }).awsRegion).toBe("eu-west-1");
    const given = { ...AWS, AWS_REGION: "eu-central-1", AWS_DEFAULT_REGION: "eu-west-1", AWS_SESSION_TOKEN: "token", POSTERN_QUEUE_PREFIX: "shop" };
    expect(mailbox(given)).toMatchObject({ awsRegion: "eu-central-1", awsAccessKeyId: "AKID", awsSecretAccessKey: "secret", awsSessionToken: "token", queuePrefix: "shop" });
  });

  it.each([
    ["POSTERN_MAILBOX", "rabbitmq"],
    ["POSTERN_SQS_ENDPOINT", "127.0.0.1:4566"],
    ["POSTERN_SQS_ENDPOINT", "file:///tmp/sqs"],
    ["POSTERN_QUEUE_PREFIX", "no.dots"],
    ["POSTERN_QUEUE_PREFIX", "x".repeat(21)],
  ])("names %s when it is `%s`, without the value", (name, value) => {
    expect(() => mailbox({ [name]: value })).toThrow(new RegExp(`^configuration: ${name}: (?!.*${value.slice(0, 8)})`));
  });

  it("opens one mailbox for one configuration", () => {
    const bindings = {} as Pick<Cloudflare.Env, "MAILBOXES" | "STREAMS">;
    const [one, other] = [parseConfig(KEYS), parseConfig({ ...KEYS, ...AWS })];
    expect(openMailbox(bindings, one)).toBe(openMailbox(bindings, one));
    expect(openMailbox(bindings, one).kind).toBe("durable-object");
    expect(openMailbox(bindings, other).kind).toBe("sqs");
  });
});
