/** A certificate binding that an operator listed, and the one tenant that may name it; null: every tenant may. */
export type CertificateGrant = { readonly binding: string; readonly tenantId: string | null };

/**
 * The client certificates bound to the Worker (`mtls_certificates`). A certificate is an identity: who may name it can
 * send whatever it likes in that identity, to any address.
 */
export type ClientCertificates = {
  /** Makes requests that present the certificate; null when the tenant may not name it, or nobody bound it. */
  fetchWith(tenantId: string, binding: string): typeof fetch | null;
};

/** Whether a binding of the environment makes requests. Parsed here, for wrangler knows no names of bindings to come. */
export function isFetcher(binding: unknown): binding is { readonly fetch: typeof fetch } {
  return typeof binding === "object" && binding !== null && "fetch" in binding && typeof binding.fetch === "function";
}

/** @param env the Worker's environment, whose bindings `grants` name */
export function clientCertificates(grants: readonly CertificateGrant[], env: unknown): ClientCertificates {
  const bindings = new Map(Object.entries(env ?? {}));
  return {
    fetchWith(tenantId, name) {
      if (!grants.some((grant) => grant.binding === name && (grant.tenantId === null || grant.tenantId === tenantId))) return null;
      const binding = bindings.get(name);
      return isFetcher(binding) ? (input, init) => binding.fetch(input, init) : null;
    },
  };
}
