import { describe, expect, it } from "vitest";

import { LiveEdge, type View } from "./edge";
import { STEADY, delays, percentile, play, type Line } from "./edge.sim";

const MINUTE = 60_000;
const SEEDS = [1, 2, 3, 4, 5];
const uniform = (most: number): Line["jitter"] => (random) => random() * most;

describe("on a steady line", () => {
  it("is within 200 ms from two seconds after joining, and never stalls", () => {
    const seen = play(STEADY, 10 * MINUTE);
    const late = delays(seen, 2000);
    expect(percentile(late, 0.5)).toBeLessThanOrEqual(200);
    expect(percentile(late, 0.99)).toBeLessThanOrEqual(220);
    expect(seen.stalls).toBe(0);
  });

  it("jumps once, over the cache that the server sends first", () => {
    for (const cache of [100, 800, 2000, 5000]) expect(play({ ...STEADY, cache }, 5000).seeks, `${cache} ms of cache`).toBe(1);
  });

  it("is nearer still without sound", () => {
    const late = delays(play({ ...STEADY, audio: false }, MINUTE), 3000);
    expect(percentile(late, 0.99)).toBeLessThanOrEqual(150);
  });

  it("settles: the speed is not touched any more", () => {
    const seen = play(STEADY, 2 * MINUTE);
    const touched = seen.samples.filter((sample) => sample.at > MINUTE && sample.rate !== 1);
    expect(touched.length / seen.samples.length).toBeLessThan(0.05);
  });
});

describe("on a line that stutters", () => {
  it("stays within the goal with 40 ms of jitter and does not stall in ten minutes", () => {
    for (const seed of SEEDS) {
      const seen = play({ ...STEADY, jitter: uniform(40) }, 10 * MINUTE, seed);
      const late = delays(seen, 2000);
      expect(percentile(late, 0.5), `seed ${seed}`).toBeLessThanOrEqual(220);
      expect(percentile(late, 0.99), `seed ${seed}`).toBeLessThanOrEqual(300);
      expect(seen.stalls, `seed ${seed}`).toBe(0);
    }
  });

  it("keeps a greater distance where it must, and takes it back afterwards", () => {
    for (const seed of SEEDS) {
      const bad: Line["jitter"] = (random, at) => (at > MINUTE && at < 2 * MINUTE ? random() * 200 : random() * 10);
      const seen = play({ ...STEADY, jitter: bad }, 4 * MINUTE, seed);
      expect(seen.stalls, `seed ${seed}`).toBeLessThanOrEqual(2);
      const after = seen.samples.filter((sample) => sample.at > 3 * MINUTE).map((sample) => sample.delay);
      expect(Math.max(...after), `seed ${seed}`).toBeLessThanOrEqual(240);
    }
  });

  it("does not pay for one accident with a minute of delay", () => {
    const seen = play({ ...STEADY, outages: [[30_000, 30_300]] }, MINUTE);
    const after = seen.samples.filter((sample) => sample.at > 45_000).map((sample) => sample.delay);
    expect(Math.max(...after)).toBeLessThanOrEqual(300);
  });

  it("pays for accidents that come again and again, and then has none", () => {
    const outages = Array.from({ length: 20 }, (_, at) => [10_000 + at * 5000, 10_260 + at * 5000] as const);
    const whole = play({ ...STEADY, outages }, 2 * MINUTE).stalls;
    const start = play({ ...STEADY, outages: outages.slice(0, 4) }, 2 * MINUTE).stalls;
    expect(whole).toBe(start);
    expect(start).toBeLessThanOrEqual(4);
  });

  it("changes the speed of what is heard by no more than three percent", () => {
    for (const seed of SEEDS) {
      const seen = play({ ...STEADY, jitter: uniform(120) }, MINUTE, seed);
      const later = seen.samples.filter((sample) => sample.at > 5000).map((sample) => sample.rate);
      expect(Math.min(...later)).toBeGreaterThanOrEqual(0.97);
      expect(Math.max(...later)).toBeLessThanOrEqual(1.03);
    }
  });
});

describe("over a long time", () => {
  it("does not fall behind in an hour, whichever clock is the faster one", () => {
    for (const clock of [0.9998, 1.0002]) {
      const seen = play({ ...STEADY, clock, jitter: uniform(15) }, 60 * MINUTE);
      const late = seen.samples.filter((sample) => sample.at > 59 * MINUTE).map((sample) => sample.delay);
      expect(Math.max(...late), `clock ${clock}`).toBeLessThanOrEqual(240);
      expect(seen.stalls, `clock ${clock}`).toBe(0);
    }
  });
});

describe("after trouble", () => {
  it("is live again within seconds of the line coming back", () => {
    const seen = play({ ...STEADY, outages: [[20_000, 23_000]] }, MINUTE);
    const after = seen.samples.filter((sample) => sample.at > 40_000).map((sample) => sample.delay);
    expect(Math.max(...after)).toBeLessThanOrEqual(700);
    const later = play({ ...STEADY, outages: [[20_000, 23_000]] }, 3 * MINUTE).samples.filter((sample) => sample.at > 2 * MINUTE);
    expect(Math.max(...later.map((sample) => sample.delay))).toBeLessThanOrEqual(240);
  });

  it("goes over a hole in the stream by itself", () => {
    const seen = play({ ...STEADY, holes: [[15_000, 17_000]] }, 30_000);
    expect(seen.seeks).toBe(2);
    const after = seen.samples.filter((sample) => sample.at > 20_000).map((sample) => sample.delay);
    expect(Math.max(...after)).toBeLessThanOrEqual(300);
  });

  it("learns anew when the stream's clock jumps", () => {
    const edge = new LiveEdge();
    const view = (position: number, end: number): View => ({ position, ranges: [{ start: 0, end }], paused: false, seeking: false, starved: false });
    for (let at = 0; at < 3000; at += 33) {
      edge.arrived(at, "video", at + 33);
      edge.tick(at, view(at - 60, at + 33));
    }
    const orders = [];
    for (let at = 3000; at < 4000; at += 33) {
      edge.arrived(at, "video", 57_000 + at);
      orders.push(...edge.tick(at + 32, view(2960, 57_000 + at)));
    }
    expect(orders.some((order) => "seek" in order && order.seek > 59_800)).toBe(true);
  });
});

describe("a person", () => {
  const at = (position: number, paused: boolean): View => ({ position, ranges: [{ start: 0, end: 10_000 }], paused, seeking: false, starved: false });
  const joined = (): LiveEdge => {
    const edge = new LiveEdge();
    for (let now = 0; now <= 2000; now += 33) {
      edge.arrived(now, "video", now + 33);
      edge.tick(now, { ...at(now - 60, false), ranges: [{ start: 0, end: now + 33 }] });
    }
    for (let now = 2033; now <= 10_000; now += 33) edge.arrived(now, "video", now + 33);
    return edge;
  };

  it("who has paused is left where he is", () => {
    expect(joined().tick(10_000, at(2000, true)).some((order) => "seek" in order)).toBe(false);
  });

  it("who presses play is live at once", () => {
    const orders = joined().rejoin(10_000, at(2000, false));
    expect(orders[0]).toHaveProperty("seek");
    expect(orders[0] && "seek" in orders[0] ? orders[0].seek : 0).toBeGreaterThan(9700);
  });
});
