import type { QueryAnswer } from "../delivery/attempt.ts";
import { type AnswerResult, rendezvousName, rendezvousStub } from "./contract.ts";

/**
 * Takes an answer to the caller of a query of this tenant: the 2xx response of a push member, or a reply. Throws when
 * the rendezvous can not be reached; whether the answer arrived is not known then.
 */
export async function answerQuery(
  env: Pick<Cloudflare.Env, "RENDEZVOUS">,
  tenantId: string,
  messageId: string,
  answer: QueryAnswer,
): Promise<AnswerResult> {
  return rendezvousStub(env.RENDEZVOUS, rendezvousName(tenantId, messageId)).answer(messageId, answer);
}
