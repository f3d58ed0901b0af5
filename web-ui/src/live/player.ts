/**
 * Plays one live stream in one video element: joins feed, demuxer, packers and buffers, and does what
 * the session and the live-edge control decide. Everything here is a shell; what is worth testing lives
 * in the modules it calls.
 */
import { Buffers, BuffersBroken, canPlay, mediaSourceClass } from "./buffers";
import { Demux, type TrackConfig, type TrackKind } from "./demux";
import { LiveEdge, type Figures, type Order as EdgeOrder, type View } from "./edge";
import { Feed, type Ending } from "./feed";
import { AudioPacker, VideoPacker, initSegment, mimeOf } from "./remux";
import { Session, type Event, type Phase } from "./session";
import { BrokenStream } from "./tags";

/** The live-edge control looks at the player this often besides after each arrival. */
const LOOK_MS = 100;

/** A muted page that nobody has seen for this long rests. */
const REST_MS = 15_000;

export interface Report extends Figures {
  phase: Phase;
  tracks: { video: boolean; audio: boolean };
  /** Milliseconds in hand. */
  ahead: number;
  /** Bits per second that came in during the last seconds. */
  bitrate: number;
  rate: number;
  width: number;
  height: number;
  shown: number;
  dropped: number;
}

export interface PlayerSink {
  /** Something to tell the person has changed. */
  changed(): void;
  /** The picture is about to go away, the connection is made anew: keep a copy of it. */
  leaving(): void;
  /** The first new picture is on the screen. */
  arrived(): void;
}

/** One connection with all that hangs on it. */
interface Run {
  feed: Feed;
  demux: Demux;
  buffers: Buffers | null;
  edge: LiveEdge;
  configs: Map<TrackKind, TrackConfig>;
  packers: { video: VideoPacker | null; audio: AudioPacker | null };
  started: boolean;
  /** Which tracks the browser is given. */
  given: Set<TrackKind>;
}

export class Player {
  private readonly session = new Session(performance.now(), Math.random);
  private run: Run | null = null;
  private timer: number | undefined;
  private wakeTimer: number | undefined;
  private readonly traffic: { at: number; received: number }[] = [];
  private shownPhase = "";
  private sound = false;
  private restTimer: number | undefined;
  /** Paused by itself, because nobody saw it. */
  private resting = false;
  /** Over all connections. */
  private totals = { stalls: 0, jumps: 0 };

  constructor(private readonly video: HTMLVideoElement, private readonly url: string, private readonly sink: PlayerSink) {}

  start(): void {
    if (!mediaSourceClass()) return this.tell({ kind: "unplayable", reason: "mse" });
    // Keeping the pitch at other speeds than 1 reads 40 ms further ahead, and ours are too near to 1 to be heard.
    this.video.preservesPitch = false;
    this.timer = window.setInterval(() => this.look(), LOOK_MS);
    window.addEventListener("online", () => this.tell({ kind: "wake" }));
    document.addEventListener("visibilitychange", () => (document.hidden ? this.hide() : this.show()));
    this.video.addEventListener("error", () => this.tell({ kind: "broken" }));
    // Headsets, lock screens and calls pause and play too. A browser that rests a hidden tab does not count.
    this.video.addEventListener("pause", () => {
      if (!this.paused && !document.hidden) this.tell({ kind: "pause" });
    });
    this.video.addEventListener("play", () => {
      if (this.paused) this.play();
    });
    this.tell({ kind: "tick" });
  }

  stop(): void {
    window.clearInterval(this.timer);
    window.clearTimeout(this.wakeTimer);
    window.clearTimeout(this.restTimer);
    this.disconnect();
  }

  get paused(): boolean {
    return this.session.phase.kind === "paused";
  }

  pause(): void {
    this.video.pause();
    this.tell({ kind: "pause" });
  }

  play(): void {
    this.resting = false;
    this.tell({ kind: "play" });
    this.rejoin();
    this.roll();
  }

