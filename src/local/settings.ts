import { resolve } from "node:path";

/** What `npm start` is told by its environment. */
export type Settings = {
  /** 0: any that is free. */
  readonly port: number;
  readonly host: string;
  /** Absolute. */
  readonly dataDir: string;
  readonly demo: boolean;
  /** Where SQS and SNS are; null: an emulator of our own is started. */
  readonly sqsEndpoint: string | null;
  readonly snsEndpoint: string | null;
  /** `host:port` entries, as given. */
  readonly allowHosts: readonly string[];
  /** Where client certificates are, `<binding>.cert.pem` with `<binding>.key.pem`; absolute, null for none. */
  readonly certificateDirectory: string | null;
  /** Further authorities whose certificates receivers may have, PEM; absolute, null for none. */
  readonly authorityFile: string | null;
  /** Every variable that is handed on to the Worker, as given. */
  readonly handedOn: Readonly<Record<string, string>>;
};

const DEFAULT_PORT = 8787;
const MAX_PORT = 65_535;

/** Reads the environment; an empty variable is an absent one. Throws an `Error` that names what is malformed. */
export function readSettings(environment: Readonly<Record<string, string | undefined>>, workingDirectory: string): Settings {
  const given = (name: string): string | null => environment[name] || null;
  const handedOn = Object.entries(environment).filter(
    (entry): entry is [string, string] => /^(POSTERN|AWS)_/.test(entry[0]) && entry[1] !== undefined && entry[1] !== "",
  );
  return {
    port: parsePort(given("PORT")),
    host: given("POSTERN_HOST") ?? "127.0.0.1",
    dataDir: resolve(workingDirectory, given("POSTERN_DATA_DIR") ?? ".postern"),
    demo: given("POSTERN_DEMO") !== "0",
    sqsEndpoint: given("POSTERN_SQS_ENDPOINT"),
    snsEndpoint: given("POSTERN_SNS_ENDPOINT"),
    allowHosts: (given("POSTERN_ALLOW_HOSTS") ?? "").split(/[\s,]+/).filter((host) => host !== ""),
    certificateDirectory: pathOf(given("POSTERN_MTLS_DIR"), workingDirectory),
    authorityFile: pathOf(given("POSTERN_CA_FILE"), workingDirectory),
    handedOn: Object.fromEntries(handedOn),
  };
}

function pathOf(given: string | null, workingDirectory: string): string | null {
  return given === null ? null : resolve(workingDirectory, given);
}

function parsePort(text: string | null): number {
  if (text === null) return DEFAULT_PORT;
  const port = Number(text);
  if (!/^\d+$/.test(text) || port > MAX_PORT) throw new Error(`PORT is "${text}": it must be a number from 0 to ${MAX_PORT}`);
  return port;
}
