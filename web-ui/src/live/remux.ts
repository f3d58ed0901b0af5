/**
 * Packs samples into MP4 fragments for the browser, each as soon as it is there.
 *
 * mpegts.js' own remuxer holds the newest one or two samples back, because only the next one tells how
 * long they last: 33 to 66 ms at 30 pictures a second. Here nothing is held back. A picture's length is
 * guessed from the one before, its start is always the stream's own, so guesses never add up. Sound is
 * laid end to end, since browsers play it that way whatever its times say, and a real hole in it is
 * filled with silence.
 */
import AAC from "mpegts.js/src/remux/aac-silent.js";
import MP4 from "mpegts.js/src/remux/mp4-generator.js";

import type { AudioSample, TrackConfig, TrackKind, VideoSample } from "./demux";

/** A piece for one SourceBuffer. Times in milliseconds of the stream. */
export interface Segment {
  kind: TrackKind;
  bytes: Uint8Array<ArrayBuffer>;
  /** The end of what it adds; null for a codec configuration. */
  end: number | null;
  /** When the last keyframe in it is shown; null: it has none. */
  keyframe: number | null;
}

/**
 * The first picture of a session claims to last this long. Browsers take a step of more than twice the
 * longest picture so far for a break and drop everything up to the next keyframe (Media Source
 * Extensions §3.5.8); a camera that skips a few pictures in the dark must not cost two seconds.
 */
const FIRST_PICTURE_MS = 500;
/** How many distances between pictures tell how long the next one lasts. */
const STEPS_KEPT = 5;
/** Sound that is off its place by less than this is rounding, or a clock; it is laid end to end. */
const AUDIO_SLACK_MS = 12;
/** A longer hole than this is a break of the whole stream, and no silence is made for it. */
const AUDIO_FILL_MAX_MS = 2000;

/** MIME type with codec, as `MediaSource.addSourceBuffer` wants it. */
export function mimeOf(config: TrackConfig): string {
  return `${config.type}/mp4; codecs="${honest(config).codec}"`;
}

/** The codec configuration as a segment. */
export function initSegment(config: TrackConfig): Segment {
  return { kind: config.type, bytes: MP4.generateInitSegment(honest(config)), end: null, keyframe: null };
}

export class VideoPacker {
  private sequence = 0;
  private lastDts: number | null = null;
  /** The last distances between pictures. A camera that skips one has not become slower by that. */
  private readonly steps: number[];

  /** `step`: how long a picture lasts until some have told, in milliseconds. */
  constructor(step: number) {
    this.steps = [step > 0 && step < 1000 ? step : 33];
  }

  private get step(): number {
    const sorted = [...this.steps].sort((a, b) => a - b);
    return Math.round(sorted[sorted.length >> 1] ?? 33);
  }

  pack(samples: readonly VideoSample[]): Segment[] {
    const [first, ...rest] = samples;
    if (!first) return [];
    // Times inside a fragment are sums of lengths, so the long first picture needs one of its own.
    if (this.lastDts === null) return [this.fragment([first], FIRST_PICTURE_MS), ...this.pack(rest)];
    return [this.fragment(samples, null)];
  }

  private fragment(samples: readonly VideoSample[], length: number | null): Segment {
    const packed = samples.map((sample, at) => {
      const passed = this.lastDts === null ? 0 : sample.dts - this.lastDts;
      if (passed > 0 && passed < FIRST_PICTURE_MS) this.steps.push(passed);
      if (this.steps.length > STEPS_KEPT) this.steps.shift();
      this.lastDts = sample.dts;
      const next = samples[at + 1];
      return {
        duration: next ? Math.max(1, next.dts - sample.dts) : (length ?? this.step),
        size: sample.length,
        cts: sample.cts,
        flags: {
          isLeading: 0,
          dependsOn: sample.isKeyframe ? 2 : 1,
          isDependedOn: sample.isKeyframe ? 1 : 0,
          hasRedundancy: 0,
          isNonSync: sample.isKeyframe ? 0 : 1,
        },
      };
    });
    const payload = samples.flatMap((sample) => sample.units.map((unit) => unit.data));
    return {
      kind: "video",
      bytes: fragment(1, this.sequence++, samples[0]?.dts ?? 0, packed, payload),
      end: Math.max(...samples.map((sample) => sample.dts + sample.cts)) + this.step,
      keyframe: samples.reduce<number | null>((at, sample) => (sample.isKeyframe ? sample.dts + sample.cts : at), null),
    };
  }
}

