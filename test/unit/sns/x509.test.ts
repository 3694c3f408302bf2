import { X509Certificate } from "node:crypto";
import { describe, expect, it } from "vitest";
import { readCertificate } from "../../../src/sns/x509.ts";
import { identity, makeIdentity } from "./fixtures.ts";

describe("reading a certificate", () => {
  it("agrees with Node's own reading, before and after the year 2050", () => {
    for (const [notBeforeMs, notAfterMs] of [
      [Date.UTC(1999, 0, 31, 23, 59, 59), Date.UTC(2049, 11, 31, 23, 59, 59)],
      [Date.UTC(2050, 0, 1), Date.UTC(2099, 1, 28, 1, 2, 3)],
    ] as const) {
      const { certificatePem } = makeIdentity("rsa-2048", notBeforeMs, notAfterMs);
      const oracle = new X509Certificate(certificatePem);
      const read = readCertificate(certificatePem);
      expect(read).toMatchObject({ notBeforeMs, notAfterMs });
      expect([oracle.validFromDate.getTime(), oracle.validToDate.getTime()]).toEqual([notBeforeMs, notAfterMs]);
      expect(Buffer.from(read?.publicKeyInfo ?? []).equals(oracle.publicKey.export({ type: "spki", format: "der" }))).toBe(true);
    }
  });

  it("reads the first of several, with text around them", () => {
    const other = makeIdentity("rsa-2048").certificatePem;
    const read = readCertificate(`subject=CN\n${identity.certificatePem}\n${other}`);
    expect(read).toEqual(readCertificate(identity.certificatePem));
  });

  it("answers null, and never throws, whatever byte of it is cut or changed", () => {
    const der = Buffer.from(identity.certificatePem.replace(/-----[^-]+-----|\s/g, ""), "base64");
    const wrap = (bytes: Buffer): string => `-----BEGIN CERTIFICATE-----\n${bytes.toString("base64")}\n-----END CERTIFICATE-----`;
    for (let length = 1; length < der.length; length++) expect(readCertificate(wrap(der.subarray(0, length)))).toBeNull();
    for (let index = 0; index < der.length; index++) {
      for (const value of [0x00, 0x30, 0x7f, 0x80, 0x84, 0xff]) {
        const changed = Buffer.from(der);
        changed[index] = value;
        expect(() => readCertificate(wrap(changed))).not.toThrow();
      }
    }
  });
});
