/**
 * Takes FLV apart by mpegts.js' demuxer: network bytes in, samples and codec configurations out.
 */
import FLVDemuxer from "mpegts.js/src/demux/flv-demuxer.js";
import Log from "mpegts.js/src/utils/logger.js";

import { BrokenStream, TagGatherer } from "./tags";

export type TrackKind = "video" | "audio";

/** What a decoder must know before the first sample, as the demuxer words it. Times in milliseconds. */
export interface TrackConfig {
  type: TrackKind;
  /** The RFC 6381 name that the demuxer would declare. */
  codec: string;
  /** The RFC 6381 name of what is really sent. */
  originalCodec?: string;
  /** AudioSpecificConfig, as bytes. */
  config?: number[];
  audioSampleRate?: number;
  channelCount?: number;
  refSampleDuration: number;
  codecWidth?: number;
  codecHeight?: number;
}

/** One picture in decode order; `units` are NAL units with their length in front. */
export interface VideoSample {
  units: { data: Uint8Array }[];
  length: number;
  isKeyframe: boolean;
  dts: number;
  cts: number;
}

/** One AAC frame. */
export interface AudioSample {
  unit: Uint8Array;
  length: number;
  dts: number;
}

/** The demuxer's queue of one track: whoever takes the samples empties it. */
export interface VideoTrack { samples: VideoSample[]; length: number }
export interface AudioTrack { samples: AudioSample[]; length: number }

/** What comes out, in the order of the stream. */
export interface DemuxSink {
  config(config: TrackConfig): void;
  samples(video: VideoSample[], audio: AudioSample[]): void;
}

/** After this much stream time a track that the header promised and that never came is given up. */
const PROMISED_TRACK_WAIT_MS = 1500;

// What it has to say concerns us through its callbacks; the console is for people.
Log.ENABLE_INFO = Log.ENABLE_DEBUG = Log.ENABLE_VERBOSE = Log.ENABLE_WARN = false;

export class Demux {
  private readonly gatherer = new TagGatherer();
  private demuxer: FLVDemuxer | null = null;
  private position = 0;
  private readonly known = new Set<TrackKind>();
  private flags = { video: false, audio: false };
  private firstTimestamp: number | null = null;
  private released = false;

  constructor(private readonly sink: DemuxSink) {}

  /** @throws BrokenStream on bytes that are no FLV, or a codec that FLV has no business with. */
  push(piece: Uint8Array): void {
    const tags = this.gatherer.push(piece);
    if (!tags) return;
    this.demuxer ??= this.open(tags);
    this.giveUpPromises(tags);
    this.demuxer.parseChunks(tags.buffer, this.position);
    this.position += tags.byteLength;
  }

  close(): void {
    this.demuxer?.destroy();
    this.demuxer = null;
  }

  private open(tags: Uint8Array<ArrayBuffer>): FLVDemuxer {
    const probe = FLVDemuxer.probe(tags.buffer);
    if (!("match" in probe) || !probe.match) throw new BrokenStream("this is not FLV");
    this.flags = { video: probe.hasVideoTrack, audio: probe.hasAudioTrack };
    const demuxer = new FLVDemuxer(probe, {});
    // Without a duration the browser plays it as live: it shows a picture as soon as it has one.
    demuxer.overridedDuration = 0;
    demuxer.overridedHasVideo = probe.hasVideoTrack;
    demuxer.overridedHasAudio = probe.hasAudioTrack;
    demuxer.onError = (kind, message) => {
      throw new BrokenStream(`${kind}: ${message}`);
    };
    demuxer.onMediaInfo = () => undefined;
    demuxer.onTrackMetadata = (type, config) => {
      this.known.add(type);
      this.sink.config(config);
    };
    demuxer.onDataAvailable = (audio, video) => {
      this.released = true;
      this.sink.samples(video.samples, audio.samples);
      video.samples = [];
      audio.samples = [];
      video.length = audio.length = 0;
    };
    return demuxer;
  }

  /**
   * A header may promise sound that never comes (a camera whose microphone died). The demuxer would
   * hold the pictures back for ever; after a while they go without.
   */
  private giveUpPromises(tags: Uint8Array): void {
    if (this.released || !this.demuxer) return;
    const at = this.position === 0 ? 13 : 0;
    const timestamp = ((tags[at + 7] ?? 0) << 24) | ((tags[at + 4] ?? 0) << 16) | ((tags[at + 5] ?? 0) << 8) | (tags[at + 6] ?? 0);
    this.firstTimestamp ??= timestamp;
    if (timestamp - this.firstTimestamp < PROMISED_TRACK_WAIT_MS) return;
    if (this.flags.audio && !this.known.has("audio") && this.known.has("video")) this.demuxer.overridedHasAudio = false;
    if (this.flags.video && !this.known.has("video") && this.known.has("audio")) this.demuxer.overridedHasVideo = false;
  }
}
