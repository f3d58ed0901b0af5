import mpegts from "mpegts.js";

const stream = decodeURIComponent(location.pathname.split("/")[2] ?? "main");
const picture = document.querySelector<HTMLVideoElement>("#picture");
if (picture) {
  const player = mpegts.createPlayer(
    { type: "flv", isLive: true, url: `/live/${encodeURIComponent(stream)}.flv` },
    { enableStashBuffer: false, lazyLoad: false, autoCleanupSourceBuffer: true, autoCleanupMaxBackwardDuration: 30, autoCleanupMinBackwardDuration: 10 },
  );
  player.attachMediaElement(picture);
  player.load();
  void player.play();
}
