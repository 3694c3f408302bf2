import fc from "fast-check";
import { describe, expect, it } from "vitest";
import {
  binaryHeaders,
  detectMode,
  type OutboundEvent,
  type ParsedEvent,
  type ParsedEvents,
  parseBatch,
  parseBinary,
  parseStructured,
  structuredBody,
} from "../../../src/messages/cloudevents.ts";

const REQUIRED = { "ce-specversion": "1.0", "ce-id": "A234", "ce-source": "/shop", "ce-type": "order.created" };
const ENVELOPE = { specversion: "1.0", id: "A234", source: "/shop", type: "order.created" };

const utf8 = (text: string): Uint8Array => new TextEncoder().encode(text);
const text = (bytes: Uint8Array): string => new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes);

function sole(parsed: ParsedEvents): ParsedEvent {
  if (!parsed.ok) throw new Error(JSON.stringify(parsed));
  const [event] = parsed.events;
  if (event === undefined || parsed.events.length !== 1) throw new Error("one event is expected");
  return event;
}

function pointers(parsed: ParsedEvents): string[] {
  if (parsed.ok) return [];
  expect(parsed.detail).not.toBe("");
  for (const { detail } of parsed.errors) expect(detail).not.toBe("");
  return parsed.errors.map(({ pointer }) => pointer);
}

/** An envelope with these literal members after the required ones. */
function envelope(members: string): Uint8Array {
  return utf8(`${JSON.stringify(ENVELOPE).slice(0, -1)}${members === "" ? "" : `,${members}`}}`);
}

describe("detectMode", () => {
  it.each<[Record<string, string>, string]>([
    [{ "content-type": "application/json" }, "none"],
    [{}, "none"],
    [{ "content-type": "application/json", ...REQUIRED }, "binary"],
    [{ "ce-id": "x" }, "binary"],
    [{ "ce-source": "x" }, "binary"],
    [{ "ce-subject": "x" }, "none"],
    [{ "content-type": "application/cloudevents+json" }, "structured"],
    [{ "content-type": "Application/CloudEvents+JSON; charset=UTF-8" }, "structured"],
    [{ "content-type": "application/cloudevents+json", ...REQUIRED }, "structured"],
    [{ "content-type": "application/cloudevents-batch+json; charset=utf-8" }, "batch"],
    [{ "content-type": "application/cloudevents+avro" }, "unsupported"],
    [{ "content-type": "application/cloudevents" }, "unsupported"],
    [{ "content-type": "application/cloudevents-batch+xml" }, "unsupported"],
  ])("%j is %s", (headers, mode) => {
    expect(detectMode(new Headers(headers))).toBe(mode);
  });
});

describe("binary mode", () => {
  const body = new Uint8Array([0xff, 0x00, 0x80]);

  it("keeps the bytes, the content type and every attribute", () => {
    const headers = new Headers({
      ...REQUIRED,
      "content-type": "application/octet-stream",
      "ce-subject": "order 7",
      "ce-time": "2018-04-05T17:31:00.123456789+02:00",
      "ce-dataschema": "https://example.com/schema#1",
      "ce-comexampleext": "v",
      "x-other": "no",
    });
    expect(sole(parseBinary(headers, body))).toEqual({
      id: "A234",
      event: {
        source: "/shop",
        type: "order.created",
        subject: "order 7",
        time: "2018-04-05T17:31:00.123456789+02:00",
        dataschema: "https://example.com/schema#1",
        comexampleext: "v",
      },
      contentType: "application/octet-stream",
      body,
    });
  });

  it("says application/octet-stream where no content type was sent", () => {
    expect(sole(parseBinary(new Headers(REQUIRED), body)).contentType).toBe("application/octet-stream");
  });

  it.each([
    ["Euro%20%E2%82%AC%20%F0%9F%98%80", "Euro € \u{1f600}"],
    ['"Euro%20%E2%82%AC"', "Euro €"],
    ['"a \\"b\\" \\\\"', 'a "b" \\'],
    ["100%", "100%"],
    ["100%25%32%35", "100%25"],
    ["%zz%4", "%zz%4"],
  ])("decodes the value %j once", (sent, decoded) => {
    expect(sole(parseBinary(new Headers({ ...REQUIRED, "ce-subject": sent }), body)).event["subject"]).toBe(decoded);
  });

  it("takes a lone ce-id as an ordinary message with an id", () => {
    const headers = new Headers({ "ce-id": "mine", "content-type": "text/plain" });
    expect(sole(parseBinary(headers, body))).toEqual({ id: "mine", event: {}, contentType: "text/plain", body });
  });

  it.each([["ce-specversion"], ["ce-id"], ["ce-source"], ["ce-type"]])("refuses an event without %s", (name) => {
    const headers = new Headers(REQUIRED);
    headers.delete(name);
    expect(pointers(parseBinary(headers, body))).toContain(`header:${name}`);
  });

  it.each([
    ["ce-specversion", "0.3"],
    ["ce-specversion", "1.0.2"],
    ["ce-id", ""],
    ["ce-type", ""],
    ["ce-source", ""],
    ["ce-source", "not a uri"],
    ["ce-subject", ""],
    ["ce-subject", "%FF"],
    ["ce-subject", "%C3"],
    ["ce-subject", "a%00b"],
    ["ce-subject", "a%0Ab"],
    ["ce-subject", "%EF%BF%BF"],
    ["ce-time", "yesterday"],
    ["ce-time", "2026-13-01T00:00:00Z"],
    ["ce-time", "2026-01-01T24:00:00Z"],
    ["ce-time", "2026-01-01 00:00:00Z"],
    ["ce-time", "2026-01-01T00:00:00"],
    ["ce-dataschema", "relative/schema"],
    ["ce-datacontenttype", "text/plain"],
    ["ce-data", "x"],
    ["ce-data_base64", "x"],
    ["ce-with-dash", "x"],
    ["ce-", "x"],
    [`ce-${"n".repeat(65)}`, "x"],
  ])("refuses %s: %j, and names the header", (name, value) => {
    const parsed = parseBinary(new Headers({ ...REQUIRED, [name]: value }), body);
    expect(parsed).toMatchObject({ ok: false, code: "invalid-request" });
    expect(pointers(parsed)).toEqual([`header:${name}`]);
  });
});

