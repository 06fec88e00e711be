// Any number of labels for a text, or for a pair of texts.

import { barList } from "./bars.js";
import { element } from "./dom.js";
import { textFields, textRows } from "./text_fields.js";

export const multilabel = {
  title: "Which labels fit?",
  about: "Each label has a probability of its own; several, or none, may fit.",
  fields: textFields,
  rows: textRows,

  show([{ labels, probabilities, selected }]) {
    const rows = labels
      .map((name, i) => ({
        name,
        share: probabilities[i],
        strong: selected[i],
        note: selected[i] ? "fits" : null,
      }))
      .sort((a, b) => b.strong - a.strong || b.share - a.share);
    const names = rows.filter((row) => row.strong).map((row) => row.name);
    return {
      summary: names.length ? names.join(", ") : "No label fits",
      body: element("section", { "aria-label": "Labels" }, barList(rows)),
    };
  },
};
