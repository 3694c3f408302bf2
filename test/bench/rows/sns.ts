import { randomUUID } from "node:crypto";
import { textField } from "../../../src/local/api.ts";
import { signMessage, type SnsSimulator } from "../../../src/local/sns-simulator/index.ts";
import { ATTRIBUTE, BODY_BYTES, CONNECTIONS, newSubscribers, newTag, publishRun, warmUpOf } from "../fixture.ts";
import { postRequest } from "../load/http1.ts";
import { stampedBody } from "../load/stamp.ts";
import { type Load, measure } from "../measure.ts";
import { compare, inTurns } from "./compare.ts";
import type { Row, RowReport } from "./row.ts";
import { accountOf, sustainedPerSecond } from "./throughput.ts";

const DIRECT_TOPIC = "bench.sns-direct";
const SNS_TOPIC = "bench.sns-in";
/** Signing takes longer than verifying, so what is posted is signed beforehand: more than can be posted in that time. */
const SIGNED_PER_SECOND = 2500;
const SECONDS_FACTOR = 0.5;

/** Messages as SNS posts them, signatures and all, next to the same messages published directly. */
export const sns: Row = {
  name: "sns",
  async measure(bench): Promise<RowReport> {
    const subscribers = newSubscribers(bench.receiver, 1);
    await bench.gateway.subscribe(DIRECT_TOPIC, subscribers);
    await bench.gateway.subscribe(SNS_TOPIC, subscribers);
    const topicArn = `arn:aws:sns:${bench.sns.region}:${bench.sns.accountId}:postern-bench`;
    const source = await bench.gateway.api("POST", "/v1/sources", { kind: "sns", topicArns: [topicArn], topic: SNS_TOPIC });
    const path = `/in/${textField(source, "id")}`;
    const pacing = { kind: "closed", connections: CONNECTIONS, seconds: bench.seconds * SECONDS_FACTOR } as const;
    const push = async (paced: Load["pacing"]) => {
      const tag = newTag();
      const requests = signedPosts(bench.sns, topicArn, path, tag, Math.ceil(SIGNED_PER_SECOND * paced.seconds));
      const prepared = { kind: "prepared", requests } as const;
      return measure(bench, { system: bench.gateway, subscribers, tag, pacing: paced, requests: prepared, messagesPerRequest: 1 });
    };
    const sides = await inTurns(
      bench,
      { name: "direct", run: () => publishRun(bench, bench.gateway, DIRECT_TOPIC, subscribers, pacing) },
      { name: "SNS", run: () => push(warmUpOf(pacing)).then(() => push(pacing)) },
    );
    return {
      name: "sns",
      title: `SNS push, signature verified, 1 KiB, fan-out 1, ${CONNECTIONS} connections, next to a direct publish`,
      comparisons: [
        ...compare(sides, (run) => sustainedPerSecond(run, 1), {
          label: "accepted and delivered",
          unit: "messages/s",
          figure: "snsRatio",
          target: { atLeast: 0.7 },
        }),
        ...compare(sides, (run) => run.cpuMsPerDelivery, { label: "CPU, whole process tree", unit: "ms/message" }),
      ],
      ...accountOf(sides),
    };
  },
};

function signedPosts(simulator: SnsSimulator, topicArn: string, path: string, tag: string, count: number): Uint8Array[] {
  const subscriptionArn = `${topicArn}:${randomUUID()}`;
  return Array.from({ length: count }, (_, index) => {
    const fields = {
      Type: "Notification",
      MessageId: randomUUID(),
      TopicArn: topicArn,
      Message: stampedBody(tag, index, BODY_BYTES).toString("latin1"),
      Timestamp: new Date().toISOString(),
    };
    const body = {
      ...fields,
      SignatureVersion: "2",
      Signature: signMessage(fields, simulator.signingKey, "2"),
      SigningCertURL: simulator.certificateUrl,
      UnsubscribeURL: `https://sns.${simulator.region}.amazonaws.com/?Action=Unsubscribe&SubscriptionArn=${subscriptionArn}`,
      MessageAttributes: { [ATTRIBUTE.name]: { Type: "String", Value: ATTRIBUTE.value } },
    };
    const headers = {
      "x-amz-sns-message-type": fields.Type,
      "x-amz-sns-message-id": fields.MessageId,
      "x-amz-sns-topic-arn": topicArn,
      "x-amz-sns-subscription-arn": subscriptionArn,
      "content-type": "text/plain; charset=UTF-8",
    };
    return postRequest(path, headers, Buffer.from(JSON.stringify(body)));
  });
}