describe("structured mode", () => {
  it.each([
    '{"n":12345678901234567890.10, "n":1e400}',
    '{ "a" : [ 1.0 , -0 ] }',
    '"text \\u00e9 \\/"',
    "null",
    "0.10",
    '{"data":{"data":1},"specversion":"x"}',
    '["\\ud800"]',
    '"é\u2028"',
  ])("slices JSON data out as it was written: %s", (data) => {
    const event = sole(parseStructured(envelope(`"datacontenttype":"application/json" , "data" : ${data} \n`)));
    expect(text(event.body)).toBe(data);
    expect(event.contentType).toBe("application/json");
  });

  it("keeps attributes; booleans and integers become their text, null is absent", () => {
    const event = sole(
      parseStructured(
        envelope('"subject":"s\\u00e9","time":"2026-01-31T12:00:00Z","flag":true,"count":-2147483648,"unset":null,"dataschema":null'),
      ),
    );
    expect(event).toEqual({
      id: "A234",
      event: { source: "/shop", type: "order.created", subject: "sé", time: "2026-01-31T12:00:00Z", flag: "true", count: "-2147483648" },
      contentType: "application/octet-stream",
      body: new Uint8Array(),
    });
  });

  it.each([
    ['"data":{"a":1}', "application/json", '{"a":1}'],
    ['"datacontenttype":"application/vnd.x+json; charset=utf-8","data":"s"', "application/vnd.x+json; charset=utf-8", '"s"'],
    ['"datacontenttype":"text/xml","data":"<a b=\\"c\\"/>\\n"', "text/xml", '<a b="c"/>\n'],
    ['"datacontenttype":"text/plain","data":""', "text/plain", ""],
    ['"data_base64":"aGkhIQ=="', "application/octet-stream", "hi!!"],
    ['"datacontenttype":"application/json","data_base64":"e30="', "application/json", "{}"],
    ['"datacontenttype":"text/plain"', "text/plain", ""],
  ])("reads %s as %s", (members, contentType, body) => {
    const event = sole(parseStructured(envelope(members)));
    expect([event.contentType, text(event.body)]).toEqual([contentType, body]);
  });

  it("decodes data_base64 to any bytes", () => {
    expect(sole(parseStructured(envelope('"data_base64":"/wCA"'))).body).toEqual(new Uint8Array([0xff, 0x00, 0x80]));
  });

  it.each([
    ['"data":1,"data_base64":"AA=="', "/data"],
    ['"data_base64":1', "/data_base64"],
    ['"data_base64":"A"', "/data_base64"],
    ['"data_base64":"AAA"', "/data_base64"],
    ['"data_base64":"A A="', "/data_base64"],
    ['"data_base64":"_w=="', "/data_base64"],
    ['"datacontenttype":"text/plain","data":{"a":1}', "/data"],
    ['"datacontenttype":"text/plain","data":"\\ud800"', "/data"],
    ['"datacontenttype":"text/plain; charset=utf-16","data":"x"', "/data"],
    ['"datacontenttype":"nonsense","data":"x"', "/datacontenttype"],
    ['"datacontenttype":"text/plain\\r\\nx: y","data":"x"', "/datacontenttype"],
    ['"datacontenttype":7', "/datacontenttype"],
    ['"ext":1.5', "/ext"],
    ['"ext":2147483648', "/ext"],
    ['"ext":{}', "/ext"],
    ['"ext":["x"]', "/ext"],
    ['"Ext":"x"', "/Ext"],
    ['"a/b~":"x"', "/a~1b~0"],
    ['"":"x"', "/"],
    ['"ext":"\\u0007"', "/ext"],
    ['"ext":"\\ud800"', "/ext"],
    ['"id":"again"', "/id"],
    ['"\\u0069d":"again"', "/id"],
    ['"data":1,"data":2', "/data"],
  ])("refuses %s at %s", (members, pointer) => {
    const parsed = parseStructured(envelope(members));
    expect(parsed).toMatchObject({ ok: false, code: "invalid-request" });
    expect(pointers(parsed)).toContain(pointer);
  });

  it.each([
    ["specversion", '"1.1"'],
    ["specversion", "1.0"],
    ["id", '""'],
    ["id", "null"],
    ["id", "{}"],
    ["source", '""'],
    ["type", '""'],
  ])("refuses %s: %s", (name, literal) => {
    const members = Object.entries(ENVELOPE).map(([key, value]) => `"${key}":${key === name ? literal : JSON.stringify(value)}`);
    expect(pointers(parseStructured(utf8(`{${members.join(",")}}`)))).toContain(`/${name}`);
  });

  it("names all that is missing at once", () => {
    expect(pointers(parseStructured(utf8("{}")))).toEqual(["/specversion", "/id", "/source", "/type"]);
  });

  it.each(["", "{", '{"id":}', "text", '{"a":1}}'])("says that %j is malformed", (body) => {
    expect(parseStructured(utf8(body))).toMatchObject({ ok: false, code: "malformed-json" });
  });

  it.each(["[]", "7", "null"])("says that %j is no event", (body) => {
    expect(parseStructured(utf8(body))).toMatchObject({ ok: false, code: "invalid-request", errors: [{ pointer: "", detail: "must be an object" }] });
  });

  it("says that invalid UTF-8 is malformed", () => {
    expect(parseStructured(new Uint8Array([0x7b, 0xff, 0x7d]))).toMatchObject({ ok: false, code: "malformed-json" });
    expect(parseBatch(new Uint8Array([0x5b, 0xff, 0x5d]))).toMatchObject({ ok: false, code: "malformed-json" });
  });

  it("passes a byte order mark, which is none of the event's", () => {
    expect(sole(parseStructured(utf8(`\ufeff${text(envelope('"data":1'))}`))).id).toBe("A234");
  });
});