  /** Turns the sound on or off. The first time, the stream is joined anew, with its sound. */
  setSound(on: boolean): void {
    this.sound = on;
    this.video.muted = !on;
    if (!on) return;
    if (this.paused) this.play();
    const { run } = this;
    if (run?.started && run.configs.has("audio") && !run.given.has("audio")) this.tell({ kind: "renew" });
  }

  report(): Report {
    const { video, run } = this;
    const now = performance.now();
    const figures = run?.edge.figures(now, video.currentTime * 1000);
    const quality = video.getVideoPlaybackQuality?.();
    const { buffered } = video;
    const end = buffered.length > 0 ? buffered.end(buffered.length - 1) : video.currentTime;
    return {
      phase: this.session.phase,
      tracks: { video: run?.configs.has("video") ?? false, audio: run?.configs.has("audio") ?? false },
      ahead: Math.max(0, (end - video.currentTime) * 1000),
      bitrate: this.bitrate(now),
      rate: video.playbackRate,
      width: video.videoWidth,
      height: video.videoHeight,
      shown: quality?.totalVideoFrames ?? 0,
      dropped: quality?.droppedVideoFrames ?? 0,
      delay: figures?.delay ?? null,
      aim: figures?.aim ?? null,
      stalls: this.totals.stalls + (figures?.stalls ?? 0),
      jumps: this.totals.jumps + (figures?.jumps ?? 0),
    };
  }

  /** Nobody sees the page. Who listens goes on listening; for nobody at all nothing needs to come. */
  private hide(): void {
    if (this.sound || this.paused) return;
    this.restTimer = window.setTimeout(() => {
      this.resting = true;
      this.tell({ kind: "pause" });
    }, REST_MS);
  }

  private show(): void {
    window.clearTimeout(this.restTimer);
    if (this.resting) return this.play();
    this.tell({ kind: "wake" });
    this.rejoin();
    this.roll();
  }

  private tell(event: Event): void {
    const now = performance.now();
    for (const order of this.session.handle(now, event)) {
      if (order === "connect") this.connect();
      else this.disconnect();
    }
    window.clearTimeout(this.wakeTimer);
    const due = this.session.wakeAt();
    if (due !== null) this.wakeTimer = window.setTimeout(() => this.tell({ kind: "tick" }), Math.max(10, due - performance.now()));
    const phase = JSON.stringify(this.session.phase);
    if (phase === this.shownPhase) return;
    this.shownPhase = phase;
    this.sink.changed();
  }

  private connect(): void {
    this.disconnect();
    const run: Run = {
      demux: new Demux({
        config: (config) => this.onConfig(run, config),
        samples: (video, audio) => {
          this.begin(run);
          for (const segment of run.packers.video?.pack(video) ?? []) run.buffers?.append(segment);
          if (!run.given.has("audio")) return;
          for (const segment of run.packers.audio?.pack(audio) ?? []) run.buffers?.append(segment);
        },
      }),
      feed: new Feed(this.url, {
        opened: () => this.open(run),
        bytes: (piece) => this.onBytes(run, piece),
        ended: (ending: Ending) => this.run === run && this.tell({ kind: "ended", ending }),
      }),
      buffers: null,
      edge: new LiveEdge(),
      configs: new Map(),
      packers: { video: null, audio: null },
      started: false,
      given: new Set(),
    };
    this.run = run;
  }

  private disconnect(): void {
    const { run } = this;
    if (!run) return;
    this.run = null;
    const { stalls, jumps } = run.edge.figures(performance.now(), 0);
    this.totals = { stalls: this.totals.stalls + stalls, jumps: this.totals.jumps + jumps };
    run.feed.close();
    run.demux.close();
    run.buffers?.close();
    this.traffic.length = 0;
  }

  /** The box answers: only now the old picture gives way. */
  private open(run: Run): Promise<void> {
    return new Promise((opened) => {
      if (this.run !== run) return;
      this.sink.leaving();
      run.buffers = new Buffers(this.video, {
        open: opened,
        reached: (kind, end) => {
          if (this.run !== run) return;
          run.edge.arrived(performance.now(), kind, end);
          this.look();
        },
        broken: () => this.run === run && this.tell({ kind: "broken" }),
      });
      this.video.requestVideoFrameCallback?.(() => this.run === run && this.sink.arrived());
      if (!("requestVideoFrameCallback" in this.video)) {
        (this.video as HTMLVideoElement).addEventListener("playing", () => this.run === run && this.sink.arrived(), { once: true });
      }
    });
  }

