import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { call, publish } from "./api.ts";
import { type Gateway, startGateway } from "./gateway.ts";

let gateway: Gateway;

beforeAll(async () => {
  gateway = await startGateway();
});

afterAll(async () => {
  await gateway.dispose();
});

type Event = { readonly id: string; readonly event: string; readonly data: any };

/** A reader of server-sent events, as the standard says (HTML §9.2.6), that shows every event of one connection. */
class EventReader {
  readonly events: Event[] = [];
  /** As a browser would send it when it connects again. */
  lastEventId = "";
  readonly #abort = new AbortController();
  readonly #done: Promise<void>;
  #wake: (() => void) | null = null;

  private constructor(response: Response) {
    this.#done = this.#read(response);
  }

  static async open(query: string, options: { lastEventId?: string; token?: string; headers?: Record<string, string> } = {}): Promise<EventReader> {
    const abort = new AbortController();
    const response = await fetch(`${gateway.url}/v1/tail?${query}`, {
      signal: abort.signal,
      headers: {
        authorization: `Bearer ${options.token ?? gateway.token}`,
        ...(options.lastEventId === undefined ? {} : { "last-event-id": options.lastEventId }),
        ...options.headers,
      },
    });
    expect(response.status).toBe(200);
    expect(response.headers.get("content-type")).toBe("text/event-stream");
    const reader = new EventReader(response);
    reader.#abort.signal.addEventListener("abort", () => abort.abort());
    await reader.until(() => reader.lastEventId !== "");
    return reader;
  }

  async #read(response: Response): Promise<void> {
    const decoder = new TextDecoder();
    let rest = "";
    try {
      for await (const chunk of response.body ?? []) {
        rest += decoder.decode(chunk, { stream: true });
        for (let end = rest.indexOf("\n\n"); end >= 0; end = rest.indexOf("\n\n")) {
          this.#dispatch(rest.slice(0, end));
          rest = rest.slice(end + 2);
        }
        this.#wake?.();
      }
    } catch (error) {
      if (!this.#abort.signal.aborted) throw error;
    }
  }

  #dispatch(block: string): void {
    let event = "message";
    const data: string[] = [];
    for (const line of block.split(/\r\n|\r|\n/)) {
      const [, field, value = ""] = /^([^:]*)(?:: ?(.*))?$/s.exec(line) ?? [];
      if (field === "id") this.lastEventId = value;
      if (field === "event") event = value;
      if (field === "data") data.push(value);
    }
    if (data.length > 0) this.events.push({ id: this.lastEventId, event, data: JSON.parse(data.join("\n")) });
  }

  async until(holds: () => boolean, timeoutMs = 15_000): Promise<void> {
    const deadline = Date.now() + timeoutMs;
    while (!holds()) {
      if (Date.now() > deadline) throw new Error(`not in time; ${this.events.length} events came`);
      await new Promise<void>((resolve) => {
        const timer = setTimeout(resolve, 50);
        this.#wake = () => {
          clearTimeout(timer);
          resolve();
        };
      });
    }
  }

  async close(): Promise<void> {
    this.#abort.abort();
    await this.#done;
  }
}

/** What was published, as the tail should show it. */
async function publishTo(topic: string, count: number, shown: Map<string, string[]>): Promise<void> {
  for (let index = 0; index < count; index++) {
    const { id } = await publish(gateway, topic, `of ${topic}`);
    shown.set(topic, [...(shown.get(topic) ?? []), id]);
  }
}

function byTopic(events: readonly Event[]): Map<string, string[]> {
  const topics = new Map<string, string[]>();
  for (const { data } of events) topics.set(data.topic, [...(topics.get(data.topic) ?? []), data.id]);
  return topics;
}

