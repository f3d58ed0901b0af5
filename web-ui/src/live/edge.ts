/**
 * Decides where in the stream to play: as near to the live edge as the line allows, and no nearer.
 *
 * Pure: what arrived, what the player shows and the time go in; seeks and playing rates come out.
 *
 *      stream time
 *        ^          arrived ___|‾‾‾      each step is one append; a late one leaves a long tread
 *        |             ___|‾‾‾    .
 *        |         ___|‾‾‾   .  played     the played line keeps below the lowest corner seen lately,
 *        |     ___|   .  '                 by what the browser needs in hand (`floor`)
 *        +------------------------> clock
 *
 * The line to keep is `now - setback`: the setback is the worst lateness of the last seconds (how far
 * the newest sample of a track lay behind the clock just before the next one came) plus the floor. It
 * rises at once and falls slowly. Small errors are played off by a few percent more or less speed, which
 * nobody sees or hears; only what is far off is jumped.
 */
import { Peaks } from "./peaks";

export type Track = "video" | "audio";

/** All in milliseconds, but for the rates. */
export interface Tuning {
  /** What the browser needs in hand of each track, so that it never runs dry. */
  floor: Record<Track, number>;
  /** Added to the floors by each stall that the line is not to blame for, up to the bound; falls back by itself. */
  stallPenalty: number;
  stallPenaltyMax: number;
  /** How fast penalty and setback fall, in milliseconds each second. */
  penaltyDecay: number;
  setbackDecay: number;
  /**
   * Once this late is an accident: better a short stall than a minute of delay. Three times in `roughWithin` is
   * how the line is, and is paid for, up to the bound.
   */
  latenessUsual: number;
  latenessMax: number;
  roughWithin: number;
  /** Off by less than this: played at normal speed. */
  deadband: number;
  /** Off by more than this, behind the line: jump. And just after joining, or while the picture stands anyway. */
  jumpBehind: number;
  jumpBehindShort: number;
  /** The greatest change of speed, down and up, with sound and without; and up in the first seconds. */
  slower: Record<"heard" | "silent", number>;
  faster: Record<"heard" | "silent", number>;
  fasterAtStart: Record<"heard" | "silent", number>;
  /** How long the start lasts. */
  startLasts: number;
  /** An error is played off in about this time; and in the first seconds. */
  reaction: number;
  reactionAtStart: number;
}

export const TUNING: Tuning = {
  // Measured in Chromium 156 by lowering the buffer until it stalled. With sound: at 100 when other speeds are
  // made by resampling, at 140 when by keeping the pitch (that reads further ahead). Without sound: at 45 now and
  // then, at 30 always. What lies above is for a busy machine.
  floor: { video: 80, audio: 130 },
  stallPenalty: 30,
  stallPenaltyMax: 240,
  penaltyDecay: 0.05,
  setbackDecay: 6,
  latenessUsual: 180,
  latenessMax: 600,
  roughWithin: 20_000,
  deadband: 6,
  jumpBehind: 1000,
  jumpBehindShort: 600,
  slower: { heard: 0.03, silent: 0.06 },
  // A voice is not noticed to be higher up to here; a picture alone may hurry more. A jump costs far more than haste: the browser
  // decodes everything from the last keyframe on, and on a weak machine stalls again over that.
  faster: { heard: 0.03, silent: 0.25 },
  fasterAtStart: { heard: 0.08, silent: 0.3 },
  startLasts: 2500,
  reaction: 1000,
  reactionAtStart: 500,
};

/** What the player shows. Times in milliseconds of the stream. */
export interface View {
  position: number;
  /** Stretches of the stream that can be played without a hole, in order. */
  ranges: readonly { start: number; end: number }[];
  /** A person has paused. */
  paused: boolean;
  /** A seek is under way. */
  seeking: boolean;
  /** The player has nothing to show next. */
  starved: boolean;
}

export interface Seek { seek: number }
export interface Rate { rate: number }
export type Order = Seek | Rate;

