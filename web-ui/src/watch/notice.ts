import type { Words } from "./words";

/** Plain words over the picture, with links to other streams where there are some. */
export class LiveNotice extends HTMLElement {
  private told = "";

  show(words: Words): void {
    // Screen readers read what changes: the same words are not said twice.
    const told = JSON.stringify([words.notice, words.others]);
    if (told === this.told) return;
    this.told = told;
    this.replaceChildren();
    this.hidden = words.notice === null;
    if (!words.notice) return;
    this.append(element("strong", words.notice.title));
    if (words.notice.text) this.append(element("span", words.notice.text));
    if (words.others.length > 0) this.append(list(words.others));
  }
}

function list(names: readonly string[]): HTMLElement {
  const list = document.createElement("ul");
  for (const name of names) {
    const link = document.createElement("a");
    link.href = `/watch/${encodeURIComponent(name)}`;
    link.textContent = name;
    const item = document.createElement("li");
    item.append(link);
    list.append(item);
  }
  return list;
}

function element(tag: string, text: string): HTMLElement {
  const made = document.createElement(tag);
  made.textContent = text;
  return made;
}
