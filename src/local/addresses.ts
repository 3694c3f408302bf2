import { lookup } from "node:dns/promises";
import { createServer } from "node:net";

/** The IP addresses behind `host:port` entries and URLs: what workerd must be let connect to though not public. */
export async function addressesOf(hosts: readonly string[]): Promise<string[]> {
  const found = await Promise.all(hosts.map((host) => lookup(hostname(host), { all: true }).catch(() => [])));
  return [...new Set(found.flat().map(({ address }) => address))];
}

function hostname(host: string): string {
  const url = new URL(host.includes("://") ? host : `http://${host}`);
  return url.hostname.replace(/^\[|\]$/g, "");
}

/** `host:port` as a URL and workerd write it. */
export function hostAndPort(host: string, port: number): string {
  return host.includes(":") ? `[${host}]:${port}` : `${host}:${port}`;
}

/**
 * A port that is free now: the preferred one if it is, else any. The number must be known before workerd starts, for
 * one Worker's address is in the configuration of another.
 */
export async function freePort(host: string, preferred: number): Promise<number> {
  if (preferred !== 0 && (await portIsFree(host, preferred))) return preferred;
  return listenOnce(host, 0);
}

/** Whether a listener could have this port at this moment. */
export async function portIsFree(host: string, port: number): Promise<boolean> {
  try {
    await listenOnce(host, port);
    return true;
  } catch (error) {
    if (error instanceof Error && "code" in error && error.code === "EADDRINUSE") return false;
    throw error;
  }
}

function listenOnce(host: string, port: number): Promise<number> {
  return new Promise((resolve, reject) => {
    const server = createServer();
    server.once("error", reject);
    server.listen({ host, port, exclusive: true }, () => {
      const address = server.address();
      server.close(() => resolve(typeof address === "object" && address !== null ? address.port : port));
    });
  });
}
