import { connect, createServer, type Server, type Socket } from "node:net";

/** `refusing`: nobody listens, as when the service is stopped. `silent`: connections are taken, and never answered. */
export type Outage = "refusing" | "silent";

/** TCP in front of a service that keeps running, so that what a stop of it looks like can be had without losing its data. */
export type SeverableProxy = {
  readonly url: string;
  /** Breaks every connection, whatever is under way on it, and takes no more. */
  readonly cut: (outage: Outage) => Promise<void>;
  readonly mend: () => Promise<void>;
  /** Connections that were broken or met silence so far: that the outage was noticed at all. */
  readonly suffered: () => number;
  readonly close: () => Promise<void>;
};

/** Listens on loopback in front of that port. */
export async function startSeverableProxy(targetPort: number): Promise<SeverableProxy> {
  const sockets = new Set<Socket>();
  let silent = false;
  let suffered = 0;

  const track = (socket: Socket): void => {
    sockets.add(socket);
    // What is broken on one side is broken on the other by us; its error says nothing new.
    socket.on("error", () => socket.destroy());
    socket.on("close", () => sockets.delete(socket));
  };
  const server = createServer((client) => {
    track(client);
    if (silent) {
      suffered += 1;
      client.resume();
      return;
    }
    const service = connect(targetPort, "127.0.0.1");
    track(service);
    client.pipe(service).pipe(client);
    client.on("close", () => service.destroy());
    service.on("close", () => client.destroy());
  });
  const port = await listen(server, 0);

  const breakAll = (): void => {
    for (const socket of sockets) socket.destroy();
  };
  const stopListening = async (): Promise<void> => {
    if (!server.listening) return;
    await new Promise<void>((resolve) => {
      server.close(() => resolve());
      breakAll();
    });
  };
  return {
    url: `http://127.0.0.1:${port}`,
    cut: async (outage) => {
      suffered += sockets.size;
      silent = outage === "silent";
      if (!silent) return stopListening();
      breakAll();
      if (!server.listening) await listen(server, port);
    },
    mend: async () => {
      silent = false;
      breakAll();
      if (!server.listening) await listen(server, port);
    },
    suffered: () => suffered,
    close: stopListening,
  };
}

async function listen(server: Server, port: number): Promise<number> {
  await new Promise<void>((resolve, reject) => {
    server.once("error", reject);
    server.listen(port, "127.0.0.1", resolve);
  });
  const address = server.address();
  if (typeof address !== "object" || address === null) throw new Error("the proxy has no port");
  return address.port;
}
