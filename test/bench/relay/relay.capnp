# The whole relay: one Worker, its D1, and the network. Nothing stands between its socket and its code.
using Workerd = import "/workerd/workerd.capnp";

const config :Workerd.Config = (
  v8Flags = ["--min-semi-space-size=16", "--max-semi-space-size=32"],  # as the gateway has them
  services = [
    (name = "state", disk = (writable = true)),  # where: --directory-path state=…
    (name = "internet", network = (allow = ["public", "127.0.0.1/32"])),
    (name = "relay", worker = .relay),
    (name = "d1", worker = .d1),
  ],
  sockets = [
    (name = "relay", address = "127.0.0.1:0", http = (), service = "relay"),
    (name = "setup", address = "127.0.0.1:0", http = (), service = (name = "relay", entrypoint = "Setup")),
  ],
);

const relay :Workerd.Worker = (
  modules = [(name = "relay.js", esModule = embed "relay.js")],
  compatibilityDate = "2026-11-01",
  bindings = [
    (name = "DB", wrapped = (
      moduleName = "cloudflare-internal:d1-api",
      innerBindings = [(name = "fetcher", service = (name = "d1", props = (json = "{\"database\":\"relay\"}")))],
    )),
  ],
);

const d1 :Workerd.Worker = (
  modules = [(name = "d1.js", bundled = "/workerd/d1.js")],
  compatibilityDate = "2026-11-01",
  bindings = [(name = "DATABASE", durableObjectNamespace = "D1Database")],
  durableObjectNamespaces = [(className = "D1Database", uniqueKey = "relay-d1", enableSql = true)],
  durableObjectStorage = (localDisk = "state"),
);
