import { GetQueueUrlCommand, ReceiveMessageCommand, SQSClient } from "@aws-sdk/client-sqs";

const ALL_HIDDEN_SECONDS = 600;

/** The ids of what SQS put aside from an endpoint's mailbox, asked of SQS itself. It counts a receive whose answer was lost, too. */
export async function deadLetterIds(endpoint: string, endpointId: string, keys: { readonly accessKeyId: string; readonly secretAccessKey: string }): Promise<ReadonlySet<string>> {
  const sqs = new SQSClient({ endpoint, region: "us-east-1", credentials: keys, useQueueUrlAsEndpoint: false });
  const ids = new Set<string>();
  try {
    const { QueueUrl } = await sqs.send(new GetQueueUrlCommand({ QueueName: `postern-default-${endpointId}-dlq` }));
    for (;;) {
      const { Messages = [] } = await sqs.send(
        new ReceiveMessageCommand({ QueueUrl, MaxNumberOfMessages: 10, VisibilityTimeout: ALL_HIDDEN_SECONDS }),
      );
      if (Messages.length === 0) return ids;
      for (const { Body = "{}" } of Messages) ids.add(JSON.parse(Body).id);
    }
  } finally {
    sqs.destroy();
  }
}
