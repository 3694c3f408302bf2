import { describe, expect, it } from "vitest";
import { MAX_SNS_BODY_BYTES } from "../../../src/sns/parse.ts";
import type { RefusalReason } from "../../../src/sns/refusal.ts";
import {
  attempt, CERTIFICATE_URL, confirmationFields, encode, type Fields, headersOf, HOST, identity, makeIdentity, MINUTE_MS,
  notificationFields, NOW_MS, servingCertificate, signedBody, TOPIC_ARN,
} from "./fixtures.ts";

const body = signedBody(notificationFields());

function without(fields: Fields, key: string): Fields {
  return Object.fromEntries(Object.entries(fields).filter(([name]) => name !== key));
}

function resigned(change: Record<string, string>): Record<string, string> {
  return signedBody({ ...notificationFields(), ...change });
}

describe("a delivery that SNS signed", () => {
  const types = [
    ["Notification", notificationFields()],
    ["Notification without a subject", without(notificationFields(), "Subject") as Record<string, string>],
    ["SubscriptionConfirmation", confirmationFields("SubscriptionConfirmation")],
    ["UnsubscribeConfirmation", confirmationFields("UnsubscribeConfirmation")],
  ] as const;
  for (const version of ["1", "2"] as const) {
    for (const [name, fields] of types) {
      it(`is accepted: ${name}, signature version ${version}`, async () => {
        const { verification, urls } = await attempt(signedBody(fields, version));
        expect(verification).toMatchObject({ ok: true, message: { type: fields["Type"], messageId: fields["MessageId"] } });
        expect(urls).toEqual([CERTIFICATE_URL]);
      });
    }
  }

  it("keeps what Message says to the character, control characters and all", async () => {
    const message = "\u0000 tab\t, line\r\nfeed, 😀, \u2028, \ufeff and {\"a\": 1.0, \"a\": 2}";
    const { verification } = await attempt(resigned({ Message: message }));
    expect(verification).toMatchObject({ ok: true, message: { message } });
  });

  it("is accepted in the partitions of China and of the US government, from their own hosts", async () => {
    for (const [arn, host] of [
      ["arn:aws-cn:sns:cn-north-1:123456789012:orders", "https://sns.cn-north-1.amazonaws.com.cn"],
      ["arn:aws-us-gov:sns:us-gov-west-1:123456789012:orders", "https://sns.us-gov-west-1.amazonaws.com"],
    ] as const) {
      const url = CERTIFICATE_URL.replace(HOST, host);
      const { verification, urls } = await attempt({ ...resigned({ TopicArn: arn }), SigningCertURL: url }, { policy: { topicArns: [arn] } });
      expect(verification.ok).toBe(true);
      expect(urls).toEqual([url]);
    }
  });

  it("carries its message attributes along, although they are not signed", async () => {
    const attributes = { colour: { Type: "String", Value: "red\nish" }, ids: { Type: "String.Array", Value: '["a",1]' } };
    const { verification } = await attempt({ ...body, MessageAttributes: attributes });
    expect(verification).toMatchObject({
      ok: true,
      message: { attributes: [{ name: "colour", type: "String", value: "red\nish" }, { name: "ids", type: "String.Array", value: '["a",1]' }] },
    });
  });

  it("is accepted at both ends of its time, 75 minutes old and 5 minutes ahead", async () => {
    for (const nowMs of [NOW_MS + 75 * MINUTE_MS, NOW_MS - 5 * MINUTE_MS]) {
      const wide = makeIdentity("rsa-2048", NOW_MS - 1e9, NOW_MS + 1e9);
      const { verification } = await attempt(signedBody(notificationFields(), "2", wide), { nowMs, respond: servingCertificate(wide.certificatePem) });
      expect(verification.ok).toBe(true);
    }
  });

  it("is accepted with exactly 2 MiB of body", async () => {
    const text = JSON.stringify(body);
    const { verification } = await attempt(text + " ".repeat(MAX_SNS_BODY_BYTES - text.length));
    expect(verification.ok).toBe(true);
  });
});

