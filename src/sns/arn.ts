/** The DNS suffix of each AWS partition that has SNS (AWS General Reference, "Amazon SNS endpoints and quotas"). */
const PARTITION_SUFFIXES = {
  aws: "amazonaws.com",
  "aws-cn": "amazonaws.com.cn",
  "aws-us-gov": "amazonaws.com",
} as const;

type Partition = keyof typeof PARTITION_SUFFIXES;

/** An SNS topic's ARN, taken apart: `arn:<partition>:sns:<region>:<account>:<name>`. */
export type TopicArn = {
  readonly text: string;
  readonly partition: Partition;
  readonly region: string;
  readonly accountId: string;
  /** 1..256 characters of `A-Za-z0-9_-`, a FIFO topic's ending in `.fifo`. */
  readonly name: string;
};

const TOPIC_ARN = /^arn:([a-z-]+):sns:([a-z]{2,4}(?:-[a-z]+)+-[0-9]{1,2}):([0-9]{12}):([A-Za-z0-9_-]+(?:\.fifo)?)$/;
const MAX_NAME_CHARACTERS = 256;

/** Parses the ARN of an SNS topic; null when it is not one, or of a partition we know no host for. */
export function parseTopicArn(text: string): TopicArn | null {
  const [, partition, region, accountId, name] = TOPIC_ARN.exec(text) ?? [];
  if (partition === undefined || region === undefined || accountId === undefined || name === undefined) return null;
  if (!isPartition(partition) || name.length > MAX_NAME_CHARACTERS) return null;
  return { text, partition, region, accountId, name };
}

/** The one host that speaks for this topic: `sns.<region>.<partition suffix>`. */
export function snsHost(topic: TopicArn): string {
  return `sns.${topic.region}.${PARTITION_SUFFIXES[topic.partition]}`;
}

function isPartition(text: string): text is Partition {
  return Object.hasOwn(PARTITION_SUFFIXES, text);
}
