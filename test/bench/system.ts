/** Where a delivery goes: the receiver's URL, and the secret its requests are signed with. */
export type Subscriber = { readonly url: string; readonly secret: string };

/** A running thing to be measured: the bare relay, or the gateway. */
export type System = {
  readonly name: "relay" | "gateway";
  readonly port: number;
  /** Root of the process tree whose CPU time counts. */
  readonly pid: number;
  /** What a publisher has to send besides the message. */
  readonly headers: Readonly<Record<string, string>>;
  /** Has the messages of a topic delivered to these; resolves once a publish would reach them. */
  subscribe(topic: string, subscribers: readonly Subscriber[]): Promise<void>;
  stop(): Promise<void>;
};
