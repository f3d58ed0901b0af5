import { describe, expect, it } from "vitest";

import type { AudioSample, TrackConfig, VideoSample } from "./demux";
import { AudioPacker, VideoPacker, mimeOf } from "./remux";

const picture = (dts: number, isKeyframe = false): VideoSample => ({ units: [{ data: new Uint8Array(10) }], length: 10, isKeyframe, dts, cts: 0 });
const sound = (dts: number): AudioSample => ({ unit: new Uint8Array(6), length: 6, dts });
const AAC: TrackConfig = { type: "audio", codec: "mp4a.40.5", originalCodec: "mp4a.40.2", config: [0x2b, 0x92, 0x08, 0x00], audioSampleRate: 48_000, channelCount: 2, refSampleDuration: 1024 / 48 };

/** Start and sample lengths of a fragment, read from its `tfdt` and `trun`. */
function times(bytes: Uint8Array): { start: number; durations: number[] } {
  const view = new DataView(bytes.buffer, bytes.byteOffset);
  const find = (name: string): number => {
    for (let at = 0; at + 4 <= bytes.length; at++) if (String.fromCharCode(...bytes.subarray(at, at + 4)) === name) return at + 4;
    throw new Error(`no ${name}`);
  };
  const trun = find("trun");
  const count = view.getUint32(trun + 4);
  return { start: view.getUint32(find("tfdt") + 4), durations: Array.from({ length: count }, (_, at) => view.getUint32(trun + 12 + at * 16)) };
}

describe("pictures", () => {
  it("leave at once, one by one, at their own times", () => {
    const packer = new VideoPacker(33);
    packer.pack([picture(0, true)]);
    for (const dts of [33, 67, 100, 133]) {
      const [segment, ...more] = packer.pack([picture(dts)]);
      expect(more).toEqual([]);
      expect(segment && times(segment.bytes).start).toBe(dts);
      expect(segment?.end).toBeGreaterThanOrEqual(dts + 33);
    }
  });

  it("of a whole cache go together and keep their distances", () => {
    const segments = new VideoPacker(33).pack([picture(0, true), picture(33), picture(67), picture(100)]);
    expect(segments.map((segment) => times(segment.bytes))).toEqual([
      { start: 0, durations: [500] },
      { start: 33, durations: [34, 33, 33] },
    ]);
    expect(segments[0]?.keyframe).toBe(0);
  });

  it("that a camera skips are no break: the first claims to last long", () => {
    const [first] = new VideoPacker(33).pack([picture(40, true)]);
    expect(first && times(first.bytes).durations).toEqual([500]);
  });

  it("of a slower camera last as long as most before them", () => {
    const packer = new VideoPacker(33);
    packer.pack([picture(0, true)]);
    for (const dts of [100, 200, 300]) packer.pack([picture(dts)]);
    const [segment] = packer.pack([picture(400)]);
    expect(segment && times(segment.bytes).durations).toEqual([100]);
  });

  it("after a skipped one do not claim to reach further than they do", () => {
    const packer = new VideoPacker(33);
    packer.pack([picture(0, true), picture(33), picture(67), picture(100)]);
    const [segment] = packer.pack([picture(233)]);
    expect(segment?.end).toBeLessThanOrEqual(233 + 34);
  });
});

describe("sound", () => {
  it("lies end to end although its times are rounded to milliseconds", () => {
    const packer = new AudioPacker(AAC);
    let end = 0;
    for (let at = 0; at < 1000; at++) {
      const [segment] = packer.pack([sound(Math.round((at * 1024) / 48))]);
      const { start, durations } = times(segment?.bytes ?? new Uint8Array());
      expect(start).toBe(end);
      end = start + (durations[0] ?? 0);
    }
    expect(Math.abs(end - (1000 * 1024) / 48)).toBeLessThan(2);
  });

  it("that is missing is filled with silence, so that voice and picture stay together", () => {
    const packer = new AudioPacker(AAC);
    packer.pack([sound(0)]);
    const [segment] = packer.pack([sound(128)]);
    expect(segment && times(segment.bytes).durations.length).toBe(6);
    expect(segment?.end).toBeCloseTo(7 * (1024 / 48), 3);
  });

  it("behind a break of the stream begins where it says", () => {
    const packer = new AudioPacker(AAC);
    packer.pack([sound(0)]);
    const [segment] = packer.pack([sound(9000)]);
    expect(segment && times(segment.bytes).start).toBe(9000);
  });

  it("is declared as what it is", () => {
    expect(mimeOf(AAC)).toBe('audio/mp4; codecs="mp4a.40.2"');
  });
});
