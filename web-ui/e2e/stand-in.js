// @ts-check
// A stand-in for the box, made of ffmpeg and Node, for what a good box on a good line never does: a
// line that stutters, a camera without sound, a source that stops. It serves the built page and one
// stream, `main`, whose pictures carry the time code.
//
//   node e2e/stand-in.js [--port 8090] [--size 640x360] [--fps 30] [--jitter 40] [--no-audio]

import { spawn } from "node:child_process";
import { createReadStream, existsSync } from "node:fs";
import { createServer } from "node:http";
import { dirname, extname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { paint } from "./timecode.js";

export const DIST = join(dirname(fileURLToPath(import.meta.url)), "../dist");
const TYPES = /** @type {Record<string, string>} */ ({
  ".html": "text/html; charset=utf-8", ".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml", ".txt": "text/plain",
});
export const POLICY = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; media-src blob:; base-uri 'none'; form-action 'none'";

/**
 * Cuts a byte stream into FLV tags (11-byte header and body, without PreviousTagSize).
 * @param {(tag: Buffer) => void} onTag
 */
function tagCutter(onTag) {
  /** @type {Buffer} */ let rest = Buffer.alloc(0);
  let headerSeen = false;
  return (/** @type {Buffer} */ chunk) => {
    rest = rest.length ? Buffer.concat([rest, chunk]) : chunk;
    if (!headerSeen) {
      if (rest.length < 13) return;
      rest = rest.subarray(13);
      headerSeen = true;
    }
    for (;;) {
      if (rest.length < 11) return;
      const size = rest.readUIntBE(1, 3) + 15;
      if (rest.length < size) return;
      onTag(rest.subarray(0, size - 4));
      rest = rest.subarray(size);
    }
  };
}

/** @param {Buffer} tag @param {number} millis */
function stamped(tag, millis) {
  const out = Buffer.alloc(tag.length + 4);
  tag.copy(out);
  out.writeUIntBE(millis & 0xffffff, 4, 3);
  out[7] = (millis >>> 24) & 0xff;
  out.writeUInt32BE(tag.length, tag.length);
  return out;
}

/** @param {Buffer} tag */
const millisOf = (tag) => tag.readUIntBE(4, 3) + (tag[7] ?? 0) * 0x1000000;

/**
 * @param {{port?: number, width?: number, height?: number, fps?: number, bitrate?: string, jitter?: number, audio?: boolean, video?: boolean}} options
 */
export async function startStandIn(options = {}) {
  const { port = 0, width = 640, height = 360, fps = 30, bitrate = "2M", audio = true, video = true } = options;
  const knobs = { jitter: options.jitter ?? 0, hole: false };

  /** @typedef {{res: import("node:http").ServerResponse, base: number | null, due: number, line: {bytes: Buffer, due: number}[], timer?: NodeJS.Timeout}} Viewer */
  /** @type {Set<Viewer>} */
  const viewers = new Set();
  /** @type {Buffer | null} */ let videoHeader = null;
  /** @type {Buffer | null} */ let audioHeader = null;
  /** @type {Buffer[]} */ let gop = [];

  const deliver = (/** @type {Viewer} */ viewer) => {
    for (let first = viewer.line[0]; first; first = viewer.line[0]) {
      const wait = first.due - performance.now();
      if (wait > 0.5) {
        clearTimeout(viewer.timer);
        viewer.timer = setTimeout(deliver, wait, viewer);
        return;
      }
      viewer.line.shift();
      viewer.res.write(first.bytes);
    }
  };

  /** @param {Viewer} viewer @param {Buffer} tag */
  const send = (viewer, tag) => {
    viewer.base ??= millisOf(tag);
    const bytes = stamped(tag, Math.max(0, millisOf(tag) - viewer.base));
    const now = performance.now();
    // A stuttering line delivers late, never out of order.
    viewer.due = Math.max(viewer.due, now + Math.random() * knobs.jitter);
    viewer.line.push({ bytes, due: viewer.due });
    deliver(viewer);
  };

  const onTag = (/** @type {Buffer} */ tag) => {
    const kind = tag[0];
    if (kind === 9 && tag[12] === 0) { videoHeader = Buffer.from(tag); return; }
    if (kind === 8 && tag[12] === 0) { audioHeader = Buffer.from(tag); return; }
    if (kind !== 8 && kind !== 9) return;
    if (kind === 9 && (tag[11] ?? 0) >> 4 === 1) gop = [];
    gop.push(tag);
    if (!video && gop.length > 90) gop.shift();
    if (!knobs.hole) for (const viewer of viewers) send(viewer, tag);
  };

  const quiet = ["-hide_banner", "-loglevel", "error"];
  /** @type {{kill: (signal?: NodeJS.Signals) => unknown}[]} */ const children = [];
  const startedAt = Date.now();
  let stopped = false;
  if (video) {
    const encoder = spawn("ffmpeg", [...quiet, "-fflags", "nobuffer", "-probesize", "32", "-analyzeduration", "0",
      "-f", "rawvideo", "-pix_fmt", "yuv420p", "-s", `${width}x${height}`, "-r", String(fps), "-i", "pipe:0",
      "-c:v", "libx264", "-preset", "ultrafast", "-tune", "zerolatency", "-b:v", bitrate, "-maxrate", bitrate, "-bufsize", bitrate,
      "-g", String(fps * 2), "-bf", "0", "-flush_packets", "1", "-f", "flv", "pipe:1"], { stdio: ["pipe", "pipe", "inherit"] });
    children.push(encoder);
    encoder.stdout.on("data", tagCutter(onTag));
    encoder.stdin.on("error", () => undefined);
    const picture = Buffer.alloc((width * height * 3) / 2, 128);
    const backdrop = Buffer.alloc(width * height * 2);
    for (let at = 0; at < backdrop.length; at++) backdrop[at] = 40 + ((at * 7 + ((at / width) | 0) * 13) % 160);
    let count = 0;
    const draw = () => {
      if (stopped) return;
      const due = startedAt + (count * 1000) / fps;
      const wait = due - Date.now();
      if (wait > 0) { setTimeout(draw, wait); return; }
      const shift = (count * 4) % height;
      backdrop.copy(picture, 0, shift * width, (shift + height) * width);
      paint(picture, width, height, Date.now());
      count++;
      if (encoder.stdin.write(picture)) setImmediate(draw);
      else encoder.stdin.once("drain", draw);
    };
    draw();
  }
  if (audio) {
    const encoder = spawn("ffmpeg", [...quiet, "-fflags", "nobuffer", "-probesize", "32", "-analyzeduration", "0",
      "-f", "s16le", "-ar", "48000", "-ac", "2", "-i", "pipe:0", "-c:a", "aac", "-b:a", "128k", "-flush_packets", "1", "-f", "flv", "pipe:1"],
      { stdio: ["pipe", "pipe", "inherit"] });
    children.push(encoder);
    encoder.stdout.on("data", tagCutter(onTag));
    encoder.stdin.on("error", () => undefined);
    let sent = 0;
    const timer = setInterval(() => {
      const want = Math.floor(((Date.now() - startedAt) * 48) / 256) * 256;
      const samples = want - sent;
      if (samples <= 0) return;
      const pcm = Buffer.alloc(samples * 4);
      for (let i = 0; i < samples; i++) {
        const at = sent + i;
        const level = at % 48000 < 4800 ? Math.sin((at * 2 * Math.PI * 880) / 48000) * 8000 : 0;
        pcm.writeInt16LE(level | 0, i * 4);
        pcm.writeInt16LE(level | 0, i * 4 + 2);
      }
      sent = want;
      encoder.stdin.write(pcm);
    }, 5);
    children.push({ kill: () => { clearInterval(timer); encoder.kill("SIGKILL"); } });
  }

  const server = createServer((req, res) => {
    const path = decodeURIComponent((req.url ?? "/").split("?")[0] ?? "/");
    if (path.startsWith("/watch/")) {
      res.writeHead(200, { "content-type": "text/html; charset=utf-8", "content-security-policy": POLICY });
      createReadStream(join(DIST, "watch.html")).pipe(res);
    } else if (path.startsWith("/assets/") && !path.includes("..") && existsSync(join(DIST, path))) {
      res.writeHead(200, { "content-type": TYPES[extname(path)] ?? "application/octet-stream" });
      createReadStream(join(DIST, path)).pipe(res);
    } else if (path === "/live/main.flv") {
      res.socket?.setNoDelay(true);
      res.writeHead(200, { "content-type": "video/x-flv", "cache-control": "no-store" });
      /** @type {Viewer} */
      const viewer = { res, base: null, due: 0, line: [] };
      res.write(Buffer.from([0x46, 0x4c, 0x56, 1, (audio ? 4 : 0) | (video ? 1 : 0), 0, 0, 0, 9, 0, 0, 0, 0]));
      for (const header of [videoHeader, audioHeader]) if (header) res.write(stamped(header, 0));
      for (const tag of gop) send(viewer, tag);
      viewers.add(viewer);
      res.on("close", () => viewers.delete(viewer));
    } else {
      res.writeHead(404, { "content-type": "application/problem+json" });
      res.end(JSON.stringify({ title: "there is no such stream", status: 404, streams: ["main"] }));
    }
  });
  await new Promise((done) => server.listen(port, "127.0.0.1", () => done(undefined)));
  const address = /** @type {import("node:net").AddressInfo} */ (server.address());
  return {
    url: `http://127.0.0.1:${address.port}`,
    knobs,
    /** Cuts every viewer off, as a box does that is killed. */
    cut() { for (const viewer of viewers) viewer.res.destroy(); },
    stop() {
      stopped = true;
      for (const child of children) child.kill("SIGKILL");
      for (const viewer of viewers) viewer.res.destroy();
      server.close();
    },
  };
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const flag = (/** @type {string} */ name) => { const at = process.argv.indexOf(`--${name}`); return at < 0 ? undefined : process.argv[at + 1]; };
  const [width, height] = (flag("size") ?? "640x360").split("x").map(Number);
  const box = await startStandIn({
    port: Number(flag("port") ?? 8090), width: width ?? 640, height: height ?? 360, fps: Number(flag("fps") ?? 30),
    jitter: Number(flag("jitter") ?? 0), audio: !process.argv.includes("--no-audio"), video: !process.argv.includes("--no-video"),
  });
  console.log(`${box.url}/watch/main`);
}
