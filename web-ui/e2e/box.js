// @ts-check
// Runs the built binary on a port of its own, with the pattern camera, as somebody without a
// configuration would.

import { spawn } from "node:child_process";
import { existsSync, mkdtempSync, rmSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { dirname, join, resolve } from "node:path";
import { fileURLToPath } from "node:url";

const HOUSE = join(dirname(fileURLToPath(import.meta.url)), "../..");
const START_MS = 20_000;

/** The binary to test: what FOOTLIGHT_BIN names, else what cargo built last for debugging. */
export function binary() {
  const path = resolve(process.env["FOOTLIGHT_BIN"] ?? join(HOUSE, "target/debug/footlight"));
  if (!existsSync(path)) throw new Error(`there is no ${path}: \`cargo build\` makes it, or name another in FOOTLIGHT_BIN`);
  return path;
}

/** @returns {Promise<number>} */
function freePort() {
  return new Promise((found, failed) => {
    const server = createServer();
    server.once("error", failed);
    server.listen(0, "127.0.0.1", () => {
      const address = /** @type {import("node:net").AddressInfo} */ (server.address());
      server.close(() => found(address.port));
    });
  });
}

/** @param {Record<string, string>} environment further settings, as `FOOTLIGHT_...` variables */
export async function startBox(environment = {}) {
  const path = binary();
  const port = await freePort();
  const folder = mkdtempSync(join(tmpdir(), "footlight-box-"));
  const url = `http://127.0.0.1:${port}`;
  /** @type {import("node:child_process").ChildProcess | null} */
  let child = null;
  let said = "";

  async function start() {
    const started = spawn(path, ["run"], {
      cwd: folder,
      env: { ...process.env, FOOTLIGHT_HTTP__LISTEN: `127.0.0.1:${port}`, FOOTLIGHT_BOX__DATA_DIR: folder, ...environment },
      stdio: ["ignore", "pipe", "pipe"],
    });
    child = started;
    for (const stream of [started.stdout, started.stderr]) {
      stream.on("data", (text) => {
        said = (said + text).slice(-8000);
      });
    }
    const deadline = Date.now() + START_MS;
    while (!(await ready())) {
      if (started.exitCode !== null) throw new Error(`footlight ended with ${started.exitCode}:\n${said}`);
      if (Date.now() > deadline) throw new Error(`footlight was not ready after ${START_MS} ms:\n${said}`);
      await new Promise((later) => setTimeout(later, 50));
    }
  }

  async function ready() {
    try {
      return (await fetch(`${url}/readyz`)).ok;
    } catch {
      return false;
    }
  }

  /** @param {NodeJS.Signals} signal */
  async function end(signal) {
    const ending = child;
    if (!ending || ending.exitCode !== null || ending.signalCode !== null) return;
    const ended = new Promise((done) => ending.once("exit", done));
    ending.kill(signal);
    await ended;
  }

  await start();
  return {
    url,
    start,
    /** As a power cut ends it. */
    kill: () => end("SIGKILL"),
    async stop() {
      await end("SIGKILL");
      rmSync(folder, { recursive: true, force: true });
    },
    said: () => said,
  };
}
