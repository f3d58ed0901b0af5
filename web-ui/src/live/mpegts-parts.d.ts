// The parts of mpegts.js that the page is built from. The package ships its sources but types only for
// its ready-made player, so what is used of them is written down here, for the pinned version.

declare module "mpegts.js/src/demux/flv-demuxer.js" {
  import type { TrackConfig, VideoTrack, AudioTrack } from "./demux";

  export default class FLVDemuxer {
    constructor(probe: { dataOffset: number; hasAudioTrack: boolean; hasVideoTrack: boolean }, config: object);
    static probe(buffer: ArrayBuffer): { needMoreData: true } | { match: false } | { match: true; dataOffset: number; hasAudioTrack: boolean; hasVideoTrack: boolean };
    onError: (kind: string, message: string) => void;
    onMediaInfo: (info: object) => void;
    onTrackMetadata: (type: "video" | "audio", config: TrackConfig) => void;
    onDataAvailable: (audio: AudioTrack, video: VideoTrack) => void;
    overridedDuration: number;
    overridedHasAudio: boolean;
    overridedHasVideo: boolean;
    parseChunks(chunk: ArrayBuffer, byteStart: number): number;
    destroy(): void;
  }
}

declare module "mpegts.js/src/remux/mp4-generator.js" {
  export default class MP4 {
    static init(): void;
    static generateInitSegment(config: object): Uint8Array<ArrayBuffer>;
    static moof(track: object, baseMediaDecodeTime: number): Uint8Array<ArrayBuffer>;
    static mdat(payload: Uint8Array): Uint8Array<ArrayBuffer>;
  }
}

declare module "mpegts.js/src/remux/aac-silent.js" {
  export default class AAC {
    static getSilentFrame(codec: string, channels: number): Uint8Array | null;
  }
}

declare module "mpegts.js/src/utils/logger.js" {
  export default class Log {
    static ENABLE_INFO: boolean;
    static ENABLE_DEBUG: boolean;
    static ENABLE_VERBOSE: boolean;
    static ENABLE_WARN: boolean;
    static ENABLE_ERROR: boolean;
  }
}
