// Passages in the order in which they answer a query.

import { barList } from "./bars.js";
import { element } from "./dom.js";
import { decimal } from "./numbers.js";

export const ranking = {
  title: "Which passage answers best?",
  about:
    "The model scores every passage for the query. Scores have no unit: they " +
    "compare passages of one query, higher is better.",
  fields: () => [
    { name: "query", label: "Query", kind: "line" },
    { name: "passage", label: "Passage", kind: "list" },
  ],
  rows: ({ query, passage }) =>
    passage.map((text) => ({ query, passage: text })),

  /** Examples are rows; here each query has the passages of them all. */
  examples(rows) {
    const passage = [...new Set(rows.map((row) => row.passage))];
    const queries = [...new Set(rows.map((row) => row.query))];
    return queries.map((query) => ({ query, passage }));
  },

  show(predictions, { passage }) {
    const scores = predictions.map((answer) => answer?.score ?? answer);
    const low = Math.min(...scores);
    const span = Math.max(...scores) - low;
    const order = scores
      .map((_, i) => i)
      .sort((a, b) => scores[b] - scores[a]);
    const rows = order.map((i, rank) => ({
      name: passage[i],
      // From a stub for the last to the whole width for the first.
      share: span ? 0.04 + (0.96 * (scores[i] - low)) / span : 1,
      figure: decimal(scores[i]),
      strong: rank === 0,
      note: `passage ${i + 1}`,
    }));
    return {
      summary:
        rows.length > 1
          ? `Passage ${order[0] + 1} ranks first, score ${rows[0].figure}`
          : `Score ${rows[0].figure}`,
      body: element(
        "section",
        { class: "ranks", "aria-label": "Passages, the best first" },
        barList(rows, 50),
      ),
    };
  },
};
