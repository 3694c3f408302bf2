import { DEMO_SNS_TOPIC } from "./demo.ts";
import type { Emulators } from "./emulators.ts";
import type { Settings } from "./settings.ts";
import type { WorkerEnvironment } from "./worker-environment.ts";

export type Shown = {
  readonly gatewayUrl: string;
  readonly subscriberPort: number | null;
  readonly environment: WorkerEnvironment;
  readonly emulators: Emulators;
  readonly settings: Settings;
};

/** What a newcomer can do next: commands that work as they stand. */
export function tryThis({ gatewayUrl, subscriberPort, environment, emulators, settings }: Shown): string {
  const token = environment.tokenIsOurs ? environment.token : "$POSTERN_ADMIN_TOKEN";
  const topic = subscriberPort === null ? "orders.completed" : "demo.hello";
  const lines = [
    "",
    ...(environment.tokenIsOurs ? [`Operator token   ${environment.token}  (kept in the data directory)`] : []),
    `API              ${gatewayUrl}/docs`,
    ...(subscriberPort === null ? [] : [`Demo subscriber  http://127.0.0.1:${subscriberPort}/`]),
    ...(emulators.sns === null ? [] : [`SNS simulator    ${emulators.sns.url}`]),
    ...(emulators.sqs === null ? [] : [`SQS emulator     ${emulators.sqs.url}`]),
    "",
    "Publish a message:",
    `  curl -i ${gatewayUrl}/v1/events/${topic} \\`,
    `    -H "authorization: Bearer ${token}" -H 'content-type: application/json' -d '{"hello":"world"}'`,
  ];
  if (emulators.sns !== null && subscriberPort !== null) {
    lines.push(
      "Publish one through SNS:",
      `  curl -s ${emulators.sns.url} -d Action=Publish -d Version=2010-03-31 -d Message=hello \\`,
      `    -d TopicArn=${emulators.sns.arnOf(DEMO_SNS_TOPIC)}`,
    );
  }
  if (settings.allowHosts.length === 0) {
    lines.push("A receiver on this machine must be listed, and may then be http: POSTERN_ALLOW_HOSTS=127.0.0.1:9000 npm start");
  }
  return [...lines, ""].join("\n");
}
