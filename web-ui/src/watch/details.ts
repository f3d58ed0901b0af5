import type { Report } from "../live/player";
import { figuresFor } from "./words";

const EVERY_MS = 500;

/** The figures behind the "Details" disclosure. They are worked out only while somebody looks. */
export class LiveDetails extends HTMLElement {
  private timer: number | undefined;

  follow(report: () => Report): void {
    const box = this.querySelector("details");
    const list = this.querySelector("dl");
    if (!box || !list) return;
    box.addEventListener("toggle", () => {
      window.clearInterval(this.timer);
      if (!box.open) return;
      const show = (): void => fill(list, figuresFor(report()));
      show();
      this.timer = window.setInterval(show, EVERY_MS);
    });
  }
}

function fill(list: HTMLDListElement, rows: readonly [string, string][]): void {
  if (list.childElementCount !== rows.length) {
    list.replaceChildren(
      ...rows.map(([name]) => {
        const row = document.createElement("div");
        const term = document.createElement("dt");
        term.textContent = name;
        row.append(term, document.createElement("dd"));
        return row;
      }),
    );
  }
  const values = list.querySelectorAll("dd");
  rows.forEach(([, value], at) => {
    const cell = values[at];
    if (cell && cell.textContent !== value) cell.textContent = value;
  });
}