export class AudioPacker {
  private sequence = 0;
  /** Where the next frame belongs, exactly. */
  private next: number | null = null;
  private readonly frame: number;
  private readonly silence: Uint8Array | null;

  constructor(config: TrackConfig) {
    this.frame = config.refSampleDuration;
    this.silence = AAC.getSilentFrame(config.originalCodec ?? config.codec, config.channelCount ?? 2);
  }

  pack(samples: readonly AudioSample[]): Segment[] {
    const first = samples[0];
    if (!first) return [];
    let next = this.next ?? first.dts;
    let start = next;
    const units: Uint8Array[] = [];
    for (const sample of samples) {
      const off = sample.dts - next;
      if (off > AUDIO_FILL_MAX_MS || off < -AUDIO_FILL_MAX_MS) {
        // A break: what is packed so far would lie on the wrong side of it.
        if (units.length > 0) return [this.split(samples, units, start, sample)];
        start = next = sample.dts;
      } else if (off > this.frame && this.silence) {
        for (let missing = Math.floor(off / this.frame); missing > 0; missing--) {
          units.push(this.silence);
          next += this.frame;
        }
      } else if (off < -this.frame) {
        continue;
      } else if (Math.abs(off) > AUDIO_SLACK_MS && units.length === 0) {
        start = next = sample.dts;
      }
      units.push(sample.unit);
      next += this.frame;
    }
    this.next = next;
    return units.length > 0 ? [this.wrap(start, units)] : [];
  }

  /** Packs up to the break; the rest is rare enough to be lost (it is the sound around a jump). */
  private split(samples: readonly AudioSample[], units: Uint8Array[], start: number, breakAt: AudioSample): Segment {
    const after = samples.slice(samples.indexOf(breakAt));
    this.next = (after[after.length - 1]?.dts ?? breakAt.dts) + this.frame;
    return this.wrap(start, units);
  }

  private wrap(start: number, units: Uint8Array[]): Segment {
    const packed = units.map((unit, at) => ({
      duration: Math.floor(start + (at + 1) * this.frame) - Math.floor(start + at * this.frame),
      size: unit.byteLength,
      cts: 0,
      flags: { isLeading: 0, dependsOn: 2, isDependedOn: 0, hasRedundancy: 0, isNonSync: 0 },
    }));
    return {
      kind: "audio",
      bytes: fragment(2, this.sequence++, Math.floor(start), packed, units),
      end: start + units.length * this.frame,
      keyframe: null,
    };
  }
}

/** mpegts.js declares all stereo AAC as HE-AAC, for servers that switch profiles; ours never does. */
function honest(config: TrackConfig): TrackConfig {
  if (config.type !== "audio" || config.originalCodec !== "mp4a.40.2" || !config.config) return config;
  const [first = 0, second = 0] = config.config;
  return { ...config, codec: "mp4a.40.2", config: [(2 << 3) | (first & 7), second & 0xf8] };
}

function fragment(id: number, sequenceNumber: number, start: number, samples: object[], payload: Uint8Array[]): Uint8Array<ArrayBuffer> {
  const moof = MP4.moof({ id, sequenceNumber, samples }, start);
  const size = payload.reduce((sum, part) => sum + part.byteLength, 8);
  const bytes = new Uint8Array(moof.byteLength + size);
  bytes.set(moof, 0);
  let at = moof.byteLength;
  new DataView(bytes.buffer).setUint32(at, size);
  bytes.set([0x6d, 0x64, 0x61, 0x74], at + 4); // "mdat"
  at += 8;
  for (const part of payload) {
    bytes.set(part, at);
    at += part.byteLength;
  }
  return bytes;
}
