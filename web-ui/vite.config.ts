/// <reference types="vitest/config" />
import { readFileSync, readdirSync } from "node:fs";

import { defineConfig, type Plugin } from "vite";

/** Libraries in the pages ask for their licence to go along: their texts become one file, which the page links. */
function licenses(): Plugin {
  return {
    name: "licenses",
    generateBundle(_, bundle) {
      const modules = Object.values(bundle).flatMap((file) => (file.type === "chunk" ? Object.keys(file.modules) : []));
      const folders = new Set(modules.flatMap((path) => /[^\0].*\/node_modules\/(?:@[^/]+\/)?[^/]+/.exec(path)?.[0] ?? []));
      const texts = [...folders].sort().map((folder) => {
        const about = JSON.parse(readFileSync(`${folder}/package.json`, "utf8")) as { name: string; version: string; license: string };
        const file = readdirSync(folder).find((name) => /^licen[cs]e/i.test(name));
        if (file === undefined) throw new Error(`${about.name} comes without the text of its licence`);
        return `${about.name} ${about.version} (${about.license})\n\n${readFileSync(`${folder}/${file}`, "utf8").trim()}\n`;
      });
      this.emitFile({ type: "asset", fileName: "assets/licenses.txt", source: texts.join(`\n${"-".repeat(80)}\n\n`) });
    },
  };
}

/**
 * The box embeds what this writes to `dist/`: `watch.html` is served at `/watch/{stream}`, the files of
 * `assets/` carry a hash in their names and may be cached for ever. Nothing is inlined, so that the
 * pages work under a policy without `unsafe-inline`, and nothing names another host: the box may stand
 * in a studio without a way out.
 */
export default defineConfig({
  base: "/",
  plugins: [licenses()],
  // `npm run dev` and then /watch.html: the page as it is being written, with a box on this machine behind it.
  server: { proxy: { "/live": "http://localhost:8080" } },
  build: {
    target: "es2020",
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
    reportCompressedSize: true,
    rollupOptions: { input: { watch: "watch.html" } },
  },
  test: {
    environment: "node",
    // An hour of counted time takes a second, but this may be a busy machine.
    testTimeout: 60_000,
    include: ["src/**/*.test.ts"],
    // mpegts.js ships its sources as modules without saying so; Vite reads them all the same.
    server: { deps: { inline: ["mpegts.js"] } },
  },
});
