import { type CapnpValue, Embedded } from "../../../src/local/capnp.ts";
import { gatewayConfig, GATEWAY_SOCKET, renderConfig, type WorkerdOptions } from "../../../src/local/workerd-config.ts";
import type { Wrangler } from "../../../src/local/wrangler-file.ts";
import { FAULTS_MODULE } from "./faulty-bundle.ts";

export { GATEWAY_SOCKET };

type Fields = { readonly [field: string]: CapnpValue | undefined };

const FAULTS = "chaos-faults";
const CONTROL = "chaos-control";

/** The gateway's configuration with the test's Worker between the gateway and its D1 and its queue. */
export function workerdConfig(wrangler: Wrangler, options: WorkerdOptions): string {
  const config = fieldsOf(gatewayConfig(wrangler, options));
  const services = listOf(config["services"]).map((service) => {
    const { name, worker } = fieldsOf(service);
    if (name !== wrangler.name) return service;
    const fields = fieldsOf(worker);
    return { name, worker: { ...fields, bindings: listOf(fields["bindings"]).map(throughFaults) } };
  });
  const control = process.env["CHAOS_CONTROL"];
  if (control === undefined) throw new Error("CHAOS_CONTROL must say where the faults are decided");
  return renderConfig({
    ...config,
    services: [
      ...services,
      { name: CONTROL, external: { address: control, http: {} } },
      { name: FAULTS, worker: faults(wrangler) },
    ],
  });
}

/** A binding of the gateway, led through the test's Worker where it leads to D1 or to the queue. */
function throughFaults(binding: CapnpValue): CapnpValue {
  const fields = fieldsOf(binding);
  if (fields["queue"] !== undefined) return { ...fields, queue: { name: FAULTS, entrypoint: "FaultyQueue" } };
  if (fields["wrapped"] === undefined) return binding;
  const inner = [{ name: "fetcher", service: { name: FAULTS, entrypoint: "FaultyD1" } }];
  return { ...fields, wrapped: { ...fieldsOf(fields["wrapped"]), innerBindings: inner } };
}

/** With exactly one database and one queue to send to, as the gateway has; another would go unnoticed. */
function faults({ compatibility_date: compatibilityDate, d1_databases: [database, ...databases], queues }: Wrangler): CapnpValue {
  const [producer, ...producers] = queues.producers;
  if (database === undefined || producer === undefined || databases.length + producers.length > 0) {
    throw new Error("the faults are made for one database and one queue");
  }
  return {
    modules: [{ name: "faults.js", esModule: new Embedded(FAULTS_MODULE) }],
    compatibilityDate,
    bindings: [
      { name: "CONTROL", service: CONTROL },
      { name: "D1", service: { name: "d1", props: { json: JSON.stringify({ database: database.database_name }) } } },
      { name: "QUEUE", service: { name: "queues", props: { json: JSON.stringify({ queue: producer.queue }) } } },
    ],
  };
}

function fieldsOf(value: CapnpValue | undefined): Fields {
  if (typeof value !== "object" || Array.isArray(value) || value instanceof Embedded) throw new Error("not a structure of fields");
  return value as Fields;
}

function listOf(value: CapnpValue | undefined): readonly CapnpValue[] {
  if (!Array.isArray(value)) throw new Error("not a list");
  return value;
}