describe("GET /v1/tail", () => {
  it("shows what is published on matching topics from now on, those that appear later included, and nothing else", async () => {
    await publish(gateway, "live.old", "before");
    await publish(gateway, "other.topic", "before");
    const reader = await EventReader.open("topic=live.**");
    const expected = new Map<string, string[]>();
    await publishTo("live.old", 2, expected);
    await publishTo("other.topic", 1, new Map());
    await publishTo("live.new.one", 2, expected);
    await publishTo("live.new.two", 1, expected);
    await reader.until(() => reader.events.length >= 5);
    expect(byTopic(reader.events)).toEqual(expected);
    expect(reader.events[0]?.data).toMatchObject({ topic: "live.old", offset: 1, contentType: "text/plain", data: "of live.old" });
    await reader.close();
  });

  it("resumes after every single event with no gap and no duplicate, whatever was published meanwhile", async () => {
    const expected = new Map<string, string[]>();
    let reader = await EventReader.open("topic=cut.*");
    const seen: Event[] = [];
    for (let round = 0; round < 6; round++) {
      await publishTo(`cut.${round % 3}`, 3, expected);
      await publishTo("cut.all", 2, expected);
      // It leaves after one event of what came, as if the line had been cut right there.
      await reader.until(() => reader.events.length > 0);
      const last = reader.events[0]!;
      seen.push(last);
      await reader.close();
      await publishTo(`cut.late${round}`, 1, expected);
      reader = await EventReader.open("topic=cut.*", { lastEventId: last.id });
    }
    const total = [...expected.values()].flat().length;
    await reader.until(() => seen.length + reader.events.length >= total, 20_000);
    seen.push(...reader.events);
    await reader.close();
    expect(byTopic(seen)).toEqual(expected);
  });

  it("resumes from before the first event, and after the gateway was killed", async () => {
    const expected = new Map<string, string[]>();
    const first = await EventReader.open("topic=killed.**");
    const { lastEventId } = first;
    await first.close();
    await publishTo("killed.a", 3, expected);
    gateway = await gateway.restart();
    await publishTo("killed.b", 2, expected);
    const second = await EventReader.open("topic=killed.**", { lastEventId });
    await second.until(() => second.events.length >= 5);
    await second.close();
    expect(byTopic(second.events)).toEqual(expected);
  });

  it("begins in the past where `since` says so", async () => {
    const { id } = await publish(gateway, "since.topic", "early");
    const reader = await EventReader.open(`topic=since.topic&since=${new Date(Date.now() - 60_000).toISOString()}`);
    await reader.until(() => reader.events.length === 1);
    expect(reader.events[0]?.data.id).toBe(id);
    await reader.close();
  });

  it("keeps any payload within its event", async () => {
    const reader = await EventReader.open("topic=evil.payload");
    const payloads = [
      "x\n\nid: forged\nevent: forged\ndata: {}\n\n", "a\r\nb\rc", "\u2028\u2029\u0085", '"}\n\ndata: "', "data: x", ": comment", "\0", "",
    ];
    for (const payload of payloads) await publish(gateway, "evil.payload", payload);
    await publish(gateway, "evil.payload", new Uint8Array([0xff, 0x0a, 0x0a, 0xfe]), { "content-type": "application/octet-stream" });
    await reader.until(() => reader.events.length > payloads.length);
    expect(reader.events.map(({ event }) => event)).toEqual(Array(payloads.length + 1).fill("message"));
    expect(reader.events.slice(0, -1).map(({ data }) => data.data)).toEqual(payloads);
    expect(Buffer.from(reader.events.at(-1)?.data.dataBase64, "base64")).toEqual(Buffer.from([0xff, 0x0a, 0x0a, 0xfe]));
    await reader.close();
  });

  it("refuses a malformed pattern, a tampered or foreign cursor, a wrong scope, and shows no other tenant's messages", async () => {
    const get = (query: string, headers: Record<string, string> = {}, token?: string) =>
      call(gateway, "GET", `/v1/tail${query}`, { headers, ...(token === undefined ? {} : { token }) });
    expect((await get("")).status).toBe(422);
    expect((await get("?topic=a..b")).status).toBe(400);
    expect((await get("?topic=a.**.b")).status).toBe(400);
    expect((await get("?topic=a&since=yesterday")).status).toBe(422);
    const foreign = await get("?topic=a", { "last-event-id": "42" });
    expect([foreign.status, foreign.json.detail]).toEqual([400, expect.stringContaining("Last-Event-ID")]);
    const reader = await EventReader.open("topic=a.*");
    const cursor = reader.lastEventId;
    await reader.close();
    expect((await get("?topic=b.*", { "last-event-id": cursor })).status).toBe(400);
    expect((await get("?topic=a.*", { "last-event-id": `${cursor}A` })).status).toBe(400);
    await call(gateway, "POST", "/v1/tenants", { body: { id: "ten_tail", name: "tail" } });
    expect((await get("?topic=a.*", { "last-event-id": cursor, "postern-tenant": "ten_tail" })).status).toBe(400);
    const { json } = await call(gateway, "POST", "/v1/tokens", { body: { name: "publisher", scopes: ["publish"] } });
    expect((await get("?topic=a.*", {}, json.token)).status).toBe(403);
    expect((await call(gateway, "POST", "/v1/tail?topic=a")).status).toBe(405);

    const theirs = await EventReader.open("topic=**", { headers: { "postern-tenant": "ten_tail" } });
    await publish(gateway, "shared.name", "mine");
    await publish(gateway, "shared.name", "theirs", { "content-type": "text/plain", "postern-tenant": "ten_tail" });
    await theirs.until(() => theirs.events.length > 0);
    expect(theirs.events.map(({ data }) => data.data)).toEqual(["theirs"]);
    await theirs.close();
  });
});
