import { randomBytes, randomUUID } from "node:crypto";
import { notFound } from "./sns-error.ts";

export type Topic = {
  readonly arn: string;
  readonly name: string;
  readonly fifo: boolean;
  readonly attributes: Map<string, string>;
  deletedSubscriptions: number;
};

export type Subscription = {
  readonly arn: string;
  readonly topicArn: string;
  readonly protocol: "http" | "https";
  readonly endpoint: string;
  readonly attributes: Map<string, string>;
  /** Confirms it, now or (after it was unsubscribed) again. */
  token: string;
  confirmed: boolean;
};

/** The topics and subscriptions of one account and region, in memory, in the order they were made. */
export class Store {
  readonly accountId: string;
  readonly region: string;
  readonly #topics = new Map<string, Topic>();
  readonly #subscriptions = new Map<string, Subscription>();
  /** Unsubscribed, but their UnsubscribeConfirmation can still bring them back; by token. */
  readonly #revocable = new Map<string, Subscription>();

  constructor(accountId: string, region: string) {
    this.accountId = accountId;
    this.region = region;
  }

  topics(): Topic[] {
    return [...this.#topics.values()];
  }

  findTopic(name: string): Topic | undefined {
    return this.#topics.get(this.#topicArn(name));
  }

  topic(arn: string): Topic {
    const topic = this.#topics.get(arn);
    if (topic === undefined) throw notFound("Topic");
    return topic;
  }

  addTopic(name: string, attributes: Map<string, string>): Topic {
    const topic = { arn: this.#topicArn(name), name, fifo: name.endsWith(".fifo"), attributes, deletedSubscriptions: 0 };
    this.#topics.set(topic.arn, topic);
    return topic;
  }

  /** Deleting what is not there succeeds, as in SNS. */
  deleteTopic(arn: string): void {
    this.#topics.delete(arn);
    for (const subscription of this.subscriptions(arn)) this.#subscriptions.delete(subscription.arn);
  }

  subscriptions(topicArn?: string): Subscription[] {
    return [...this.#subscriptions.values()].filter((each) => topicArn === undefined || each.topicArn === topicArn);
  }

  subscription(arn: string): Subscription {
    const subscription = this.#subscriptions.get(arn);
    if (subscription === undefined) throw notFound("Subscription");
    return subscription;
  }

  addSubscription(topic: Topic, made: Pick<Subscription, "protocol" | "endpoint" | "attributes">): Subscription {
    const subscription = { ...made, arn: `${topic.arn}:${randomUUID()}`, topicArn: topic.arn, token: newToken(), confirmed: false };
    this.#subscriptions.set(subscription.arn, subscription);
    return subscription;
  }

  /** The subscription of the topic that the token is for, confirmed now; undefined when there is none. */
  confirm(topicArn: string, token: string): Subscription | undefined {
    const subscription = this.subscriptions(topicArn).find((each) => each.token === token) ?? this.#revocable.get(token);
    if (subscription === undefined || subscription.topicArn !== topicArn) return undefined;
    this.#revocable.delete(token);
    this.#subscriptions.set(subscription.arn, subscription);
    subscription.confirmed = true;
    return subscription;
  }

  unsubscribe(subscription: Subscription): void {
    this.#subscriptions.delete(subscription.arn);
    this.topic(subscription.topicArn).deletedSubscriptions++;
    subscription.token = newToken();
    this.#revocable.set(subscription.token, subscription);
  }

  #topicArn(name: string): string {
    return `arn:aws:sns:${this.region}:${this.accountId}:${name}`;
  }
}

/** As long as SNS's own. */
function newToken(): string {
  return randomBytes(168).toString("hex");
}
