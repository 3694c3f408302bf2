import { type CapnpValue, Embedded } from "../../../src/local/capnp.ts";
import { gatewayConfig, GATEWAY_SOCKET, renderConfig, type WorkerdOptions } from "../../../src/local/workerd-config.ts";
import type { Wrangler } from "../../../src/local/wrangler-file.ts";

export { GATEWAY_SOCKET };

type Fields = { readonly [field: string]: CapnpValue | undefined };

/**
 * The gateway's configuration with its D1 and its queue reached through entrypoints of its own that count. Without the
 * cron, which would fall on one run and not on another: the bench has it run, and counts it by itself.
 */
export function workerdConfig(wrangler: Wrangler, options: WorkerdOptions): string {
  const config = fieldsOf(gatewayConfig({ ...wrangler, triggers: { crons: [] } }, options));
  const services = listOf(config["services"]).map((service) => {
    const { name, worker } = fieldsOf(service);
    if (name !== wrangler.name) return service;
    const fields = fieldsOf(worker);
    const bindings = listOf(fields["bindings"]).map((binding) => counted(wrangler.name, binding));
    return { name, worker: { ...fields, bindings: [...bindings, ...countedServices(wrangler)] } };
  });
  return renderConfig({ ...config, services });
}

/** A binding, led through the counters where it leads to D1 or to the queue. */
function counted(worker: string, binding: CapnpValue): CapnpValue {
  const fields = fieldsOf(binding);
  if (fields["queue"] !== undefined) return { ...fields, queue: { name: worker, entrypoint: "CountedQueue" } };
  if (fields["wrapped"] === undefined) return binding;
  const inner = [{ name: "fetcher", service: { name: worker, entrypoint: "CountedD1" } }];
  return { ...fields, wrapped: { ...fieldsOf(fields["wrapped"]), innerBindings: inner } };
}

/** With exactly one database and one queue to send to, as the gateway has; another would go uncounted. */
function countedServices({ d1_databases: [database, ...databases], queues }: Wrangler): CapnpValue[] {
  const [producer, ...producers] = queues.producers;
  if (database === undefined || producer === undefined || databases.length + producers.length > 0) {
    throw new Error("the counters are made for one database and one queue");
  }
  return [
    { name: "COUNTED_D1", service: { name: "d1", props: { json: JSON.stringify({ database: database.database_name }) } } },
    { name: "COUNTED_QUEUE", service: { name: "queues", props: { json: JSON.stringify({ queue: producer.queue }) } } },
  ];
}

function fieldsOf(value: CapnpValue | undefined): Fields {
  if (typeof value !== "object" || Array.isArray(value) || value instanceof Embedded) throw new Error("not a structure of fields");
  return value as Fields;
}

function listOf(value: CapnpValue | undefined): readonly CapnpValue[] {
  if (!Array.isArray(value)) throw new Error("not a list");
  return value;
}