describe("a refused delivery names its reason and causes no fetch", () => {
  const text = JSON.stringify(body);
  const invalidUtf8 = encode(text.replace("An order", "An \u00ff order")).map((byte) => (byte === 0xc3 ? 0xff : byte));
  const attribute = { Type: "String", Value: "red" };
  const cases: [name: string, reason: RefusalReason, body: Fields | string | Uint8Array][] = [
    ["body over 2 MiB", "body-too-large", text + " ".repeat(MAX_SNS_BODY_BYTES + 1 - text.length)],
    ["body that is not UTF-8", "invalid-utf8", invalidUtf8],
    ["byte order mark", "malformed-json", `\ufeff${text}`],
    ["empty body", "malformed-json", ""],
    ["cut body", "malformed-json", text.slice(0, -1)],
    ["something after the object", "malformed-json", `${text}{}`],
    ["bottomless nesting", "malformed-json", `{"Type":${"[".repeat(100_000)}`],
    ["array", "not-an-object", "[]"],
    ["null", "not-an-object", "null"],
    ["string", "not-an-object", '"Notification"'],
    ["duplicate key", "duplicate-key", text.replace("{", '{"Message":"other",')],
    ["duplicate key, written as an escape", "duplicate-key", text.replace("{", '{"Messag\\u0065":"other",')],
    ["duplicate key in MessageAttributes", "duplicate-key", text.replace("{", '{"MessageAttributes":{"a":{"Type":"String","Value":"1"},"a":{"Type":"String","Value":"1"}},')],
    ["duplicate key in one attribute", "duplicate-key", text.replace("{", '{"MessageAttributes":{"a":{"Type":"String","Value":"1","Value":"2"}},')],
    ["unknown key", "unknown-key", { ...body, Extra: "x" }],
    ["key in the wrong case", "unknown-key", { ...body, message: "x" }],
    ["__proto__", "unknown-key", text.replace("{", '{"__proto__":"x",')],
    ["Token in a notification", "unknown-key", { ...body, Token: "x" }],
    ["Subject in a confirmation", "unknown-key", { ...signedBody(confirmationFields("SubscriptionConfirmation")), Subject: "x" }],
    ["MessageAttributes in a confirmation", "unknown-key", { ...signedBody(confirmationFields("SubscriptionConfirmation")), MessageAttributes: {} }],
    ["no Type", "unknown-type", without(body, "Type")],
    ["unknown Type", "unknown-type", { ...body, Type: "Notice" }],
    ["Type that is an inherited name", "unknown-type", { ...body, Type: "toString" }],
    ...["MessageId", "TopicArn", "Message", "Timestamp", "SignatureVersion", "Signature", "SigningCertURL"].map(
      (key): [string, RefusalReason, Fields] => [`no ${key}`, "missing-field", without(body, key)],
    ),
    ...["Token", "SubscribeURL"].map((key): [string, RefusalReason, Fields] => [
      `no ${key} in a confirmation`, "missing-field", without(signedBody(confirmationFields("SubscriptionConfirmation")), key),
    ]),
    ["field that is null", "field-not-a-string", { ...body, Subject: null }],
    ["field that is a number", "field-not-a-string", { ...body, SignatureVersion: 1 }],
    ["field that is an object", "field-not-a-string", { ...body, Message: { a: 1 } }],
    ["lone surrogate in Message", "lone-surrogate", { ...body, Message: "\ud800" }],
    ["lone surrogate in an unsigned field", "lone-surrogate", { ...body, UnsubscribeURL: "\udc00" }],
    ["line feed in Subject", "control-character", resigned({ Subject: "a\nb" })],
    ["DEL in Subject", "control-character", resigned({ Subject: "a\u007fb" })],
    ["C1 control in Subject", "control-character", resigned({ Subject: "a\u0085b" })],
    ["line feed in MessageId", "control-character", resigned({ MessageId: `${body["MessageId"]}\n` })],
    ["line feed in TopicArn", "control-character", resigned({ TopicArn: `${TOPIC_ARN}\n` })],
    ["line feed in Timestamp", "control-character", resigned({ Timestamp: `${body["Timestamp"]}\n` })],
    ["line feed in Token", "control-character", signedBody({ ...confirmationFields("SubscriptionConfirmation"), Token: "a\nb" })],
    ["line feed in SubscribeURL", "control-character", signedBody({ ...confirmationFields("SubscriptionConfirmation"), SubscribeURL: "a\nb" })],
    ["MessageId that is no UUID", "malformed-message-id", resigned({ MessageId: "1" })],
    ["Timestamp without milliseconds", "malformed-timestamp", resigned({ Timestamp: "2026-11-20T12:00:00Z" })],
    ["Timestamp with an offset", "malformed-timestamp", resigned({ Timestamp: "2026-11-20T12:00:00.000+00:00" })],
    ["Timestamp of no day", "malformed-timestamp", resigned({ Timestamp: "2026-02-30T12:00:00.000Z" })],
    ["Timestamp of no hour", "malformed-timestamp", resigned({ Timestamp: "2026-11-20T25:00:00.000Z" })],
    ...[
      "orders", "arn:aws:sqs:eu-central-1:123456789012:orders", "arn:aws:sns:eu-central-1:12345678901:orders",
      "arn:aws:sns::123456789012:orders", "arn:aws:sns:eu-central-1:123456789012:", "arn:aws:sns:eu-central-1:123456789012:or.ders",
      "arn:aws:sns:eu-central-1:123456789012:orders:0ae5ddb2-7a1c-5f3c-8e43-8a1f9f9a2f10", "arn:aws-mars:sns:eu-central-1:123456789012:orders",
      "arn:constructor:sns:eu-central-1:123456789012:orders", "arn:aws:sns:evil.example/eu-central-1:123456789012:orders",
      `arn:aws:sns:eu-central-1:123456789012:${"o".repeat(257)}`,
    ].map((arn): [string, RefusalReason, Fields] => [`TopicArn ${arn.slice(0, 80)}`, "malformed-topic-arn", resigned({ TopicArn: arn })]),
    ["attributes that are a string", "malformed-attributes", { ...body, MessageAttributes: "{}" }],
    ["attributes that are null", "malformed-attributes", { ...body, MessageAttributes: null }],
    ["attributes that are an array", "malformed-attributes", { ...body, MessageAttributes: [attribute] }],
    ["attribute without a value", "malformed-attributes", { ...body, MessageAttributes: { a: { Type: "String" } } }],
    ["attribute whose value is a number", "malformed-attributes", { ...body, MessageAttributes: { a: { ...attribute, Value: 1 } } }],
    ["attribute with an unknown key", "malformed-attributes", { ...body, MessageAttributes: { a: { ...attribute, Extra: "x" } } }],
    ["attribute with a lone surrogate", "malformed-attributes", { ...body, MessageAttributes: { a: { ...attribute, Value: "\ud800" } } }],
    ["attribute whose name is no name", "malformed-attributes", { ...body, MessageAttributes: { "a\nb": attribute } }],
    ["Message over 1 MiB", "message-too-large", resigned({ Message: "é".repeat(512 * 1024 + 1) })],
    ["signature version 3", "unknown-signature-version", { ...body, SignatureVersion: "3" }],
    ["signature version 01", "unknown-signature-version", { ...body, SignatureVersion: "01" }],
    ["empty signature", "signature-not-canonical", { ...body, Signature: "" }],
    ["signature with a line feed", "signature-not-canonical", { ...body, Signature: `${body["Signature"]}\n` }],
    ["signature without its padding", "signature-not-canonical", { ...body, Signature: body["Signature"]?.replace(/=+$/, "") }],
    ["signature in base64url", "signature-not-canonical", { ...body, Signature: body["Signature"]?.replace(/^../, "-_") }],
    ["signature with unused bits set", "signature-not-canonical", { ...body, Signature: body["Signature"]?.replace(/.==$/, "B==") }],
    ["signature with padding inside", "signature-not-canonical", { ...body, Signature: `AA==${body["Signature"]}` }],
  ];
  for (const [name, reason, broken] of cases) {
    it(`${reason}: ${name}`, async () => {
      const headers = broken instanceof Uint8Array || typeof broken === "string" ? headersOf(body) : headersOf(sendable(broken));
      const { verification, urls } = await attempt(broken, { headers });
      expect(verification).toEqual({ ok: false, kind: "refused", reason });
      expect(urls).toEqual([]);
    });
  }

  it("raw-delivery: the header alone is enough", async () => {
    for (const value of ["true", "false", ""]) {
      const { verification, urls } = await attempt(body, { headers: { ...headersOf(body), "x-amz-sns-rawdelivery": value } });
      expect(verification).toEqual({ ok: false, kind: "refused", reason: "raw-delivery" });
      expect(urls).toEqual([]);
    }
  });

  const headerCases: [header: string, reason: RefusalReason, other: string][] = [
    ["x-amz-sns-message-type", "type-header-mismatch", "SubscriptionConfirmation"],
    ["x-amz-sns-topic-arn", "topic-header-mismatch", `${TOPIC_ARN}2`],
    ["x-amz-sns-message-id", "message-id-header-mismatch", "1f0a9d34-91b6-4a5e-a3b8-1f2b6a7c8d90"],
  ];
  for (const [header, reason, other] of headerCases) {
    it(`${reason}: ${header} absent, different, or twice`, async () => {
      const right = headersOf(body);
      const { [header]: same, ...rest } = right;
      for (const headers of [rest, { ...rest, [header]: other }, { ...rest, [header]: `${same}, ${same}` }]) {
        const { verification, urls } = await attempt(body, { headers });
        expect(verification).toEqual({ ok: false, kind: "refused", reason });
        expect(urls).toEqual([]);
      }
    });
  }

  it("topic-not-allowed: the allow-list is exact", async () => {
    for (const arn of [`${TOPIC_ARN}2`, TOPIC_ARN.slice(0, -1), TOPIC_ARN.replace("orders", "Orders"), "arn:aws:sns:eu-central-1:999999999999:orders"]) {
      const { verification, urls } = await attempt(resigned({ TopicArn: arn }));
      expect(verification).toEqual({ ok: false, kind: "refused", reason: "topic-not-allowed" });
      expect(urls).toEqual([]);
    }
  });

  it("signature-version-too-low: version 1 where the source says minVersion 2", async () => {
    const { verification, urls } = await attempt(body, { policy: { minVersion: 2 } });
    expect(verification).toEqual({ ok: false, kind: "refused", reason: "signature-version-too-low" });
    expect(urls).toEqual([]);
    expect((await attempt(signedBody(notificationFields(), "2"), { policy: { minVersion: 2 } })).verification.ok).toBe(true);
  });

  it("too-old and too-far-ahead: a millisecond beyond is too much", async () => {
    for (const [nowMs, reason] of [
      [NOW_MS + 75 * MINUTE_MS + 1, "too-old"],
      [NOW_MS - 5 * MINUTE_MS - 1, "too-far-ahead"],
    ] as const) {
      const { verification, urls } = await attempt(body, { nowMs });
      expect(verification).toEqual({ ok: false, kind: "refused", reason });
      expect(urls).toEqual([]);
    }
  });

  const name = CERTIFICATE_URL.slice(HOST.length + 1);
  const certificateUrls = [
    `http://sns.eu-central-1.amazonaws.com/${name}`, `HTTPS://sns.eu-central-1.amazonaws.com/${name}`, `https://SNS.eu-central-1.amazonaws.com/${name}`,
    `https://sns.eu-west-1.amazonaws.com/${name}`, `https://sns.eu-central-1.amazonaws.com.cn/${name}`, `https://sns.eu-central-1.amazonaws.com./${name}`,
    `https://sns.eu-central-1.amazonaws.com.evil.example/${name}`, `https://evil.example/${name}`, `https://evil.example/sns.eu-central-1.amazonaws.com/${name}`,
    `https://sns.eu-central-1.amazonaws.com@evil.example/${name}`, `https://evil.example@sns.eu-central-1.amazonaws.com/${name}`,
    `https://sns.eu-central-1.amazonaws.com:443/${name}`, `https://sns.eu-central-1.amazonaws.com//${name}`, `https://sns.eu-central-1.amazonaws.com/a/../${name}`,
    `https://sns.eu-central-1.amazonaws.com\\@evil.example/${name}`, `${CERTIFICATE_URL}?`, `${CERTIFICATE_URL}#`, `${CERTIFICATE_URL}?a=1`, ` ${CERTIFICATE_URL}`,
    `${CERTIFICATE_URL}\n`, CERTIFICATE_URL.replace(".pem", ".PEM"), CERTIFICATE_URL.replace(".pem", ".crt"), CERTIFICATE_URL.replace("Simple", "simple"),
    CERTIFICATE_URL.replace("-", "%2D"), CERTIFICATE_URL.replace(/[0-9a-f]\.pem/, ".pem"), CERTIFICATE_URL.replace(".pem", "0.pem"),
    CERTIFICATE_URL.replace(/[0-9a-f]\.pem/, "g.pem"), CERTIFICATE_URL.replace(/[0-9a-f]\.pem/, "A.pem"), CERTIFICATE_URL.replace(/[0-9a-f]\.pem/, "１.pem"), "",
  ];
  for (const url of certificateUrls) {
    it(`certificate-url-mismatch: ${JSON.stringify(url)}`, async () => {
      const { verification, urls } = await attempt({ ...body, SigningCertURL: url });
      expect(verification).toEqual({ ok: false, kind: "refused", reason: "certificate-url-mismatch" });
      expect(urls).toEqual([]);
    });
  }
});

