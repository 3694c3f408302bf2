import { describe, expect, it } from "vitest";
import type { Notification } from "../../../src/sns/parse.ts";
import { toMessage } from "../../../src/sns/to-message.ts";
import { attempt, notificationFields, NOW_MS, signedBody, TOPIC_ARN } from "./fixtures.ts";

const TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

async function notification(change: Record<string, string> = {}, attributes: object = {}): Promise<Notification> {
  const { verification } = await attempt({ ...signedBody({ ...notificationFields(), ...change }), MessageAttributes: attributes });
  if (!verification.ok || verification.message.type !== "Notification") throw new Error("not a notification");
  return verification.message;
}

describe("a notification becomes a message", () => {
  it("with its MessageId, subject, topic and time", async () => {
    expect(toMessage(await notification(), TRACE)).toMatchObject({
      id: "0ae5ddb2-7a1c-5f3c-8e43-8a1f9f9a2f10",
      deduplicate: true,
      traceparent: TRACE,
      event: { source: TOPIC_ARN, type: "orders", subject: "An order", time: new Date(NOW_MS).toISOString() },
    });
  });

  it("without a subject when there was none", async () => {
    const { verification } = await attempt(signedBody(Object.fromEntries(Object.entries(notificationFields()).filter(([key]) => key !== "Subject"))));
    if (!verification.ok || verification.message.type !== "Notification") throw new Error("not a notification");
    expect(toMessage(verification.message, TRACE).event).not.toHaveProperty("subject");
  });

  it("whose body is the bytes of Message, nothing parsed and written anew", async () => {
    for (const text of ['{"a": 1.0, "a": 12345678901234567890}', "\ufeff text \u0000\r\n", "", "😀"]) {
      const { body } = toMessage(await notification({ Message: text }), TRACE);
      expect(Buffer.from(body).equals(Buffer.from(text, "utf8"))).toBe(true);
    }
  });

  it("with its attributes, names in lower case, values as SNS writes them", async () => {
    const message = toMessage(
      await notification({}, {
        Colour: { Type: "String", Value: "red, ü" },
        ids: { Type: "String.Array", Value: '["a",1]' },
        count: { Type: "Number", Value: "1.50" },
        blob: { Type: "Binary", Value: "AAEC" },
        __proto__x: { Type: "String", Value: "y" },
      }),
      TRACE,
    );
    expect(message.attributes).toEqual({ colour: "red, ü", ids: '["a",1]', count: "1.50", blob: "AAEC", __proto__x: "y" });
  });

  it("an attribute named __proto__ is an attribute", async () => {
    const attributes: unknown = JSON.parse('{"__proto__": {"Type": "String", "Value": "x"}}');
    const message = toMessage(await notification({}, Object(attributes)), TRACE);
    expect(Object.entries(message.attributes)).toEqual([["__proto__", "x"]]);
  });

  const types: [message: string, expected: string][] = [
    ["hello", "text/plain; charset=UTF-8"],
    ['{"a":1}', "application/json"],
    [" \n[1, 2]", "application/json"],
    ['{"a":1', "text/plain; charset=UTF-8"],
    ["12", "text/plain; charset=UTF-8"],
    ['"text"', "text/plain; charset=UTF-8"],
    ["null", "text/plain; charset=UTF-8"],
    ["", "text/plain; charset=UTF-8"],
  ];
  for (const [message, expected] of types) {
    it(`of type ${expected} when it says ${JSON.stringify(message)}`, async () => {
      expect(toMessage(await notification({ Message: message }), TRACE).contentType).toBe(expected);
    });
  }

  it("of the type an attribute names, when that is a media type", async () => {
    for (const name of ["content-type", "contentType", "Content-Type"]) {
      const typed = await notification({}, { [name]: { Type: "String", Value: "application/xml; charset=utf-8" } });
      expect(toMessage(typed, TRACE).contentType).toBe("application/xml; charset=utf-8");
    }
    for (const value of ["xml", "a/b\r\nx-evil: 1", "a/b; \u00e9", `a/${"b".repeat(300)}`, "/", ""]) {
      const typed = await notification({ Message: "hi" }, { contentType: { Type: "String", Value: value } });
      expect(toMessage(typed, TRACE).contentType).toBe("text/plain; charset=UTF-8");
    }
    const binary = await notification({ Message: "hi" }, { contentType: { Type: "Binary", Value: "a/b" } });
    expect(toMessage(binary, TRACE).contentType).toBe("text/plain; charset=UTF-8");
  });
});
