// A text with marked parts. The pointer reads a part out, and so do the arrow
// keys: the text is one stop of the Tab key, not one for each word.

import { Characters } from "./characters.js";
import { element } from "./dom.js";
import { hint as hintFor } from "./touch.js";

/**
 * @param {string} text
 * @param {{start: number, end: number, node: function(string): Element,
 *   reading: function(string): string}[]} parts in order, none over another;
 *   characters. `node` makes the element of a part's text, `reading` what is
 *   said of it.
 * @param {{label: string, language?: string, hint?: string|null,
 *   unreadFrom?: number}} options `hint` null for no reading; from the
 *   character `unreadFrom` on the text is struck out
 * @returns {{node: Element, marks: Element[]}}
 */
export function markedText(
  text,
  parts,
  { label, language, hint = marksHint(), unreadFrom = Infinity },
) {
  const characters = new Characters(text);
  const body = element("p", { class: "marked", lang: language, dir: "auto" });
  body.tabIndex = 0; // it may scroll
  body.setAttribute("role", "group");
  body.setAttribute("aria-label", label);
  const marks = [];
  const readings = [];
  let done = 0;
  for (const { start, end, node, reading } of parts) {
    if (start < done || end <= start) continue; // not ours to draw
    body.append(characters.slice(done, start));
    const piece = characters.slice(start, end);
    marks.push(node(piece));
    readings.push(reading(piece));
    body.append(marks.at(-1));
    done = end;
  }
  body.append(characters.slice(done, Math.max(done, unreadFrom)));
  const unread = characters.slice(Math.max(done, unreadFrom), Infinity);
  if (unread) body.append(element("s", { class: "unread" }, unread));
  if (!marks.length || hint === null) return { node: body, marks };

  const line = element("p", { class: "reading", role: "status" }, hint);
  let current = -1;
  const read = (i) => {
    marks[current]?.classList.remove("current");
    current = i;
    marks[i]?.classList.add("current");
    line.textContent = readings[i] ?? hint;
  };
  const steps = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 };
  const keys = (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const last = marks.length - 1;
    let next = null;
    if (event.key in steps) next = current + steps[event.key];
    else if (event.key === "Home") next = 0;
    else if (event.key === "End") next = last;
    if (next === null) return;
    event.preventDefault();
    read(Math.min(Math.max(next, 0), last));
    marks[current].scrollIntoView({ block: "nearest" });
  };
  const under = (event) => {
    const at = marks.indexOf(event.target.closest(".mark"));
    if (at >= 0) read(at);
  };
  body.addEventListener("keydown", keys);
  body.addEventListener("pointerover", under);
  body.addEventListener("click", under);
  body.addEventListener("blur", () => read(-1));
  return { node: element("div", {}, body, line), marks };
}

function marksHint() {
  return hintFor(
    "Tap a marked word to read about it.",
    "Point at a marked word, or use the arrow keys.",
  );
}
