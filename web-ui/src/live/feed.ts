/** Fetches one stream over HTTP, as bytes. Retries nothing: how it ended is for the session to judge. */

/** How a connection ended. */
export type Ending =
  | { kind: "absent"; streams: string[] }
  | { kind: "refused"; status: number; retryAfterMs: number | null }
  | { kind: "lost" };

/** A stream; where there is none, an answer that can be read. */
const ACCEPT = "video/x-flv, application/problem+json";

export interface FeedSink {
  /** The box answers with a stream; bytes are read once this is done. */
  opened(): Promise<void>;
  bytes(piece: Uint8Array): void;
  ended(ending: Ending): void;
}

/** A box that takes a connection and then says nothing for this long is not there. */
const ANSWER_MS = 8000;

export class Feed {
  private readonly stop = new AbortController();
  /** All that came so far. */
  received = 0;

  constructor(url: string, private readonly sink: FeedSink) {
    void this.run(url);
  }

  /** Nothing is reported after this. */
  close(): void {
    this.stop.abort();
  }

  private async run(url: string): Promise<void> {
    const ending = await this.read(url).catch((): Ending => ({ kind: "lost" }));
    if (this.stop.signal.aborted) return;
    this.stop.abort();
    this.sink.ended(ending);
  }

  private async read(url: string): Promise<Ending> {
    const { signal } = this.stop;
    const late = new AbortController();
    signal.addEventListener("abort", () => late.abort(), { once: true });
    const timer = setTimeout(() => late.abort(), ANSWER_MS);
    const response = await fetch(url, { cache: "no-store", headers: { accept: ACCEPT }, signal: late.signal }).finally(() => clearTimeout(timer));
    if (response.status === 404) return { kind: "absent", streams: streamsIn(await response.text()) };
    if (!response.ok || !response.body) {
      void response.body?.cancel();
      return { kind: "refused", status: response.status, retryAfterMs: secondsIn(response.headers.get("retry-after")) };
    }
    await this.sink.opened();
    const reader = response.body.getReader();
    for (;;) {
      const { done, value } = await reader.read();
      if (signal.aborted || done) return { kind: "lost" };
      this.received += value.byteLength;
      this.sink.bytes(value);
    }
  }
}

/** The names in the box's answer to a wrong one: `{"streams": ["main", ...]}`. */
export function streamsIn(body: string): string[] {
  try {
    const parsed: unknown = JSON.parse(body);
    const streams = typeof parsed === "object" && parsed !== null && "streams" in parsed ? parsed.streams : [];
    return Array.isArray(streams) ? streams.filter((name): name is string => typeof name === "string").slice(0, 64) : [];
  } catch {
    return [];
  }
}

function secondsIn(header: string | null): number | null {
  const seconds = Number(header ?? NaN);
  return Number.isFinite(seconds) && seconds >= 0 ? Math.min(seconds, 60) * 1000 : null;
}
