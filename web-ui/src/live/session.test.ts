import { describe, expect, it } from "vitest";

import { Session, type Order } from "./session";

const half = (): number => 0.5;

/** Runs the session's own timers up to `until`; gives back when it asked to connect. */
function connects(session: Session, from: number, until: number, onConnect: (now: number) => void = () => undefined): number[] {
  const times = [];
  for (;;) {
    const due = session.wakeAt();
    if (due === null || due > until) return times;
    const now = Math.max(due, from);
    const orders: Order[] = session.handle(now, { kind: "tick" });
    if (orders.includes("connect")) {
      times.push(now);
      onConnect(now);
    }
  }
}

function started(): Session {
  const session = new Session(0, half);
  expect(session.handle(0, { kind: "tick" })).toEqual(["connect"]);
  return session;
}

describe("a box that went away", () => {
  it("is tried for ever, quickly at first and never more than seconds apart", () => {
    const session = started();
    session.handle(100, { kind: "ended", ending: { kind: "lost" } });
    const times = connects(session, 100, 600_000, (now) => session.handle(now, { kind: "ended", ending: { kind: "lost" } }));
    expect((times[0] ?? Infinity) - 100).toBeLessThanOrEqual(500);
    const steps = times.slice(1).map((time, at) => time - (times[at] ?? 0));
    expect(Math.max(...steps)).toBeLessThanOrEqual(5000);
    expect(times.length).toBeGreaterThan(100);
  });

  it("is told in the same words until something changes", () => {
    const session = started();
    session.handle(100, { kind: "data" });
    session.handle(5000, { kind: "ended", ending: { kind: "lost" } });
    expect(session.phase).toEqual({ kind: "lost" });
    connects(session, 5000, 5600);
    expect(session.phase).toEqual({ kind: "lost" });
    session.handle(5700, { kind: "data" });
    expect(session.phase).toEqual({ kind: "live" });
  });

  it("is asked at once when the network is back", () => {
    const session = started();
    session.handle(100, { kind: "ended", ending: { kind: "lost" } });
    expect(session.handle(150, { kind: "wake" })).toEqual(["connect"]);
    expect(session.handle(160, { kind: "wake" })).toEqual([]);
  });

  it("does not get all its viewers back in the same instant", () => {
    const early = new Session(0, () => 0);
    const late = new Session(0, () => 1);
    for (const session of [early, late]) {
      session.handle(0, { kind: "tick" });
      session.handle(10, { kind: "ended", ending: { kind: "lost" } });
    }
    expect(late.wakeAt()).toBeGreaterThan(early.wakeAt() ?? Infinity);
  });
});

describe("a line that says nothing", () => {
  it("is told after two seconds, and made anew after eight", () => {
    const session = started();
    session.handle(100, { kind: "data" });
    session.handle(2100, { kind: "tick" });
    expect(session.phase).toEqual({ kind: "quiet" });
    expect(session.handle(8100, { kind: "tick" })).toEqual(["disconnect"]);
    expect(session.phase).toEqual({ kind: "lost" });
  });

  it("is live again with the first byte", () => {
    const session = started();
    session.handle(100, { kind: "data" });
    session.handle(2200, { kind: "tick" });
    session.handle(4000, { kind: "data" });
    expect(session.phase).toEqual({ kind: "live" });
  });
});

describe("a stream that is not there", () => {
  it("is named with the others, and looked for again every few seconds", () => {
    const session = started();
    session.handle(50, { kind: "ended", ending: { kind: "absent", streams: ["side"] } });
    expect(session.phase).toEqual({ kind: "absent", streams: ["side"] });
    const times = connects(session, 50, 20_000, (now) => session.handle(now, { kind: "ended", ending: { kind: "absent", streams: [] } }));
    expect(times.length).toBe(3);
  });
});

describe("a box that is full", () => {
  it("is not asked again before it said", () => {
    const session = started();
    session.handle(50, { kind: "ended", ending: { kind: "refused", status: 503, retryAfterMs: 10_000 } });
    expect(session.wakeAt()).toBeGreaterThanOrEqual(10_050);
  });
});

describe("a person who pauses", () => {
  it("keeps the connection for a moment and frees it then", () => {
    const session = started();
    session.handle(100, { kind: "data" });
    expect(session.handle(1000, { kind: "pause" })).toEqual([]);
    expect(session.handle(3000, { kind: "play" })).toEqual([]);
    session.handle(4000, { kind: "pause" });
    expect(session.handle(14_000, { kind: "tick" })).toEqual(["disconnect"]);
    expect(session.handle(90_000, { kind: "play" })).toEqual(["connect"]);
  });

  it("is not disturbed by what happens meanwhile", () => {
    const session = started();
    session.handle(100, { kind: "data" });
    session.handle(1000, { kind: "pause" });
    session.handle(1100, { kind: "data" });
    session.handle(1200, { kind: "ended", ending: { kind: "lost" } });
    expect(session.phase).toEqual({ kind: "paused" });
    expect(session.wakeAt()).toBeNull();
    expect(session.handle(5000, { kind: "wake" })).toEqual([]);
  });
});

it("a person who wants sound gets it without a word about connections", () => {
  const session = started();
  session.handle(100, { kind: "data" });
  expect(session.handle(5000, { kind: "renew" })).toEqual(["disconnect", "connect"]);
  expect(session.phase).toEqual({ kind: "live" });
});

it("a browser that cannot play it is not sent round in circles", () => {
  const session = started();
  expect(session.handle(100, { kind: "unplayable", reason: "hvc1" })).toEqual(["disconnect"]);
  expect(session.handle(200, { kind: "wake" })).toEqual([]);
  expect(session.wakeAt()).toBeNull();
});
