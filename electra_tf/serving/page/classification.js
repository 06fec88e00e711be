// One label for a text, or for a pair of texts.

import { barList } from "./bars.js";
import { element } from "./dom.js";
import { percent } from "./numbers.js";
import { textFields, textRows } from "./text_fields.js";

export const classification = {
  title: "Which label fits?",
  about: "The model gives each label a share; the shares add up to 100 %.",
  fields: textFields,
  rows: textRows,

  show([{ labels, probabilities, label }]) {
    const rows = labels
      .map((name, i) => ({
        name,
        share: probabilities[i],
        strong: name === label,
      }))
      .sort((a, b) => b.share - a.share);
    const best = rows.find((row) => row.strong);
    return {
      summary: best ? `${label}, ${percent(best.share)}` : label,
      body: element("section", { "aria-label": "Labels" }, barList(rows)),
    };
  },
};
