/** What the page says, in plain words. Pure: a phase goes in, text comes out. */
import type { Report } from "../live/player";
import type { Phase } from "../live/session";

/** How it stands, for the badge: told by its word and its shape, the colour only helps. */
export type Mood = "live" | "wait" | "off";

export interface Words {
  badge: string;
  mood: Mood;
  /** Over the picture; null: nothing is in the way of it. */
  notice: { title: string; text: string } | null;
  /** Other streams to offer. */
  others: string[];
}

export function wordsFor(phase: Phase, stream: string): Words {
  const say = (badge: string, mood: Mood, title?: string, text = "", others: string[] = []): Words => ({
    badge,
    mood,
    notice: title === undefined ? null : { title, text },
    others,
  });
  switch (phase.kind) {
    case "connecting":
      return phase.again ? say("Reconnecting", "wait", "Reconnecting…") : say("Connecting", "wait", "Connecting…");
    case "live":
      return say("Live", "live");
    case "quiet":
      return say("Waiting", "wait", "No new picture at the moment", "The camera or the network has paused. It goes on by itself.");
    case "lost":
      return say("Reconnecting", "wait", "The connection is gone", "Trying again. This page goes on by itself, there is no need to reload it.");
    case "refused":
      return phase.status === 503 || phase.status === 429
        ? say("Waiting", "wait", "The box is full or not ready yet", "You will be let in as soon as there is room.")
        : say("Off", "off", "The box does not let this page watch", `It answered with status ${phase.status}. Ask whoever runs it. Trying again meanwhile.`);
    case "absent": {
      const others = phase.streams.filter((name) => name !== stream);
      const text = others.length > 0 ? "These are on:" : "Nothing else is on either. If it starts, it appears here.";
      return say("Off", "off", `There is no stream called “${stream}” right now`, text, others);
    }
    case "paused":
      return say("Paused", "off");
    case "unplayable":
      return phase.reason === "mse"
        ? say("Off", "off", "This browser cannot play live video", "Use a current Chrome, Edge, Firefox or Safari (iPhone: iOS 17.1 or newer).")
        : say("Off", "off", "This browser cannot play this stream", `It lacks the decoder for ${phase.reason}. Another browser may have it.`);
  }
}

/** The rows of the details: name and value. */
export function figuresFor(report: Report): [string, string][] {
  const seconds = (ms: number): string => `${(ms / 1000).toFixed(2)} s`;
  const { video, audio } = report.tracks;
  const tracks = video ? (audio ? "picture and sound" : "picture only") : audio ? "sound only" : "–";
  return [
    ["Behind live", report.delay === null ? "–" : seconds(report.delay)],
    ["Aim", report.aim === null ? "–" : seconds(report.aim)],
    ["In hand", seconds(report.ahead)],
    ["Speed", `${report.rate.toFixed(3)} ×`],
    ["Rate", report.bitrate > 0 ? `${(report.bitrate / 1e6).toFixed(2)} Mbit/s` : "–"],
    ["Picture", report.width > 0 ? `${report.width} × ${report.height}` : "–"],
    ["Tracks", tracks],
    ["Stalls", String(report.stalls)],
    ["Jumps", String(report.jumps)],
    ["Pictures dropped", `${report.dropped} of ${report.shown}`],
  ];
}

/** The stream's name from `/watch/{stream}`; null where the path holds none. */
export function streamFrom(path: string): string | null {
  const [, first, name, ...rest] = path.split("/");
  if (first !== "watch" || !name || rest.some((part) => part !== "")) return null;
  try {
    return decodeURIComponent(name);
  } catch {
    return null;
  }
}
