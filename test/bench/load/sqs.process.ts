/**
 * The SQS emulator, a process of its own that keeps everything in memory: that of `npm start` waits for the disk at every
 * message, and the disk would be what is measured.
 */
import { buildApp } from "fauxqs";
import type { SqsAnswer } from "./sqs.ts";

const app = buildApp({ logger: false, host: "127.0.0.1" });
const url = await app.listen({ host: "127.0.0.1", port: 0 });
process.on("disconnect", () => process.exit(0));
process.send?.({ url } satisfies SqsAnswer);
