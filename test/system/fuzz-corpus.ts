/** Texts that are no JSON, or JSON of a kind that parsers disagree about. */
export const MALFORMED_JSON: readonly string[] = [
  "", " ", "{", "}", "[", "]", "[}", "{]", "nul", "nulll", "True", "undefined", "NaN", "Infinity", "-", "+1", "01", "1.", ".5", "1e", "0x10",
  "'a'", '"', '"a', '"\\x41"', '"\\u12"', '"\\ud800"', '"\t"', '"\n"', "[1,]", "[,1]", "[1 2]", '{"a"}', '{"a":}', '{"a":1,}', '{a:1}',
  "{'a':1}", '{"a":1 "b":2}', '{"a":1}{"b":2}', "[] []", "// a comment\n{}", "/* */{}", "\ufeff{}", "\u0000", '{"a":1}\u0000', "<xml/>",
  '{"name":"a","name":"b"}', '{"__proto__":{"admin":true}}', '{"constructor":{"prototype":{}}}', '{"":""}', '{"\\u0000":1}',
  `${"[".repeat(5_000)}${"]".repeat(5_000)}`, `${'{"a":'.repeat(5_000)}1${"}".repeat(5_000)}`, `[${"1,".repeat(20_000)}1]`,
  "1e309", "-1e309", "9007199254740993", `${"9".repeat(400)}`, `"${"a".repeat(70_000)}"`, "null", "true", "0", '""', "[]", "{}",
];

/** Bytes that are no UTF-8. */
export const NOT_UTF8: readonly Uint8Array[] = [
  Uint8Array.of(0xff), Uint8Array.of(0xc0, 0x80), Uint8Array.of(0x22, 0xed, 0xa0, 0x80, 0x22), Uint8Array.of(0x7b, 0x22, 0xf8, 0x22, 0x3a, 0x31, 0x7d),
  Uint8Array.of(0xfe, 0xff, 0x00, 0x7b, 0x00, 0x7d), Uint8Array.of(0xf4, 0x90, 0x80, 0x80),
];

/** Strings that have broken something somewhere. */
export const ODD_STRINGS: readonly string[] = [
  "", " ", ".", "..", "/", "//", "../../etc/passwd", "..%2f..%2f", "%", "%00", "%zz", "\u0000", "\n", "\r\nx: y", "\t", "\u007f", "\u0085", "\u2028",
  "\u202e", "\ufeff", "\ufffd", "\ud800", "é", "e\u0301", "ß", "İ", "ﬀ", "𝒳", "👩‍👩‍👧‍👦", "ก็็็็็", "null", "undefined", "true", "NaN", "-0", "0", "-1", "1e9", "1e999", "0x1",
  "9007199254740993", "00", "1,000", "__proto__", "constructor", "toString", "hasOwnProperty", "' OR 1=1 --", "'; DROP TABLE tokens; --",
  '"', "`", "${7*7}", "{{7*7}}", "<script>alert(1)</script>", "javascript:alert(1)", "$or", "*", "**", "a.**", "a..b", ".a", "a.", "A_b-9", "a".repeat(129),
  "a".repeat(5_000), "orders", "orders.*", "default", "2026-01-01T00:00:00Z", "2026-13-45T99:99:99Z", "0000-01-01T00:00:00Z", "9999-12-31T23:59:59Z",
  "2026-01-01", "ep_00000000000000000000000000", "msg_01kgh2m8q0v7x3w5y9z1a2b3c4", "tok_", "AAAA", "====",
];

/** URLs that reach nobody outside: of an invalid form, of a reserved name, or of a loopback port that nobody has. */
export const ODD_URLS: readonly string[] = [
  "http://127.0.0.1:1/", "http://[::1]:1/", "http://0x7f.1:1/", "http://2130706433:1/", "http://127.0.0.1:1@127.0.0.1:1/", "https://user:word@a.invalid/",
  "https://a.invalid/", "https://a.invalid:0/", "https://a.invalid:65536/", "https://xn--a.invalid/", "https://a.invalid\\@b.invalid/", "https:///a.invalid",
  "https:a.invalid", "//a.invalid", "file:///etc/passwd", "data:text/plain,x", "ftp://a.invalid/", "http://", "https://[", "https://%00.invalid/",
  "https://a.invalid/%zz", "https://a.invalid/\u0000", "https://localhost:1/", "https://metadata.internal/", "HTTPS://A.INVALID/", " https://a.invalid/ ",
];

