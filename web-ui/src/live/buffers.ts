/**
 * The browser's side of the stream: a MediaSource with one SourceBuffer for each track. Appends at once
 * what it is handed, throws away what was played, says what each track has reached.
 */
import type { TrackKind } from "./demux";
import type { Segment } from "./remux";

/** So much of what was played stays, in milliseconds. Nobody seeks back; browsers want a little. */
const KEEP_BEHIND = 6000;
/** Cleaned up when this much lies behind, in milliseconds. */
const CLEAN_AT = 14_000;
/** What may wait for a busy SourceBuffer; more means that the browser takes nothing any more. */
const WAITING_BYTES_MAX = 32 * 1024 * 1024;

export class BuffersBroken extends Error {}

interface Lane {
  buffer: SourceBuffer;
  waiting: Segment[];
  waitingBytes: number;
  appending: Segment[];
  /** Its own word, not `updating`: that falls a moment before `updateend` is heard, and a new append would slip in. */
  busy: boolean;
}

interface MediaSourceLike extends MediaSource {
  streaming?: boolean;
}

/** Null where the browser has no Media Source Extensions at all. */
export function mediaSourceClass(): (new () => MediaSource) | null {
  const all = globalThis as { MediaSource?: new () => MediaSource; ManagedMediaSource?: new () => MediaSource };
  return all.MediaSource ?? all.ManagedMediaSource ?? null;
}

export function canPlay(mime: string): boolean {
  const source = mediaSourceClass() as (typeof MediaSource & (new () => MediaSource)) | null;
  return source !== null && source.isTypeSupported(mime);
}

export interface BuffersSink {
  open(): void;
  /** A track now ends at `end` (milliseconds of the stream). */
  reached(kind: TrackKind, end: number): void;
  /** It cannot go on; a new MediaSource may. */
  broken(reason: string): void;
}

export class Buffers {
  private readonly source: MediaSourceLike;
  private readonly url: string | null;
  private readonly lanes = new Map<TrackKind, Lane>();
  /** Where the pictures in hand can be cut, in order; emptied by cleaning, one for each GOP. */
  private readonly keyframes: number[] = [];
  private closed = false;

  constructor(private readonly video: HTMLVideoElement, private readonly sink: BuffersSink) {
    const Source = mediaSourceClass();
    if (!Source) throw new BuffersBroken("this browser has no Media Source Extensions");
    this.source = new Source() as MediaSourceLike;
    this.source.addEventListener("sourceopen", this.onOpen, { once: true });
    if ("MediaSource" in globalThis) {
      this.url = URL.createObjectURL(this.source);
      video.src = this.url;
    } else {
      // Apple's ManagedMediaSource opens only when playing on another screen is ruled out.
      this.url = null;
      video.disableRemotePlayback = true;
      video.srcObject = this.source;
    }
  }

  /** All tracks must be added before anything is appended. @throws BuffersBroken */
  add(kind: TrackKind, mime: string): void {
    try {
      const buffer = this.source.addSourceBuffer(mime);
      const lane: Lane = { buffer, waiting: [], waitingBytes: 0, appending: [], busy: false };
      buffer.addEventListener("updateend", () => this.onUpdated(kind, lane));
      this.lanes.set(kind, lane);
    } catch (cause) {
      throw new BuffersBroken(`${mime}: ${String(cause)}`);
    }
  }

  has(kind: TrackKind): boolean {
    return this.lanes.has(kind);
  }

  append(segment: Segment): void {
    const lane = this.lanes.get(segment.kind);
    if (!lane || this.closed) return;
    lane.waiting.push(segment);
    lane.waitingBytes += segment.bytes.byteLength;
    if (lane.waitingBytes > WAITING_BYTES_MAX) this.fail("the browser takes no more data");
    else this.drain(lane);
  }

  close(): void {
    this.closed = true;
    this.source.removeEventListener("sourceopen", this.onOpen);
    this.lanes.clear();
    if (this.url !== null) URL.revokeObjectURL(this.url);
  }

  private readonly onOpen = (): void => {
    if (!this.closed) this.sink.open();
  };

  /** Everything that waits goes in as one append: a joining viewer's cache is hundreds of samples. */
  private drain(lane: Lane): void {
    if (lane.busy || lane.waiting.length === 0 || this.closed || this.source.readyState !== "open") return;
    const batch = lane.waiting;
    lane.waiting = [];
    lane.waitingBytes = 0;
    lane.appending = batch;
    lane.busy = true;
    const only = batch.length === 1 ? batch[0] : undefined;
    try {
      lane.buffer.appendBuffer(only ? only.bytes : joined(batch));
    } catch (cause) {
      this.fail(String(cause));
    }
  }

  private onUpdated(kind: TrackKind, lane: Lane): void {
    lane.busy = false;
    if (this.closed || this.source.readyState !== "open") return;
    const end = lane.appending.reduce<number | null>((last, segment) => segment.end ?? last, null);
    for (const segment of lane.appending) if (segment.keyframe !== null) this.keyframes.push(segment.keyframe);
    lane.appending = [];
    if (end !== null) this.sink.reached(kind, end);
    this.clean(kind, lane);
    this.drain(lane);
  }

  /**
   * Throws away what lies far enough behind. Always up to a keyframe: a removal that ends inside a GOP
   * takes the rest of that GOP with it, or all there is while no later keyframe has come (§3.5.9).
   */
  private clean(kind: TrackKind, lane: Lane): void {
    const { buffered } = lane.buffer;
    const start = buffered.length > 0 ? buffered.start(0) * 1000 : Infinity;
    const position = this.video.currentTime * 1000;
    if (position - start < CLEAN_AT) return;
    let end = position - KEEP_BEHIND;
    if (kind === "video") {
      while ((this.keyframes[1] ?? Infinity) <= end) this.keyframes.shift();
      end = this.keyframes[0] ?? 0;
    }
    if (end <= start + 1) return;
    lane.busy = true;
    lane.buffer.remove(0, end / 1000);
  }

  private fail(reason: string): void {
    if (this.closed) return;
    this.closed = true;
    this.sink.broken(reason);
  }
}

function joined(batch: readonly Segment[]): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(batch.reduce((sum, segment) => sum + segment.bytes.byteLength, 0));
  let at = 0;
  for (const segment of batch) {
    bytes.set(segment.bytes, at);
    at += segment.bytes.byteLength;
  }
  return bytes;
}