/** For the details on the page. Milliseconds; null: not known yet. */
export interface Figures {
  /** Behind the newest picture that a line without jitter would have brought by now. */
  delay: number | null;
  /** The same, as aimed at. */
  aim: number | null;
  stalls: number;
  jumps: number;
}

/** The server's cache comes first, much faster than it plays. It has passed when in this time not much more came. */
const BURST_LOOK_MS = 60;
const BURST_STEP_MS = 130;
const BURST_PATIENCE_MS = 600;
/** At the first jump the line's lateness is not known yet; this much is assumed. */
const FIRST_LATENESS_MS = 60;
/** A step of more than this in the stream's time is no late arrival: its clock has jumped. */
const CLOCK_JUMP_MS = 1400;
const CLOCK_BACK_MS = 500;
/** So many accidents are none any more, and so far apart they are two. */
const ROUGH_COUNT = 3;
const ROUGH_APART_MS = 300;
/** Joining costs the browser a run through the whole cache; how late things came meanwhile says nothing. */
const SETTLE_MS = 700;
/** Starved for this long although there is enough in hand: the player is stuck, a seek frees it. */
const STUCK_MS = 700;
/** A player whose position has not moved for this long stands still. */
const STILL_MS = 300;
/**
 * Two seeks are at least this far apart, and twice as far with each one more: each makes the browser decode anew
 * from the last keyframe on, and where that is what it is too slow for, more seeks only make it worse.
 */
const SEEK_PAUSE_MS = 600;
const SEEK_PAUSE_MAX_MS = 20_000;
/** Rates are set in these steps, so that the player is not told something new thirty times a second. */
const RATE_STEP = 0.005;

export class LiveEdge {
  private readonly late: Record<Track, Peaks> = { video: new Peaks(40, 500), audio: new Peaks(40, 500) };
  private readonly early = new Peaks(40, 500);
  private readonly tracks = new Set<Track>();
  private readonly ends = new Map<Track, number>();
  private firstAt: number | null = null;
  private looked: { at: number; end: number } | null = null;
  /** Clock minus stream time at which everything in hand was; null before the first jump to the edge. */
  private setback: number | null = null;
  private setbackAt = 0;
  /** When the line was late beyond the usual, newest last; a few at most. */
  private readonly rough: number[] = [];
  private joinedAt: number | null = null;
  private penalty = 0;
  private penaltyAt = 0;
  private starvedSince: number | null = null;
  private stalled = false;
  private stalls = 0;
  private jumps = 0;
  private seekedAt = -Infinity;
  private seekPause = SEEK_PAUSE_MS;
  private rate = 1;
  private position = -1;
  private movedAt = 0;

  constructor(private readonly tuning: Tuning = TUNING) {}

  /** The newest sample of a track now ends at `end`. */
  arrived(now: number, track: Track, end: number): void {
    const before = this.ends.get(track);
    if (before !== undefined && this.joinedAt !== null && (before - end > CLOCK_BACK_MS || end - before > CLOCK_JUMP_MS)) this.forget();
    this.firstAt ??= now;
    this.tracks.add(track);
    // Pictures that are shown out of order step back a little; what was reached stays reached.
    if (before !== undefined && end <= before && this.joinedAt !== null && this.ends.has(track)) return;
    this.ends.set(track, end);
    if (this.joinedAt === null || before === undefined) return;
    if (now - this.joinedAt < SETTLE_MS) return;
    const reached = this.end();
    if (reached !== null) this.early.add(now, now - reached);
    const early = this.early.lowest(now) ?? now - end;
    const late = now - before;
    if (this.counts(now, late - early)) this.late[track].add(now, late);
  }

  /** Whether a lateness says something about the line. */
  private counts(now: number, late: number): boolean {
    const { latenessUsual, latenessMax, roughWithin } = this.tuning;
    // Both tracks, and what was held up behind the first, come late together: one accident.
    const before = this.rough[this.rough.length - 1] ?? -Infinity;
    const again = now - before <= ROUGH_APART_MS;
    if (late > latenessUsual && !again) {
      this.rough.push(now);
      if (this.rough.length > ROUGH_COUNT) this.rough.shift();
    }
    if (late <= latenessUsual && !again) return true;
    const first = this.rough[0] ?? -Infinity;
    return late <= latenessMax && this.rough.length === ROUGH_COUNT && now - first <= roughWithin;
  }