describe("batched mode", () => {
  it("takes any number of events, each with its own bytes", () => {
    const batch = `[ ${text(envelope('"data":1.0'))} ,\n${text(envelope('"data_base64":"AA=="'))} ]`;
    const parsed = parseBatch(utf8(batch));
    expect(parsed.ok && parsed.events.map(({ body }) => [...body])).toEqual([[...utf8("1.0")], [0]]);
    expect(parseBatch(utf8("[]"))).toEqual({ ok: true, events: [] });
  });

  it("refuses the whole batch for one event, and says which", () => {
    const good = text(envelope(""));
    expect(pointers(parseBatch(utf8(`[${good},${text(envelope('"ext":{}'))},7,${good}]`)))).toEqual(["/1/ext", "/2"]);
  });

  it.each(["", "[", "[1,]", "[{]"])("says that %j is malformed", (body) => {
    expect(parseBatch(utf8(body))).toMatchObject({ ok: false, code: "malformed-json" });
  });

  it("says that an event alone is no batch", () => {
    expect(parseBatch(utf8(text(envelope(""))))).toMatchObject({ ok: false, code: "invalid-request", errors: [{ pointer: "" }] });
  });
});

const MESSAGE: OutboundEvent = { id: "msg_1", topic: "orders.created", contentType: "application/json", timeMs: Date.UTC(2026, 0, 31, 12) };

describe("binaryHeaders", () => {
  it("makes an event of an ordinary message", () => {
    expect(binaryHeaders(MESSAGE)).toEqual({
      "ce-specversion": "1.0",
      "ce-id": "msg_1",
      "ce-source": "/topics/orders.created",
      "ce-type": "orders.created",
      "ce-time": "2026-01-31T12:00:00.000Z",
    });
  });

  it("keeps what the publisher said, and encodes what HTTP can not carry", () => {
    const event = { source: "arn:aws:sns:eu-west-1:1:t", type: "t", time: "2018-04-05T17:31:00Z", subject: 'Euro € \u{1f600} "100%"', ext: "v" };
    expect(binaryHeaders({ ...MESSAGE, event })).toEqual({
      "ce-specversion": "1.0",
      "ce-id": "msg_1",
      "ce-source": "arn:aws:sns:eu-west-1:1:t",
      "ce-type": "t",
      "ce-time": "2018-04-05T17:31:00Z",
      "ce-subject": "Euro%20%E2%82%AC%20%F0%9F%98%80%20%22100%25%22",
      "ce-ext": "v",
    });
  });

  it("is read back the same, whatever the text", () => {
    const printable = fc.string({ unit: "grapheme", minLength: 1 }).filter((value) => !/[\u0000-\u001f\u007f-\u009f]/.test(value));
    fc.assert(
      fc.property(printable, (subject) => {
        const sent = new Headers(binaryHeaders({ ...MESSAGE, event: { subject } }));
        expect(sole(parseBinary(sent, new Uint8Array())).event["subject"]).toBe(subject);
      }),
      { numRuns: 500 },
    );
  });
});

