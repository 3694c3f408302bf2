/** The protocol's reference server, in a process of its own: streams in files, each append synced to disk before its answer. */
import { DurableStreamTestServer } from "@durable-streams/server";

// It tells the console what it does, which is where the bench prints.
console.info = () => undefined;

const [dataDir] = process.argv.slice(2);
if (dataDir === undefined) throw new Error("where is it to keep its streams?");
const server = new DurableStreamTestServer({ port: 0, host: "127.0.0.1", dataDir });
const url = await server.start();
process.on("disconnect", () => process.exit(0));
process.send?.({ port: Number(new URL(url).port) });