  private onBytes(run: Run, piece: Uint8Array): void {
    if (this.run !== run) return;
    this.count(run.feed.received);
    this.tell({ kind: "data" });
    try {
      run.demux.push(piece);
    } catch (cause) {
      if (cause instanceof BrokenStream || cause instanceof BuffersBroken || cause instanceof RangeError) this.tell({ kind: "broken" });
      else throw cause;
    }
  }

  private onConfig(run: Run, config: TrackConfig): void {
    if (!canPlay(mimeOf(config))) return this.tell({ kind: "unplayable", reason: config.codec });
    const before = run.configs.get(config.type);
    run.configs.set(config.type, { ...config });
    const given = run.given.has(config.type);
    // Another codec, or a picture where there was none: browsers take that only into a new MediaSource.
    const another = given ? !before || mimeOf(before) !== mimeOf(config) : config.type === "video" || this.sound;
    if (run.started && another) return this.tell({ kind: "broken" });
    if (config.type === "video") run.packers.video ??= new VideoPacker(config.refSampleDuration);
    else run.packers.audio = new AudioPacker(config);
    if (run.started && given) run.buffers?.append(initSegment(config));
    this.sink.changed();
  }

  /**
   * All tracks are known: the buffers can be made. Sound that nobody hears is left out: a browser needs twice
   * as much in hand to play it without a gap, so the picture alone is that much nearer to live.
   */
  private begin(run: Run): void {
    if (run.started || !run.buffers) return;
    run.started = true;
    const configs = [...run.configs.values()].filter(({ type }) => type === "video" || this.sound || !run.configs.has("video"));
    for (const config of configs) {
      run.given.add(config.type);
      run.buffers.add(config.type, mimeOf(config));
    }
    for (const config of configs) run.buffers.append(initSegment(config));
    this.sink.changed();
  }

  private look(): void {
    const { run } = this;
    if (!run?.started) return;
    this.obey(run, run.edge.tick(performance.now(), this.view()));
  }

  private rejoin(): void {
    if (this.run?.started) this.obey(this.run, this.run.edge.rejoin(performance.now(), this.view()));
  }

  private obey(run: Run, orders: EdgeOrder[]): void {
    for (const order of orders) {
      if (this.run !== run) return;
      if ("seek" in order) {
        this.video.currentTime = order.seek / 1000;
        this.roll();
      } else {
        this.video.playbackRate = order.rate;
      }
    }
  }

  private roll(): void {
    if (this.paused || !this.run?.started) return;
    this.video.play().catch((cause: unknown) => {
      // Browsers that let nothing start by itself: the play button is there.
      if (cause instanceof DOMException && cause.name === "NotAllowedError") this.tell({ kind: "pause" });
    });
  }

  private view(): View {
    const { video } = this;
    const { buffered } = video;
    const ranges = Array.from({ length: buffered.length }, (_, at) => ({ start: buffered.start(at) * 1000, end: buffered.end(at) * 1000 }));
    return {
      position: video.currentTime * 1000,
      ranges,
      // Browsers pause a picture that nobody sees, and play on by themselves.
      paused: this.paused || video.paused,
      seeking: video.seeking,
      starved: video.readyState < HTMLMediaElement.HAVE_FUTURE_DATA,
    };
  }

  private count(received: number): void {
    const now = performance.now();
    const last = this.traffic[this.traffic.length - 1];
    if (last && now - last.at < 250) return;
    this.traffic.push({ at: now, received });
    while (this.traffic.length > 16) this.traffic.shift();
  }

  private bitrate(now: number): number {
    const first = this.traffic[0];
    if (!first || !this.run || now - first.at < 500) return 0;
    return ((this.run.feed.received - first.received) * 8000) / (now - first.at);
  }
}