describe("a certificate that is not to be trusted", () => {
  const foreign = "https://evil.example/SimpleNotificationService-00000000000000000000000000000000.pem";
  const weak = makeIdentity("rsa-1024");
  const curve = makeIdentity("ec");
  const expired = makeIdentity("rsa-2048", NOW_MS - 2 * MINUTE_MS, NOW_MS - 1000);
  const early = makeIdentity("rsa-2048", NOW_MS + 1000, NOW_MS + MINUTE_MS);
  const pem = identity.certificatePem;
  const der = Buffer.from(pem.replace(/-----[^-]+-----|\s/g, ""), "base64");
  const rewrap = (bytes: Buffer): string => `-----BEGIN CERTIFICATE-----\n${bytes.toString("base64")}\n-----END CERTIFICATE-----\n`;
  const cases: [name: string, reason: RefusalReason, respond: () => Response, signer?: typeof identity][] = [
    ["a redirect, which is not followed", "certificate-redirected", () => new Response(null, { status: 302, headers: { location: foreign } })],
    ["more than 10 KiB", "certificate-too-large", () => new Response(pem + " ".repeat(10 * 1024 + 1 - pem.length))],
    ["an empty file", "certificate-malformed", () => new Response("")],
    ["a page of HTML", "certificate-malformed", () => new Response("<html></html>")],
    ["PEM that is not base 64", "certificate-malformed", () => new Response(pem.replace(/\n/, "\nA"))],
    ["DER that is cut", "certificate-malformed", () => new Response(rewrap(der.subarray(0, 200)))],
    ["DER with something after it", "certificate-malformed", () => new Response(rewrap(Buffer.concat([der, Buffer.from([0])])))],
    ["a key file", "certificate-malformed", () => new Response(pem.replaceAll("CERTIFICATE", "PUBLIC KEY"))],
    ["an RSA key of 1,024 bits", "certificate-key-not-rsa-2048", servingCertificate(weak.certificatePem), weak],
    ["a key that is not RSA", "certificate-key-not-rsa-2048", servingCertificate(curve.certificatePem)],
    ["dates that are over", "certificate-expired", servingCertificate(expired.certificatePem), expired],
    ["dates that have not begun", "certificate-not-yet-valid", servingCertificate(early.certificatePem), early],
    ["another key than the one that signed", "signature-mismatch", servingCertificate(makeIdentity("rsa-2048").certificatePem)],
  ];
  for (const [name, reason, respond, signer] of cases) {
    it(`${reason}: ${name}`, async () => {
      const { verification, urls } = await attempt(signedBody(notificationFields(), "2", signer), { respond });
      expect(verification).toEqual({ ok: false, kind: "refused", reason });
      expect(urls).toEqual([CERTIFICATE_URL]);
    });
  }

  it("is accepted at exactly 10 KiB", async () => {
    const { verification } = await attempt(body, { respond: servingCertificate(pem + " ".repeat(10 * 1024 - pem.length)) });
    expect(verification.ok).toBe(true);
  });
});

