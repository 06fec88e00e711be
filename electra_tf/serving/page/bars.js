// Bars with their names and figures, the longest first where it is asked for.

import { element } from "./dom.js";
import { percent } from "./numbers.js";

/** An element whose bar is this share of its width. */
export function bar(share) {
  const fill = element("span", { class: "fill" });
  const inside = Math.min(Math.max(share || 0, 0), 1);
  fill.style.setProperty("--share", inside);
  return element("span", { class: "bar", "aria-hidden": "true" }, fill);
}

/**
 * A list of bars.
 * @param {{name: string, share: number, figure?: string, strong?: boolean,
 *   note?: string}[]} rows
 * @param {number} first how many to show before "show all"
 */
export function barList(rows, first = 12) {
  const list = element("ul", { class: "bars" }, ...rows.slice(0, first).map(barRow));
  if (rows.length <= first) return list;
  const more = element(
    "button",
    {
      type: "button",
      class: "quiet",
      onclick: () => {
        const rest = rows.slice(first).map(barRow);
        list.append(...rest);
        rest[0].tabIndex = -1;
        rest[0].focus();
        more.remove();
      },
    },
    `Show all ${rows.length}`,
  );
  return element("div", {}, list, more);
}

function barRow({ name, share, figure, strong, note }) {
  return element(
    "li",
    { class: strong ? "strong" : null },
    element(
      "span",
      { class: "name" },
      element("bdi", {}, name),
      note ? element("span", { class: "note" }, note) : null,
    ),
    element("span", { class: "figure" }, figure ?? percent(share)),
    bar(share),
  );
}
