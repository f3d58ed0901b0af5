/**
 * Decides when to connect, and what to tell the person meanwhile. Pure: events and the time go in,
 * orders come out; `player.ts` owns the connection. A box that went away is tried for ever: it will be
 * back, and nobody should have to reload a page.
 */
import type { Ending } from "./feed";

export type Phase =
  | { kind: "connecting"; again: boolean }
  /** Pictures come. */
  | { kind: "live" }
  /** Connected, and nothing comes: the camera is gone, or the line is dead. */
  | { kind: "quiet" }
  | { kind: "lost" }
  | { kind: "refused"; status: number }
  | { kind: "absent"; streams: string[] }
  /** The person has paused. */
  | { kind: "paused" }
  | { kind: "unplayable"; reason: string };

export type Event =
  | { kind: "data" }
  | { kind: "ended"; ending: Ending }
  /** The stream was understood no further (or has changed its tracks): a fresh start may help. */
  | { kind: "broken" }
  | { kind: "unplayable"; reason: string }
  /** The stream is wanted with other tracks than it plays with. */
  | { kind: "renew" }
  | { kind: "pause" }
  | { kind: "play" }
  /** The network is back, or the page is looked at again: no need to wait. */
  | { kind: "wake" }
  | { kind: "tick" };

export type Order = "connect" | "disconnect";

const FIRST_RETRY_MS = 250;
const RETRY_MAX_MS = 4000;
/** A stream that is not there may be switched on any moment. */
const ABSENT_RETRY_MS = 5000;
/** Without a byte for this long the page says so; for the other, the connection is taken for dead. */
const QUIET_MS = 2000;
const DEAD_MS = 8000;
/** Who pauses shortly keeps the connection; who goes to lunch frees it. */
const PAUSE_HOLD_MS = 10_000;
/** After this long with pictures a break counts as the first again. */
const STEADY_MS = 10_000;

export class Session {
  private state: Phase = { kind: "connecting", again: false };
  private connected = false;
  private failures = 0;
  private dueAt: number | null;
  private heardAt: number;
  private liveSince: number | null = null;

  /** `random` gives numbers from 0 to 1: a hundred pages must not come back in the same instant. */
  constructor(now: number, private readonly random: () => number) {
    this.dueAt = now;
    this.heardAt = now;
  }

  get phase(): Phase {
    return this.state;
  }

  /** When a tick is due, whatever else happens. */
  wakeAt(): number | null {
    return this.dueAt;
  }

  handle(now: number, event: Event): Order[] {
    if (this.state.kind === "unplayable") return [];
    switch (event.kind) {
      case "data":
        return this.heard(now);
      case "ended":
        return this.ended(now, event.ending);
      case "broken":
        return [...this.drop(), ...this.retry(now, { kind: "lost" })];
      case "unplayable":
        this.state = { kind: "unplayable", reason: event.reason };
        this.dueAt = null;
        return this.drop();
      case "renew":
        return this.connected && this.state.kind !== "paused" ? [...this.drop(), ...this.connect(now, true)] : [];
      case "pause":
        this.state = { kind: "paused" };
        this.dueAt = this.connected ? now + PAUSE_HOLD_MS : null;
        return [];
      case "play":
        if (this.state.kind !== "paused") return [];
        if (!this.connected) return this.connect(now);
        this.state = { kind: "live" };
        this.heardAt = now;
        this.dueAt = now + QUIET_MS;
        return [];
      case "wake":
        return this.waiting() ? this.connect(now) : [];
      case "tick":
        return this.tick(now);
    }
  }

  /** Between two tries. */
  private waiting(): boolean {
    return !this.connected && this.state.kind !== "paused";
  }

  private heard(now: number): Order[] {
    this.heardAt = now;
    if (this.state.kind === "paused") return [];
    this.liveSince ??= now;
    if (now - this.liveSince > STEADY_MS) this.failures = 0;
    this.state = { kind: "live" };
    this.dueAt = now + QUIET_MS;
    return [];
  }

  private ended(now: number, ending: Ending): Order[] {
    this.connected = false;
    if (this.state.kind === "paused") {
      this.dueAt = null;
      return ["disconnect"];
    }
    switch (ending.kind) {
      case "absent":
        this.state = { kind: "absent", streams: ending.streams };
        this.dueAt = now + ABSENT_RETRY_MS * (0.8 + 0.4 * this.random());
        return ["disconnect"];
      case "refused":
        return ["disconnect", ...this.retry(now, { kind: "refused", status: ending.status }, ending.retryAfterMs)];
      case "lost":
        return ["disconnect", ...this.retry(now, { kind: "lost" })];
    }
  }

  private tick(now: number): Order[] {
    if (this.dueAt === null || now < this.dueAt) return [];
    if (this.state.kind === "paused") {
      this.dueAt = null;
      return this.drop();
    }
    if (!this.connected) return this.connect(now);
    const silence = now - this.heardAt;
    if (silence >= DEAD_MS) return [...this.drop(), ...this.retry(now, { kind: "lost" })];
    if (silence >= QUIET_MS && this.state.kind === "live") this.state = { kind: "quiet" };
    this.dueAt = this.heardAt + (silence >= QUIET_MS ? DEAD_MS : QUIET_MS);
    return [];
  }

  /** `quietly`: nothing has gone wrong, and nothing is said. */
  private connect(now: number, quietly = false): Order[] {
    const told = this.state.kind === "lost" || this.state.kind === "absent" || this.state.kind === "refused";
    // What the person reads stays until there is something new to say: no flicker at every try.
    if (!told && !quietly) this.state = { kind: "connecting", again: this.failures > 0 };
    this.connected = true;
    this.heardAt = now;
    this.liveSince = null;
    // The feed gives up by itself if nobody answers; this is for an answer that brings nothing.
    this.dueAt = now + DEAD_MS + QUIET_MS;
    return ["connect"];
  }

  private retry(now: number, phase: Phase, after: number | null = null): Order[] {
    const backoff = Math.min(RETRY_MAX_MS, FIRST_RETRY_MS * 2 ** Math.min(this.failures, 10));
    this.failures++;
    this.state = phase;
    this.dueAt = now + Math.max(after ?? 0, backoff * (0.75 + 0.5 * this.random()));
    return [];
  }

  private drop(): Order[] {
    if (!this.connected) return [];
    this.connected = false;
    return ["disconnect"];
  }
}