  /** To be called after arrivals, and every quarter of a second at least. */
  tick(now: number, view: View): Order[] {
    const end = this.end();
    if (end === null || this.firstAt === null) return [];
    if (this.joinedAt === null) return this.join(now, view, end);
    this.decay(now);
    const hole = this.overHole(now, view);
    if (hole) return hole;
    if (view.paused) {
      this.starvedSince = null;
      this.movedAt = now;
      return this.turn(1);
    }
    this.watchStalls(now, this.moves(now, view) ? view : { ...view, starved: true });

    const line = now - this.aim(now);
    const behind = line - view.position;
    if (view.seeking) return [];
    const cheap = this.stalled || now - this.joinedAt < this.tuning.startLasts;
    const limit = cheap ? this.tuning.jumpBehindShort : this.tuning.jumpBehind;
    // A jump to where nothing is in hand yet would only stall there.
    if ((behind > limit && end - line > this.floor() / 2) || this.stuck(now, view, end)) return this.jump(now, view, line);
    return this.turn(this.speed(now, behind));
  }

  /** A person pressed play, or the page came to the front again: be live at once. */
  rejoin(now: number, view: View): Order[] {
    if (this.joinedAt === null) return [];
    const line = now - this.aim(now);
    if (line - view.position <= 150) return [];
    this.seekPause = 0;
    return this.jump(now, view, line);
  }

  figures(now: number, position: number): Figures {
    const early = this.early.lowest(now);
    return {
      delay: early === null ? null : Math.max(0, now - early - position),
      aim: early === null || this.setback === null ? null : Math.max(0, this.setback - early),
      stalls: this.stalls,
      jumps: this.jumps,
    };
  }

  /** What all tracks have reached; null while one of them is still awaited. */
  private end(): number | null {
    if (this.ends.size === 0 || this.ends.size < this.tracks.size) return null;
    return Math.min(...this.ends.values());
  }

  /** The server sends its cache first, seconds of it at once. Playing starts when that has passed. */
  private join(now: number, view: View, end: number): Order[] {
    const looked = (this.looked ??= { at: now, end });
    if (now - looked.at < BURST_LOOK_MS) return [];
    const settled = end - looked.end <= BURST_STEP_MS || now - (this.firstAt ?? now) >= BURST_PATIENCE_MS;
    this.looked = { at: now, end };
    if (!settled || view.ranges.length === 0) return [];
    this.joinedAt = now;
    this.penaltyAt = this.setbackAt = now;
    const setback = now - end + this.floor() + FIRST_LATENESS_MS;
    this.setback = setback;
    this.early.add(now, now - end);
    this.seekedAt = -Infinity;
    return this.jump(now, view, now - setback);
  }

  private floor(): number {
    const { floor } = this.tuning;
    return Math.max(0, ...[...this.tracks].map((track) => floor[track]));
  }

  /** The setback to keep now. */
  private aim(now: number): number {
    let wanted = -Infinity;
    for (const track of ["video", "audio"] as const) {
      const peak = this.late[track].highest(now);
      if (peak !== null) wanted = Math.max(wanted, peak + this.tuning.floor[track] + this.penalty);
    }
    const held = this.setback;
    const passed = Math.max(0, now - this.setbackAt) / 1000;
    this.setbackAt = now;
    if (wanted === -Infinity) return held ?? 0;
    const start = this.joinedAt !== null && now - this.joinedAt < this.tuning.startLasts;
    const fall = start ? Infinity : this.tuning.setbackDecay * passed;
    this.setback = held === null ? wanted : Math.max(wanted, held - fall);
    return this.setback;
  }