/** Request targets as they go over the wire. */
export const RAW_TARGETS: readonly string[] = [
  "/", "//", "///v1/tokens", "/v1", "/v1/", "/v1//tokens", "/v1/tokens/", "/v1/../v1/tokens", "/v1/./tokens", "/v1/tokens/..", "/v1/%2e%2e/v1/tokens",
  "/v1/tokens/%", "/v1/tokens/%z", "/v1/tokens/%zz", "/v1/tokens/%00", "/v1/tokens/%ff", "/v1/tokens/%c0%80", "/v1/tokens/%ed%a0%80", "/v1/tokens/a%2fb",
  "/v1/tokens/a%5cb", "/v1/tokens/a;b=c", "/v1/tokens/a?limit", "/v1/tokens?limit=1&limit=2", "/v1/tokens?limit[]=1", "/v1/tokens?limit[a]=1",
  "/v1/tokens?__proto__=1", "/v1/tokens?cursor=%00", "/v1/tokens?cursor=%ff", "/v1/tokens?%00=1", "/v1/tokens?=", "/v1/tokens?&&&", "/v1/tokens??", "/v1/tokens#x",
  "/v1/events/%E2%80%AE", "/v1/events/a%20b", "/v1/events/a%0d%0ab", "/v1/stream/%00", "/v1/stream/..", "/v1/stream/a/%2e%2e/b", "/v1/stream/%zz",
  "/v1/stream/topics/%ff", "/v1/consumers/%zz/offsets/topics/a", "/v1/queues/%ff/messages", "/v1/topics/%ff", "/in/%zz", "/in/%00", "/docs/%2e%2e/x", "/V1/TOKENS",
  `/v1/tokens/${"a".repeat(8_000)}`, `/v1/tokens?cursor=${"a".repeat(8_000)}`, `/v1/stream/${"a/".repeat(2_000)}`, "*", "http://other.example.com/v1/tokens",
];

/** Header lines, beside those that a request needs. */
export const RAW_HEADERS: readonly string[] = [
  "postern-tenant: ", "postern-tenant: __proto__", "postern-tenant: a\tb", "postern-tenant: \u00ff\u00fe", "postern-tenant: default, default",
  "idempotency-key: ", "idempotency-key: \u00ff", `idempotency-key: ${"k".repeat(300)}`, "idempotency-key: a b", "x-request-id: ../../x", `x-request-id: ${"x".repeat(500)}`,
  "content-type: ", "content-type: x", "content-type: application/json; charset=utf-16", "content-type: application/json, text/plain", "content-type: multipart/form-data",
  "content-type: multipart/form-data; boundary=x", "content-type: application/x-www-form-urlencoded", "content-type: application/cloudevents+json",
  "content-type: application/cloudevents-batch+json", "content-type: application/cloudevents+xml", "content-encoding: gzip", "accept: \u00ff", "accept: ;;;q=x", "accept: application/x-ndjson",
  "ce-specversion: 9.9", "ce-specversion: 1.0\r\nce-id: \r\nce-source: \r\nce-type: ", "ce-id: x", "postern-attribute-: x", "postern-attribute-a: \u00ff",
  `postern-attribute-${"n".repeat(300)}: x`, "traceparent: 00-0-0-00", "traceparent: \u00ff", "range: bytes=0-1", "if-none-match: *", "if-modified-since: never",
  "last-event-id: x", "stream-seq: \u00ff", "producer-id: x", "producer-epoch: -1", "stream-ttl: 1e9", "stream-forked-from: //", "expect: something", "origin: null",
  "cookie: __Host-x=1", "x-http-method-override: DELETE", "x-forwarded-for: 127.0.0.1", "cf-connecting-ip: ' OR 1=1",
];
