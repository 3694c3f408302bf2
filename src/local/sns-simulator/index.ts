export { makeCertificate, makeSigningIdentity, type SigningIdentity } from "./certificate.ts";
export type { PostReport } from "./poster.ts";
export { type MessageFields, signMessage, type SignatureVersion } from "./sign-message.ts";
export { type SnsSimulator, type SnsSimulatorOptions, startSnsSimulator } from "./simulator.ts";