  private speed(now: number, behind: number): number {
    const { deadband, reaction, reactionAtStart, slower, faster, fasterAtStart, startLasts } = this.tuning;
    // Once turning, it turns until it is there: a deadband alone would leave it at its rim.
    const width = this.rate === 1 ? deadband : deadband / 4;
    if (Math.abs(behind) < width) return 1;
    const start = this.joinedAt !== null && now - this.joinedAt < startLasts;
    const heard = this.tracks.has("audio") ? "heard" : "silent";
    const change = Math.min((start ? fasterAtStart : faster)[heard], Math.max(-slower[heard], behind / (start ? reactionAtStart : reaction)));
    return 1 + Math.round(change / RATE_STEP) * RATE_STEP;
  }

  private turn(rate: number): Order[] {
    if (Math.abs(rate - this.rate) < RATE_STEP / 2) return [];
    this.rate = rate;
    return [{ rate }];
  }

  /** Playing stands at the end of a stretch and the stream goes on behind a hole: over it. */
  private overHole(now: number, view: View): Order[] | null {
    if (view.seeking || view.paused) return null;
    const here = view.ranges.find((range) => view.position >= range.start - 1 && view.position < range.end - 1);
    if (here && !(view.starved && here.end - view.position < 60)) return null;
    const next = view.ranges.find((range) => range.start > view.position + 1 && range !== here);
    if (!next || now - this.seekedAt < SEEK_PAUSE_MS / 3) return null;
    return this.jump(now, view, Math.max(next.start, now - this.aim(now)), next.start);
  }

  /** Some players say that they have plenty and stand still all the same. */
  private moves(now: number, view: View): boolean {
    if (view.position !== this.position || view.seeking) {
      this.position = view.position;
      this.movedAt = now;
    }
    return now - this.movedAt < STILL_MS;
  }

  private watchStalls(now: number, view: View): void {
    // A seek starves the player by itself; that is no stall.
    if (!view.starved || view.seeking || now - this.seekedAt < SEEK_PAUSE_MS) {
      this.starvedSince = null;
      this.stalled = false;
      return;
    }
    this.starvedSince ??= now;
    if (this.stalled) return;
    this.stalled = true;
    this.stalls++;
    // Where data is late, its lateness raises the setback. Where it was there in time, this browser (its sound
    // device, its decoder) needs more in hand than most.
    const late = [...this.ends].some(([track, end]) => now - end > (this.late[track].highest(now) ?? Infinity));
    if (!late) this.penalty = Math.min(this.tuning.stallPenaltyMax, this.penalty + this.tuning.stallPenalty);
  }

  private stuck(now: number, view: View, end: number): boolean {
    return this.starvedSince !== null && now - this.starvedSince > STUCK_MS && end - view.position > this.floor() + 200;
  }

  private jump(now: number, view: View, to: number, from?: number): Order[] {
    if (now - this.seekedAt < this.seekPause && from === undefined) return [];
    const range = view.ranges[view.ranges.length - 1];
    if (!range) return [];
    const target = Math.min(Math.max(to, range.start), Math.max(range.start, range.end - 10));
    // A long time without one, and the next counts as the first again.
    const calm = now - this.seekedAt > 2 * SEEK_PAUSE_MAX_MS;
    this.seekPause = calm ? SEEK_PAUSE_MS : Math.min(SEEK_PAUSE_MAX_MS, Math.max(SEEK_PAUSE_MS, 2 * this.seekPause));
    this.seekedAt = now;
    this.jumps++;
    return [{ seek: target }, ...this.turn(1)];
  }

  private decay(now: number): void {
    const passed = Math.max(0, now - this.penaltyAt) / 1000;
    this.penaltyAt = now;
    this.penalty = Math.max(0, this.penalty - this.tuning.penaltyDecay * passed);
  }

  /** The stream's clock has jumped: what was learnt about lateness is void, and it is joined anew. */
  private forget(): void {
    this.late.video.clear();
    this.late.audio.clear();
    this.early.clear();
    this.ends.clear();
    this.joinedAt = this.firstAt = this.looked = null;
  }
}
