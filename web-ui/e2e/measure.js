// @ts-check
// Measures camera to screen: the time code in each picture against the moment the browser shows it.
// Both clocks are this machine's.

import { setTimeout as after } from "node:timers/promises";

import { watchTimecode } from "./timecode.js";

/** What follows joining within this time is joining. */
const JOINING_MS = 2000;
/** No new picture for this long is a stall, whatever the browser calls it. */
const STALL_MS = 250;

/**
 * @param {import("playwright-core").Page} page
 * @param {import("playwright-core").BrowserContext} context
 * @param {string} url
 * @param {number} seconds
 * @param {boolean} sound turned on at once
 */
export async function watch(page, context, url, seconds, sound = false) {
  const devtools = await context.newCDPSession(page);
  await devtools.send("Performance.enable");
  const opened = Date.now();
  await page.goto(url);
  if (sound) await page.getByRole("button", { name: "Tap for sound" }).click();
  await page.evaluate(watchTimecode);
  /** @type {{made: number, shown: number, rate: number}[]} */
  const pictures = [];
  /** @type {{at: number, heap: number, nodes: number}[]} */
  const memory = [];
  const until = Date.now() + seconds * 1000;
  let [unread, waits, jumps] = [0, 0, 0];
  while (Date.now() < until) {
    await after(Math.min(5000, Math.max(0, until - Date.now())));
    // Taken out of the page, so that measuring does not grow what is measured.
    const seen = await page.evaluate(() => {
      const seen = /** @type {any} */ (window).seen;
      return { pictures: seen.pictures.splice(0), unread: seen.unread, waits: seen.waits, jumps: seen.jumps.length };
    });
    pictures.push(...seen.pictures);
    ({ unread, jumps } = seen);
    const joined = (pictures[0]?.shown ?? 0) + JOINING_MS;
    waits = seen.waits.filter((/** @type {number} */ at) => at > joined).length;
    const metrics = await devtools.send("Performance.getMetrics");
    const metric = (/** @type {string} */ name) => metrics.metrics.find((one) => one.name === name)?.value ?? 0;
    memory.push({ at: Date.now() - opened, heap: metric("JSHeapUsedSize"), nodes: metric("Nodes") });
  }
  await devtools.detach();

  const joined = (pictures[0]?.shown ?? 0) + JOINING_MS;
  const steady = pictures.filter((picture) => picture.shown >= joined);
  const delays = steady.map((picture) => picture.shown - picture.made).sort((a, b) => a - b);
  const share = (/** @type {number} */ part) => Math.round(delays[Math.min(delays.length - 1, Math.floor(delays.length * part))] ?? NaN);
  const gaps = steady.slice(1).map((picture, at) => picture.shown - (steady[at]?.shown ?? 0));
  const perMinute = [];
  for (let minute = 0; minute * 60_000 < seconds * 1000; minute++) {
    const part = steady.filter((picture) => Math.floor((picture.shown - joined) / 60_000) === minute).map((picture) => picture.shown - picture.made).sort((a, b) => a - b);
    if (part.length > 0) perMinute.push(Math.round(part[part.length >> 1] ?? NaN));
  }
  return {
    firstPictureMs: Math.round((pictures[0]?.shown ?? NaN) - opened),
    pictures: pictures.length,
    unread,
    p50: share(0.5),
    p90: share(0.9),
    p99: share(0.99),
    max: share(1),
    stalls: gaps.filter((gap) => gap > STALL_MS).length,
    longestGapMs: Math.round(Math.max(0, ...gaps)),
    waits,
    jumps,
    advanced: (pictures[pictures.length - 1]?.made ?? 0) - (pictures[0]?.made ?? 0),
    perMinute,
    heapMiB: memory.map((one) => Math.round(one.heap / 104_857.6) / 10),
  };
}

/** @param {Awaited<ReturnType<typeof watch>>} measured */
export function report(measured) {
  const { heapMiB } = measured;
  const some = heapMiB.filter((_, at) => at % Math.max(1, Math.floor(heapMiB.length / 10)) === 0);
  return [
    `  camera to screen: p50 ${measured.p50} ms, p90 ${measured.p90}, p99 ${measured.p99}, max ${measured.max} (${measured.pictures} pictures, from 2 s after the first)`,
    `  stalls ${measured.stalls} (longest time without a new picture ${measured.longestGapMs} ms; the browser waited ${measured.waits} times), jumps ${measured.jumps}, unreadable ${measured.unread}`,
    `  first picture ${measured.firstPictureMs} ms after opening; p50 by minute ${measured.perMinute.join(" ")}; JS heap ${some.join(" ")} MiB`,
  ].join("\n");
}
