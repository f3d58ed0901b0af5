import { describe, expect, it } from "vitest";

import { streamsIn } from "../live/feed";
import { streamFrom, wordsFor } from "./words";

describe("the page", () => {
  it("takes the stream from its address", () => {
    expect(streamFrom("/watch/main")).toBe("main");
    expect(streamFrom("/watch/cam-2/")).toBe("cam-2");
    expect(streamFrom("/watch/a%20b")).toBe("a b");
    for (const path of ["/", "/watch/", "/watch/a/b", "/live/main", "/watch/%E0%A4%A"]) expect(streamFrom(path), path).toBeNull();
  });

  it("puts nothing over a picture that moves", () => {
    expect(wordsFor({ kind: "live" }, "main").notice).toBeNull();
  });

  it("offers the other streams where one is not there, not the missing one", () => {
    const words = wordsFor({ kind: "absent", streams: ["main", "side"] }, "main");
    expect(words.others).toEqual(["side"]);
    expect(words.notice?.title).toContain("main");
  });

  it("has a word of its own for every state", () => {
    const badges = (["connecting", "live", "quiet", "lost", "absent", "paused"] as const).map((kind) => {
      const phase = kind === "connecting" ? { kind, again: false } : kind === "absent" ? { kind, streams: [] } : { kind };
      return wordsFor(phase, "main").badge;
    });
    expect(new Set(badges).size).toBe(badges.length);
  });
});

describe("the box's answer", () => {
  it("is believed only as far as it has the right shape", () => {
    expect(streamsIn('{"streams":["main","side"]}')).toEqual(["main", "side"]);
    for (const body of ["", "no such stream", "[]", "null", '{"streams":"main"}', '{"streams":[1,{}]}']) expect(streamsIn(body), body).toEqual([]);
  });
});
