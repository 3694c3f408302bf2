import type { Units } from "./counting/units.ts";

/** What is billed. */
export type Usage = Units & {
  /** In user mode, of all processes of the gateway: more than is billed, for the local D1 and queue are in it. */
  readonly cpuMs: number;
};

/**
 * List prices in dollars per million, beyond what a plan includes, November 2026: Workers, Durable Objects, D1 and Queues
 * of Cloudflare's paid plan, standard queues of SQS.
 */
export const LIST_PRICES: Readonly<Record<keyof Usage, number>> = {
  workerRequests: 0.3,
  cpuMs: 0.02,
  objectRequests: 0.15,
  objectRowsRead: 0.001,
  objectRowsWritten: 1,
  d1RowsRead: 0.001,
  d1RowsWritten: 1,
  queueOperations: 0.4,
  sqsCalls: 0.4,
};

/** What an object in memory is billed as, and at which price: dollars per million GB-seconds. */
const OBJECT_GB = 0.128;
const OBJECT_GB_SECONDS_PRICE = 12.5;

/** What so many objects cost that stay in memory for a million messages at this rate, dollars. */
export function memoryDollarsPerMillion(objects: number, perSecond: number): number {
  return (objects * OBJECT_GB * OBJECT_GB_SECONDS_PRICE) / perSecond;
}

/** What one message's usage costs a million times, dollars. */
export function dollarsPerMillion(usage: Usage): number {
  return unitsOf(usage).reduce((sum, name) => sum + usage[name] * LIST_PRICES[name], 0);
}

/** Usage divided among messages. */
export function perMessage(usage: Usage, messages: number): Usage {
  return mapUsage(usage, (value) => value / messages);
}

/** The sum of both. */
export function addUsage(a: Usage, b: Usage): Usage {
  return mapUsage(a, (value, name) => value + b[name]);
}

function mapUsage(usage: Usage, change: (value: number, name: keyof Usage) => number): Usage {
  const result = { ...usage };
  for (const name of unitsOf(usage)) result[name] = change(usage[name], name);
  return result;
}

function unitsOf(usage: Usage): (keyof Usage)[] {
  return Object.keys(usage) as (keyof Usage)[];
}
