import "reflect-metadata";
import { webcrypto } from "node:crypto";
import * as x509 from "@peculiar/x509";

/** A certificate with its key, both PEM. */
export type Identity = { readonly certificate: string; readonly key: string };

const ALGORITHM = { name: "ECDSA", namedCurve: "P-256", hash: "SHA-256" };
const VALID = { notBefore: new Date(Date.now() - 3_600_000), notAfter: new Date(Date.now() + 24 * 3_600_000) };

x509.cryptoProvider.set(webcrypto as unknown as Parameters<typeof x509.cryptoProvider.set>[0]);

/** An authority of one test, which certifies servers and clients by name. */
export async function createAuthority(): Promise<{ readonly certificate: string; issue(name: string): Promise<Identity> }> {
  const keys = await newKeys();
  const root = await x509.X509CertificateGenerator.createSelfSigned({
    ...VALID, serialNumber: "01", name: "CN=authority of a test", keys, signingAlgorithm: ALGORITHM,
    extensions: [new x509.BasicConstraintsExtension(true, 1, true)],
  });
  let issued = 1;
  return {
    certificate: root.toString("pem"),
    async issue(name) {
      const own = await newKeys();
      const certificate = await x509.X509CertificateGenerator.create({
        ...VALID, serialNumber: `0${++issued}`, subject: `CN=${name}`, issuer: root.subject, publicKey: own.publicKey, signingKey: keys.privateKey,
        signingAlgorithm: ALGORITHM, extensions: [new x509.SubjectAlternativeNameExtension([{ type: "dns", value: name }])],
      });
      const key = x509.PemConverter.encode(await webcrypto.subtle.exportKey("pkcs8", own.privateKey), "PRIVATE KEY");
      return { certificate: certificate.toString("pem"), key };
    },
  };
}

function newKeys() {
  return webcrypto.subtle.generateKey(ALGORITHM, true, ["sign", "verify"]);
}
