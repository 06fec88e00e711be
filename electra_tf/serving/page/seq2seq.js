// A text for a text: a translation, a summary.

import { barList } from "./bars.js";
import { element } from "./dom.js";
import { decimal } from "./numbers.js";
import { textFields, textRows } from "./text_fields.js";

export const seq2seq = {
  title: "What does it write?",
  about:
    "The model reads the text and writes another one: what it was trained " +
    "to make of it, such as a translation or a summary.",
  fields: textFields,
  rows: textRows,

  show([{ text, score, n_best_texts: texts, n_best_scores: scores }]) {
    const others = (texts ?? [])
      .map((name, i) => ({ name, score: scores[i] }))
      .filter(({ name }) => name);
    return {
      summary: text || "Nothing was written",
      body: element(
        "section",
        {},
        element(
          "p",
          { class: "note" },
          `Log-likelihood ${decimal(score)}, over its length penalty; ` +
            "nearer to 0 is likelier",
        ),
        others.length > 1
          ? element(
              "section",
              { "aria-label": "Best texts" },
              barList(
                others.map(({ name, score: own }, i) => ({
                  name,
                  share: Math.exp(own - score),
                  figure: decimal(own),
                  strong: i === 0,
                })),
              ),
            )
          : null,
      ),
    };
  },
};
