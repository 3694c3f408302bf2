import { describeError, log } from "../log.ts";
import type { BoxRef, Mailbox, MailboxFault, ReceivedMessage } from "../mailbox/mailbox.ts";

/** A message with the box it came out of. */
export type Taken = { readonly box: BoxRef; readonly message: ReceivedMessage };

/** Takes messages out of some boxes of one tenant, fairly between them. */
export type Receiver = {
  readonly mailbox: Mailbox;
  readonly boxes: readonly BoxRef[];
  /** How many messages at most, of all boxes together. */
  readonly max: number;
  readonly visibilitySeconds: number;
  /** 0..1; where to begin, so that no box is always the first. */
  readonly random: () => number;
  /** Those that were expunged since they came into their box. */
  readonly expunged: (messages: readonly ReceivedMessage[]) => Promise<ReadonlySet<ReceivedMessage>>;
  /** For work that goes on when the answer is under way or its asker gone. */
  readonly background: (work: Promise<void>) => void;
};

export type Received = { readonly ok: true; readonly taken: readonly Taken[] } | MailboxFault;

/** A Worker may wait for six answers at once: the rest is for D1 and for giving messages back. */
const MAX_BOXES_WAITED_FOR = 5;
/** With more boxes than that they take turns of this length. */
const TURN_SECONDS = 1;
const SHORTEST_WAIT_SECONDS = 0.5;

/**
 * What is there now. Each box gets its share of `max`; what some leave over is offered to those that had more. A
 * fault is the answer only when nothing was received from any.
 */
export async function receiveNow(receiver: Receiver): Promise<Received> {
  const { mailbox, visibilitySeconds } = receiver;
  const taken: Taken[] = [];
  let fault: MailboxFault | null = null;
  let rest = rotated(receiver.boxes, Math.floor(receiver.random() * receiver.boxes.length));
  while (rest.length > 0 && taken.length < receiver.max) {
    const asked = sharesOf(receiver.max - taken.length, rest);
    rest = rest.slice(asked.length);
    const answers = await Promise.all(
      asked.map(async ({ box, max }) => ({
        box,
        max,
        result: await mailbox.receive(box, { max, waitSeconds: 0, visibilitySeconds }),
      })),
    );
    for (const { box, max, result } of answers) {
      if (result.ok) {
        taken.push(...(await stillWanted(receiver, box, result.messages)));
        if (result.messages.length >= max) rest.push(box);
      } else {
        fault = result;
        logFault(box, result);
      }
    }
  }
  return fault !== null && taken.length === 0 ? fault : { ok: true, taken };
}

/**
 * Waits for the first messages of any box, at most `waitSeconds`; nothing when `gone` is aborted before. Boxes that
 * can not be reached meanwhile are left out: what is wrong is told to whoever asks next.
 */
export async function receiveLater(receiver: Receiver, waitSeconds: number, gone: AbortSignal): Promise<readonly Taken[]> {
  const deadlineMs = Date.now() + waitSeconds * 1000;
  let boxes = rotated(receiver.boxes, Math.floor(receiver.random() * receiver.boxes.length));
  for (;;) {
    const remainingSeconds = (deadlineMs - Date.now()) / 1000;
    if (gone.aborted || boxes.length === 0 || remainingSeconds < SHORTEST_WAIT_SECONDS) return [];
    const inTurn = boxes.slice(0, MAX_BOXES_WAITED_FOR);
    const turnSeconds = boxes.length > inTurn.length ? Math.min(TURN_SECONDS, remainingSeconds) : remainingSeconds;
    const { taken, reachable } = await firstOf(receiver, inTurn, turnSeconds, gone);
    if (taken.length > 0) return taken;
    boxes = [...boxes.slice(inTurn.length), ...reachable];
  }
}

/** Makes messages visible again at once; those that can not be are when their visibility timeout is over. */
export async function putBack(mailbox: Mailbox, taken: readonly Taken[]): Promise<void> {
  await Promise.all(
    [...Map.groupBy(taken, ({ box }) => box)].map(async ([box, own]) => {
      const result = await mailbox.nack(box, own.map(({ message }) => message.handle), 0);
      if ("code" in result) logFault(box, result);
    }),
  );
}

type Turn = { readonly taken: readonly Taken[]; readonly reachable: readonly BoxRef[] };

/**
 * Waits for all boxes at once, and for no other once one has something. Each is asked for one message at least, so
 * there may be too many at the end: those, and what comes later, are put back.
 */
async function firstOf(receiver: Receiver, boxes: readonly BoxRef[], waitSeconds: number, gone: AbortSignal): Promise<Turn> {
  const { mailbox, visibilitySeconds } = receiver;
  const max = Math.max(1, Math.floor(receiver.max / boxes.length));
  const enough = new AbortController();
  const stop = (): void => enough.abort();
  gone.addEventListener("abort", stop);
  const taken: Taken[] = [];
  const reachable: BoxRef[] = [];
  let answered = false;
  const receiveFrom = async (box: BoxRef): Promise<void> => {
    const result = await mailbox.receive(box, { max, waitSeconds, visibilitySeconds, signal: enough.signal });
    if (!result.ok) return logFault(box, result);
    reachable.push(box);
    const own = await stillWanted(receiver, box, result.messages);
    if (answered) return putBack(mailbox, own);
    taken.push(...own);
  };
  await new Promise<void>((resolve) => {
    const receives = boxes.map(async (box) => {
      await receiveFrom(box).catch((error: unknown) => log("error", "pull.receive-failed", describeError(error)));
      if (taken.length === 0) return;
      enough.abort();
      resolve();
    });
    receiver.background(Promise.all(receives).then(() => resolve()));
  });
  answered = true;
  gone.removeEventListener("abort", stop);
  receiver.background(putBack(mailbox, taken.slice(receiver.max)));
  return { taken: taken.slice(0, receiver.max), reachable };
}

type Share = { readonly box: BoxRef; readonly max: number };

/**
 * Without the queries whose callers' time is over, for nobody wants them done, and without what was expunged, for nobody
 * may have it: they are taken out for good.
 */
async function stillWanted({ mailbox, background, expunged }: Receiver, box: BoxRef, messages: readonly ReceivedMessage[]): Promise<Taken[]> {
  if (messages.length === 0) return [];
  const gone = await expunged(messages);
  const nowMs = Date.now();
  const over = messages.filter((message) => gone.has(message) || (message.answerByMs !== undefined && message.answerByMs <= nowMs));
  if (over.length > 0) {
    const drop = async (): Promise<void> => {
      const result = await mailbox.ack(box, over.map(({ handle }) => handle));
      if ("code" in result) logFault(box, result);
    };
    background(drop());
  }
  return messages.filter((message) => !over.includes(message)).map((message) => ({ box, message }));
}

/** `max` in parts as equal as can be, for as many boxes as get at least one. */
function sharesOf(max: number, boxes: readonly BoxRef[]): Share[] {
  const asked = boxes.slice(0, max);
  const share = Math.floor(max / asked.length);
  const larger = max % asked.length;
  return asked.map((box, index) => ({ box, max: index < larger ? share + 1 : share }));
}

function rotated<Item>(items: readonly Item[], by: number): Item[] {
  return [...items.slice(by), ...items.slice(0, by)];
}

function logFault(box: BoxRef, { code, detail }: MailboxFault): void {
  log("warn", "pull.mailbox-fault", { box: `${box.tenantId}/${box.kind}/${box.id}`, code, detail });
}
