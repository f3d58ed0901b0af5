/**
 * A line and a browser made of numbers, for the tests of the live-edge control. Time is counted, not
 * waited for: an hour takes a second. Randomness comes from a seed, which a failing test names.
 */
import { LiveEdge, TUNING, type Track, type Tuning, type View } from "./edge";

export interface Line {
  /** Milliseconds from a picture being taken to its arrival when nothing is in the way. */
  travel: number;
  /** Extra lateness of one arrival. */
  jitter: (random: () => number, at: number) => number;
  /** The camera's clock against the browser's: 1.0001 is a camera that runs 100 ppm fast. */
  clock: number;
  audio: boolean;
  /** Seconds of stream that the server has in its cache when the viewer joins. */
  cache: number;
  /** Arrivals between these times (ms) are held up until the end. */
  outages: readonly (readonly [number, number])[];
  /** Stream time that is missing: what lies between never arrives. */
  holes: readonly (readonly [number, number])[];
}

export const STEADY: Line = { travel: 20, jitter: () => 0, clock: 1, audio: true, cache: 1500, outages: [], holes: [] };

export interface Seen {
  /** Clock time since joining, and camera to screen then. */
  samples: { at: number; delay: number; rate: number }[];
  stalls: number;
  seeks: number;
}

/** What Chromium's renderers were measured to need in hand to go on, and to begin again once dry. */
const DRY = { audio: 88, video: 40 };
const BEGIN = { audio: 200, video: 60 };
const STEP_MS = 5;

export function play(line: Line, lastsMs: number, seed = 1, tuning: Tuning = TUNING): Seen {
  const random = mulberry(seed);
  const edge = new LiveEdge(tuning);
  const seen: Seen = { samples: [], stalls: 0, seeks: 0 };
  const arrivals = { video: arrivalsOf(line, "video", lastsMs, random), audio: line.audio ? arrivalsOf(line, "audio", lastsMs, random) : [] };
  const next = { video: 0, audio: 0 };
  const ends = { video: -1, audio: -1 };
  const kind: Track = line.audio ? "audio" : "video";
  let ranges: { start: number; end: number }[] = [];
  let [position, rate, started, starved] = [0, 1, false, false];

  for (let now = 0; now < lastsMs; now += STEP_MS) {
    let news = false;
    for (const track of ["video", "audio"] as const) {
      for (let item = arrivals[track][next[track]]; item && item.arrives <= now; item = arrivals[track][++next[track]]) {
        ends[track] = item.end;
        edge.arrived(now, track, item.end);
        news = true;
      }
    }
    const reached = line.audio ? Math.min(ends.video, ends.audio) : ends.video;
    if (reached > 0) ranges = split(reached, line.holes);
    const here = ranges.find((range) => position >= range.start && position <= range.end);
    const ahead = here ? here.end - position : 0;
    if (started) {
      if (starved && ahead >= BEGIN[kind]) starved = false;
      else if (!starved && ahead < DRY[kind]) {
        starved = true;
        seen.stalls++;
      }
      if (!starved) position += STEP_MS * rate;
      if (now % 20 === 0) seen.samples.push({ at: now, delay: now - clockOf(line, position), rate });
    }
    if (!news && now % 100 !== 0) continue;
    const view: View = { position, ranges, paused: false, seeking: false, starved: started && starved };
    for (const order of edge.tick(now, view)) {
      if ("rate" in order) rate = order.rate;
      else {
        position = order.seek;
        seen.seeks++;
        started = true;
        starved = true;
      }
    }
  }
  return seen;
}

/** The delays from `from` milliseconds on, sorted. */
export function delays(seen: Seen, from: number): number[] {
  const first = seen.samples[0]?.at ?? 0;
  return seen.samples.filter((sample) => sample.at >= first + from).map((sample) => sample.delay).sort((a, b) => a - b);
}

export function percentile(sorted: readonly number[], share: number): number {
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? NaN;
}

/** Numbers from 0 to 1, the same for the same seed. */
export function mulberry(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4294967296;
  };
}

/** When the camera took what has this stream time, on the browser's clock. */
function clockOf(line: Line, streamTime: number): number {
  return (streamTime - line.cache) / line.clock;
}

function arrivalsOf(line: Line, track: Track, lastsMs: number, random: () => number): { arrives: number; end: number }[] {
  const length = track === "video" ? 1000 / 30 : 1024 / 48;
  // A picture is there when it is taken; sound when its frame is full.
  const readyAt = (start: number): number => clockOf(line, track === "video" ? start : start + length);
  const list = [];
  let last = 0;
  for (let start = 0; readyAt(start) < lastsMs; start += length) {
    if (line.holes.some(([from, to]) => start >= from && start < to)) continue;
    let arrives = Math.max(0, readyAt(start)) + line.travel;
    if (readyAt(start) > 0) arrives += line.jitter(random, arrives);
    for (const [from, to] of line.outages) if (arrives >= from && arrives < to) arrives = to;
    last = Math.max(last, arrives);
    list.push({ arrives: last, end: start + length });
  }
  return list;
}

function split(reached: number, holes: Line["holes"]): { start: number; end: number }[] {
  const ranges = [];
  let start = 0;
  for (const [from, to] of holes) {
    if (reached < from) break;
    ranges.push({ start, end: from });
    start = to;
  }
  if (reached > start) ranges.push({ start, end: reached });
  return ranges;
}
