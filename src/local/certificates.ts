import { readdirSync } from "node:fs";
import { dirname, join, relative } from "node:path";
import type { LocalCertificate } from "./workerd-config.ts";

const CERTIFICATE = /^([A-Za-z_][A-Za-z0-9_]*)\.cert\.pem$/;

/**
 * The client certificates of a directory: each `<binding>.cert.pem` (leaf first) with its `<binding>.key.pem`. workerd
 * reads the files itself, so no key is copied. Throws an `Error` that names the key that is missing.
 */
export function certificatesIn(directory: string | null, configPath: string): LocalCertificate[] {
  if (directory === null) return [];
  const files = readdirSync(directory);
  const from = dirname(configPath);
  return files.flatMap((file) => {
    const binding = CERTIFICATE.exec(file)?.[1];
    if (binding === undefined) return [];
    const key = `${binding}.key.pem`;
    if (!files.includes(key)) throw new Error(`POSTERN_MTLS_DIR: ${file} has no ${key} beside it`);
    return [{ binding, certificatePath: relative(from, join(directory, file)), keyPath: relative(from, join(directory, key)) }];
  });
}
