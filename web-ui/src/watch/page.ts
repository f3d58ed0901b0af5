/** The viewer page: one element that joins the player with the controls of `watch.html`. */
import { Player } from "../live/player";
import { LiveDetails } from "./details";
import { LiveNotice } from "./notice";
import { streamFrom, wordsFor } from "./words";

class LivePage extends HTMLElement {
  private readonly stream = streamFrom(location.pathname) ?? "main";
  private readonly video = this.find<HTMLVideoElement>("video");
  private readonly still = this.find<HTMLCanvasElement>(".still");
  private readonly player = new Player(this.video, `/live/${encodeURIComponent(this.stream)}.flv`, {
    changed: () => this.tell(),
    leaving: () => this.keepPicture(),
    arrived: () => (this.still.hidden = true),
  });

  connectedCallback(): void {
    document.title = `${this.stream} · live`;
    this.find("h1").textContent = this.stream;
    // The attribute alone is not enough in every browser, and without it nothing starts by itself.
    this.video.muted = true;
    this.find(".play").addEventListener("click", () => this.togglePlay());
    this.find(".sound").addEventListener("click", () => this.player.setSound(this.video.muted));
    this.find(".unmute").addEventListener("click", () => this.player.setSound(true));
    this.video.addEventListener("click", () => (this.video.muted && this.hasSound() ? this.player.setSound(true) : this.togglePlay()));
    this.video.addEventListener("dblclick", () => this.toggleFull());
    this.find(".full").addEventListener("click", () => this.toggleFull());
    this.find<LiveDetails>("live-details").follow(() => this.player.report());
    this.video.addEventListener("resize", () => this.fitStage());
    // The browser's own menu can unmute too.
    this.video.addEventListener("volumechange", () => {
      if (!this.video.muted) this.player.setSound(true);
      this.tell();
    });
    this.player.start();
    this.tell();
  }

  private togglePlay(): void {
    if (this.player.paused) this.player.play();
    else this.player.pause();
  }

  private toggleFull(): void {
    const stage = this.find(".stage");
    if (document.fullscreenElement) void document.exitFullscreen();
    else if (stage.requestFullscreen) void stage.requestFullscreen();
    // iPhones have it for the video element alone.
    else (this.video as HTMLVideoElement & { webkitEnterFullscreen?: () => void }).webkitEnterFullscreen?.();
  }

  private hasSound(): boolean {
    return this.player.report().tracks.audio;
  }

  private tell(): void {
    const report = this.player.report();
    const { phase, tracks } = report;
    const words = wordsFor(phase, this.stream);
    const badge = this.find(".badge");
    badge.dataset["mood"] = words.mood;
    this.find(".badge .label").textContent = words.badge;
    this.find<LiveNotice>("live-notice").show(words);

    const playing = phase.kind !== "paused";
    const sound = tracks.audio && !this.video.muted;
    press(this.find(".play"), playing, playing ? "Pause" : "Play");
    press(this.find(".sound"), sound, !tracks.audio && tracks.video ? "No sound in this stream" : sound ? "Mute" : "Unmute");
    this.find<HTMLButtonElement>(".sound").disabled = tracks.video && !tracks.audio;
    this.find(".unmute").hidden = !(phase.kind === "live" && tracks.audio && this.video.muted);
    this.find(".soundonly").hidden = !(phase.kind === "live" && tracks.audio && !tracks.video);
    this.find<HTMLButtonElement>(".play").disabled = phase.kind === "unplayable" || phase.kind === "absent";
  }

  /** A phone held upright films upright. */
  private fitStage(): void {
    const { videoWidth, videoHeight } = this.video;
    if (videoWidth > 0) this.style.setProperty("--ratio", (videoWidth / videoHeight).toFixed(4));
  }

  /** The connection is made anew: the last picture stays until the next one is there. */
  private keepPicture(): void {
    const { video, still } = this;
    const brush = still.getContext("2d");
    if (!brush || video.videoWidth === 0 || video.readyState < HTMLMediaElement.HAVE_CURRENT_DATA) return;
    [still.width, still.height] = [video.videoWidth, video.videoHeight];
    brush.drawImage(video, 0, 0);
    still.hidden = false;
  }

  private find<E extends HTMLElement = HTMLElement>(selector: string): E {
    const found = this.querySelector<E>(selector);
    if (!found) throw new Error(`watch.html has no ${selector}`);
    return found;
  }
}

/** Names what a press would do; the drawing follows. */
function press(button: HTMLElement, on: boolean, text: string): void {
  button.dataset["on"] = String(on);
  button.title = text;
  const label = button.querySelector("span");
  if (label && label.textContent !== text) label.textContent = text;
}

customElements.define("live-notice", LiveNotice);
customElements.define("live-details", LiveDetails);
customElements.define("live-page", LivePage);
