// @ts-check
// The pattern picture's time code: 64 cells in one row across the top of the picture. From the left:
// 8 bits of sync, 44 bits of Unix time in milliseconds, 12 bits of checksum. `paint` writes it (for the
// stand-in source), `watchTimecode` reads it inside the page.

export const CELLS = 64;
const SYNC = 0b10101100;

/**
 * CRC-12/UMTS without reflection: polynomial 0x80F, start 0, over the 44 time bits, highest first.
 * @param {bigint} time
 */
function checksum(time) {
  let crc = 0;
  for (let bit = 43n; bit >= 0n; bit--) {
    const top = ((crc >> 11) & 1) ^ Number((time >> bit) & 1n);
    crc = (crc << 1) & 0xfff;
    if (top) crc ^= 0x80f;
  }
  return crc;
}

/**
 * The 64 cells for a time, each 0 (black) or 1 (white).
 * @param {number} unixMillis
 */
export function cells(unixMillis) {
  const time = BigInt(Math.floor(unixMillis));
  const word = (BigInt(SYNC) << 56n) | (time << 12n) | BigInt(checksum(time));
  return Array.from({ length: CELLS }, (_, at) => Number((word >> BigInt(63 - at)) & 1n));
}

/** @param {number} height */
export function stripHeight(height) {
  return Math.max(16, Math.round(height / 45 / 2) * 2);
}

/**
 * Paints the strip into the luma plane of a picture.
 * @param {Uint8Array} luma @param {number} width @param {number} height @param {number} unixMillis
 */
export function paint(luma, width, height, unixMillis) {
  const cell = Math.floor(width / CELLS);
  const row = new Uint8Array(width).fill(16);
  cells(unixMillis).forEach((bit, at) => row.fill(bit ? 235 : 16, at * cell, (at + 1) * cell));
  for (let y = 0; y < stripHeight(height); y++) luma.set(row, y * width);
}

/**
 * Runs inside the page: from now on every picture that reaches the screen is read. What was seen lies
 * in `window.seen`: when the picture was made, when it was shown (both Unix milliseconds, the latter the
 * time at which the compositor meant to show it), and how many pictures could not be read.
 */
export function watchTimecode() {
  const video = document.querySelector("video");
  if (!video) throw new Error("there is no video element on the page");
  const canvas = document.createElement("canvas");
  const brush = canvas.getContext("2d", { willReadFrequently: true });
  if (!brush) throw new Error("no canvas to read the picture from");
  /** @type {{pictures: {made: number, shown: number, at: number, ahead: number, rate: number}[], unread: number, waits: number[], jumps: {at: number, to: number}[]}} */
  const seen = { pictures: [], unread: 0, waits: [], jumps: [] };
  /** @type {any} */ (window).seen = seen;
  video.addEventListener("waiting", () => seen.waits.push(performance.timeOrigin + performance.now()));
  video.addEventListener("seeking", () => seen.jumps.push({ at: performance.timeOrigin + performance.now(), to: video.currentTime }));

  /** @returns {number | null} */
  const read = () => {
    const width = video.videoWidth;
    const cell = Math.floor(width / 64);
    const height = Math.max(16, Math.round(video.videoHeight / 45 / 2) * 2);
    if (canvas.width !== width) [canvas.width, canvas.height] = [width, 1];
    // One line from the middle of the strip is enough, and costs next to nothing.
    brush.drawImage(video, 0, height / 2, width, 1, 0, 0, width, 1);
    const line = brush.getImageData(0, 0, width, 1).data;
    let word = 0n;
    for (let at = 0; at < 64; at++) {
      let sum = 0;
      const from = at * cell + (cell >> 2);
      const to = at * cell + cell - (cell >> 2);
      for (let x = from; x < to; x++) sum += line[x * 4 + 1] ?? 0;
      word = (word << 1n) | (sum > 127 * (to - from) ? 1n : 0n);
    }
    if (word >> 56n !== 0b10101100n) return null;
    const time = (word >> 12n) & 0xfffffffffffn;
    let crc = 0;
    for (let bit = 43n; bit >= 0n; bit--) {
      const top = ((crc >> 11) & 1) ^ Number((time >> bit) & 1n);
      crc = (crc << 1) & 0xfff;
      if (top) crc ^= 0x80f;
    }
    return crc === Number(word & 0xfffn) ? Number(time) : null;
  };

  const onPicture = (/** @type {number} */ now, /** @type {VideoFrameCallbackMetadata} */ about) => {
    const made = read();
    if (made === null) seen.unread++;
    else {
      const ranges = video.buffered;
      const end = ranges.length ? ranges.end(ranges.length - 1) : 0;
      seen.pictures.push({
        made,
        shown: performance.timeOrigin + Math.max(now, about.expectedDisplayTime),
        at: about.mediaTime,
        ahead: end - video.currentTime,
        rate: video.playbackRate,
      });
    }
    video.requestVideoFrameCallback(onPicture);
  };
  video.requestVideoFrameCallback(onPicture);
}