describe("a certificate that could not be fetched leaves the delivery undecided", () => {
  const cases: [name: string, respond: () => Response][] = [
    ["404", () => new Response("no", { status: 404 })],
    ["429", () => new Response("slow down", { status: 429 })],
    ["500 with a certificate in it", () => new Response(identity.certificatePem, { status: 500 })],
    ["no connection", () => { throw new TypeError("fetch failed"); }],
    ["a body that breaks off", () => new Response(new ReadableStream({ pull: (controller) => controller.error(new Error("reset")) }))],
  ];
  for (const [name, respond] of cases) {
    it(name, async () => {
      const { verification } = await attempt(body, { respond });
      expect(verification).toEqual({ ok: false, kind: "cannot-judge", reason: "certificate-not-fetched" });
    });
  }
});

describe("a signature that does not fit: signature-mismatch", () => {
  const cases: [name: string, forged: Fields][] = [
    ...["Message", "Subject"].map((key): [string, Fields] => [`${key} changed`, { ...body, [key]: "changed" }]),
    ["MessageId changed", { ...body, MessageId: "1f0a9d34-91b6-4a5e-a3b8-1f2b6a7c8d90" }],
    ["Timestamp changed", { ...body, Timestamp: new Date(NOW_MS + 1).toISOString() }],
    ["Subject taken away", without(body, "Subject")],
    ["version 1 called 2", { ...body, SignatureVersion: "2" }],
    ["version 2 called 1", { ...signedBody(notificationFields(), "2"), SignatureVersion: "1" }],
    ["one bit of it changed", { ...body, Signature: body["Signature"]?.replace(/^./, (first) => (first === "A" ? "B" : "A")) }],
    ["cut to half", { ...body, Signature: body["Signature"]?.slice(0, 172) }],
    [
      "a confirmation made of a notification",
      { ...signedBody(confirmationFields("SubscriptionConfirmation")), Signature: body["Signature"] },
    ],
    ["one type called the other", { ...signedBody(confirmationFields("UnsubscribeConfirmation")), Type: "SubscriptionConfirmation" }],
    ["SubscribeURL changed", { ...signedBody(confirmationFields("SubscriptionConfirmation")), SubscribeURL: "https://evil.example/" }],
    ["Token changed", { ...signedBody(confirmationFields("SubscriptionConfirmation")), Token: "x" }],
    ["a Message that spells out the fields after it", { ...body, Message: `${body["Message"]}\nMessageId\n${body["MessageId"]}\nSubject\nAn order` }],
  ];
  for (const [name, forged] of cases) {
    it(name, async () => {
      const { verification, urls } = await attempt(forged);
      expect(verification).toEqual({ ok: false, kind: "refused", reason: "signature-mismatch" });
      expect(urls).toEqual([CERTIFICATE_URL]);
    });
  }
});

/** Headers can not hold line feeds; such a body is refused before they are looked at. */
function sendable(fields: Fields): Fields {
  return Object.fromEntries(Object.entries(fields).map(([key, value]) => [key, String(value).replace(/[^\x20-\x7e]/g, "")]));
}