describe("structuredBody", () => {
  const structured = (contentType: string, body: Uint8Array): string => {
    const event = structuredBody({ ...MESSAGE, contentType }, body);
    expect(event.contentType).toBe("application/cloudevents+json; charset=utf-8");
    return text(event.body);
  };

  it("puts JSON data in byte for byte", () => {
    const data = ' {"n":1.0, "n":12345678901234567890,\r\n"e":1e400} ';
    expect(structured("application/json", utf8(data))).toBe(
      `{"specversion":"1.0","source":"/topics/orders.created","type":"orders.created","time":"2026-01-31T12:00:00.000Z","id":"msg_1","datacontenttype":"application/json","data":${data}}`,
    );
  });

  it.each<[string, Uint8Array, string]>([
    ["text/plain", utf8('a "b"\n\u2028é'), `"data":${JSON.stringify('a "b"\n\u2028é')}`],
    ["text/plain; charset=UTF-8", utf8("\ufeffx"), '"data":"\ufeffx"'],
    ["text/plain", new Uint8Array([0xff]), '"data_base64":"/w=="'],
    ["text/plain; charset=iso-8859-1", utf8("x"), '"data_base64":"eA=="'],
    ["application/json", utf8("{not json"), '"data_base64":"e25vdCBqc29u"'],
    ["application/json", utf8('{"a":1}}'), '"data_base64":"eyJhIjoxfX0="'],
    ["application/json", utf8('\ufeff"x"'), '"data_base64":"77u/Ingi"'],
    ["application/json", new Uint8Array([0x22, 0xff, 0x22]), '"data_base64":"Iv8i"'],
    ["application/json; charset=utf-16", utf8("1"), '"data_base64":"MQ=="'],
    ["application/problem+json", utf8("[1]"), '"data":[1]'],
    ["application/octet-stream", utf8("{}"), '"data_base64":"e30="'],
    ["image/png", new Uint8Array([0x89, 0x50]), '"data_base64":"iVA="'],
    ["not a media type", utf8("{}"), '"data_base64":"e30="'],
  ])("of %s with %j holds %s", (contentType, body, member) => {
    const json = structured(contentType, body);
    expect(json.endsWith(`,${member}}`)).toBe(true);
    expect(() => JSON.parse(json) as unknown).not.toThrow();
  });

  it("has no data for an empty body", () => {
    expect(JSON.parse(structured("application/json", new Uint8Array()))).not.toHaveProperty(["data"]);
    expect(structured("application/json", new Uint8Array())).not.toContain("data_base64");
  });

  it("can not be broken out of by JSON data that is not one value", () => {
    const attack = structured("application/json", utf8('1,"id":"forged"'));
    expect(JSON.parse(attack)).toMatchObject({ id: "msg_1", data_base64: btoa('1,"id":"forged"') });
  });

  it("is read back with the same bytes, whatever they are and are called", () => {
    const types = fc.constantFrom("application/json", "text/plain", "application/octet-stream", "application/x+json", "text/plain; charset=latin1");
    const bodies = fc.oneof(
      fc.uint8Array({ minLength: 1 }),
      fc.string({ unit: "binary", minLength: 1 }).map(utf8),
      fc.json().map((json) => utf8(` ${json}\n`)),
    );
    fc.assert(
      fc.property(types, bodies, (contentType, body) => {
        const event = sole(parseStructured(structuredBody({ ...MESSAGE, contentType }, body).body));
        expect(event.contentType).toBe(contentType);
        expect(event.id).toBe("msg_1");
        // white space around a JSON value is not part of it
        const compared = (bytes: Uint8Array): string =>
          contentType.endsWith("json") ? latin1(bytes).replace(/^[ \t\r\n]+|[ \t\r\n]+$/g, "") : latin1(bytes);
        expect(compared(event.body)).toBe(compared(body));
      }),
      { numRuns: 1000 },
    );
  });
});

/** One character a byte, so that any bytes compare. */
function latin1(bytes: Uint8Array): string {
  return Array.from(bytes, (byte) => String.fromCharCode(byte)).join("");
}
