import type { KeyRing } from "../crypto/keyring.ts";
import type { ClientCertificates } from "../delivery/client-certificates.ts";
import type { DnsGuard } from "../delivery/dns-guard.ts";
import type { GuardOptions } from "../delivery/address-guard.ts";

/** A change of the registry as the audit log has it; fields that name secrets are masked there. */
export type RegistryChange = {
  readonly action: string;
  readonly target: string;
  readonly before?: unknown;
  readonly after?: unknown;
};

/** What a change of the registry needs of the outside: of one request, for one tenant. */
export type RegistryWorld = {
  readonly db: D1Database;
  readonly keyRing: KeyRing;
  readonly guard: GuardOptions;
  /** Absent where names are not resolved. */
  readonly dns: DnsGuard | undefined;
  /** Absent where none is bound. */
  readonly certificates: ClientCertificates | undefined;
  /** The origin at which the gateway is reached. */
  readonly gatewayUrl: string;
  readonly tenantId: string;
  readonly nowMs: number;
  /** The audit entry of a change, to be written in one transaction with it. */
  readonly audit: (change: RegistryChange) => D1PreparedStatement;
};
