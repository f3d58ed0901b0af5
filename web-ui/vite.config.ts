/// <reference types="vitest/config" />
import { defineConfig } from "vite";

/**
 * The box embeds what this writes to `dist/`: `watch.html` is served at `/watch/{stream}`, the files of
 * `assets/` carry a hash in their names and may be cached for ever. Nothing is inlined, so that the
 * pages work under a policy without `unsafe-inline`, and nothing names another host: the box may stand
 * in a studio without a way out.
 */
export default defineConfig({
  base: "/",
  build: {
    target: "es2020",
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
    reportCompressedSize: true,
    rollupOptions: { input: { watch: "watch.html" } },
  },
  test: {
    environment: "node",
    include: ["src/**/*.test.ts"],
    // mpegts.js ships its sources as modules without saying so; Vite reads them all the same.
    server: { deps: { inline: ["mpegts.js"] } },
  },
});
