import { expect, it } from "vitest";

import { Peaks } from "./peaks";

it("remembers the extremes of the last seconds and forgets older ones", () => {
  const peaks = new Peaks(4, 500);
  peaks.add(0, 90);
  peaks.add(600, 10);
  peaks.add(1900, 30);
  expect([peaks.lowest(1900), peaks.highest(1900)]).toEqual([10, 90]);
  expect([peaks.lowest(2100), peaks.highest(2100)]).toEqual([10, 30]);
  expect([peaks.lowest(9000), peaks.highest(9000)]).toEqual([null, null]);
});

it("says nothing before it has seen anything", () => {
  expect(new Peaks(4, 500).highest(0)).toBeNull();
});
