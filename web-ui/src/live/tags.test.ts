import { expect, it } from "vitest";

import { mulberry } from "./edge.sim";
import { BrokenStream, TagGatherer } from "./tags";

function stream(sizes: number[]): Uint8Array {
  const bytes = [0x46, 0x4c, 0x56, 1, 5, 0, 0, 0, 9, 0, 0, 0, 0];
  sizes.forEach((size, at) => {
    bytes.push(9, size >> 16, (size >> 8) & 255, size & 255, 0, 0, at, 0, 0, 0, 0);
    for (let i = 0; i < size; i++) bytes.push(i & 255);
    const total = size + 11;
    bytes.push(0, total >> 16, (total >> 8) & 255, total & 255);
  });
  return Uint8Array.from(bytes);
}

it("gives back every byte, in whole tags, however the network cuts them", () => {
  const whole = stream([5, 0, 70_000, 1, 300]);
  for (let seed = 1; seed <= 50; seed++) {
    const random = mulberry(seed);
    const gatherer = new TagGatherer();
    const out: number[] = [];
    for (let at = 0; at < whole.length; ) {
      const size = Math.max(1, Math.floor(random() ** 4 * 30_000));
      const tags = gatherer.push(whole.subarray(at, at + size));
      if (tags) out.push(...tags);
      at += size;
    }
    expect(out.length, `seed ${seed}`).toBe(whole.length);
    expect(out.every((byte, at) => byte === whole[at]), `seed ${seed}`).toBe(true);
  }
});

it("hands a tag on with its last byte, not later", () => {
  const whole = stream([100, 100]);
  const gatherer = new TagGatherer();
  const firstTagEnd = 13 + 115;
  expect(gatherer.push(whole.subarray(0, firstTagEnd - 1))).toBeNull();
  expect(gatherer.push(whole.subarray(firstTagEnd - 1, firstTagEnd))?.length).toBe(firstTagEnd);
});

it("refuses what is no FLV", () => {
  expect(() => new TagGatherer().push(new TextEncoder().encode("<!doctype html><title>no</title>"))).toThrow(BrokenStream);
});

it("refuses a tag of a size that no camera makes", () => {
  const bytes = stream([10]);
  bytes.set([0xff, 0xff, 0xff], 14);
  expect(() => new TagGatherer().push(bytes)).toThrow(BrokenStream);
});
