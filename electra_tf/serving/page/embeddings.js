// Texts as vectors, compared with the first of them.

import { barList } from "./bars.js";
import { element } from "./dom.js";
import { decimal } from "./numbers.js";

export const embeddings = {
  title: "Which texts are alike?",
  about:
    "The model makes a vector of each text, and the page compares them by the " +
    "cosine of their angle: 1 for one direction, 0 for nothing in common.",
  signature: "embed",
  fields: () => [
    { name: "text", label: "Text", kind: "text" },
    { name: "others", label: "Candidate", kind: "list" },
  ],
  rows: ({ text, others }) => [text, ...others],

  /** Each example beside all the others. */
  examples(rows) {
    const texts = [...new Set(rows.flatMap((row) => Object.values(row)))];
    return texts.map((text) => ({
      text,
      others: texts.filter((other) => other !== text),
    }));
  },

  show(predictions, { others }) {
    const vectors = predictions.map((answer) => answer?.embedding ?? answer);
    const similarity = vectors.slice(1).map((v) => cosine(vectors[0], v));
    const order = others
      .map((_, i) => i)
      .sort((a, b) => similarity[b] - similarity[a]);
    const rows = order.map((i, rank) => ({
      name: others[i],
      share: similarity[i],
      figure: decimal(similarity[i]),
      strong: rank === 0,
      note: `candidate ${i + 1}`,
    }));
    return {
      summary:
        `Candidate ${order[0] + 1} is nearest, cosine ${rows[0].figure}`,
      body: element(
        "section",
        { class: "ranks", "aria-label": "Candidates, the nearest first" },
        barList(rows, 50),
        element(
          "p",
          { class: "note foot" },
          `Vectors of ${vectors[0].length} numbers; a bar is the cosine, ` +
            "empty at 0 and below",
        ),
      ),
    };
  },
};

function cosine(a, b) {
  const dot = (x, y) => x.reduce((sum, value, i) => sum + value * y[i], 0);
  return dot(a, b) / Math.sqrt(dot(a, a) * dot(b, b)) || 0;
}
