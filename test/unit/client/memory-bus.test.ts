import { createMemoryBus } from "../../../src/client/index.ts";
import { busContract } from "./bus-contract.ts";

busContract("a bus in memory", async () => {
  const bus = createMemoryBus();
  return {
    bus,
    createQueue: async (name, options) => bus.createQueue(name, options),
    createEndpoint: async (options) => bus.createEndpoint(options).id,
  };
});
