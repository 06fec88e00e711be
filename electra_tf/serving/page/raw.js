// Models that the page knows no task of: rows in JSON, the answer in JSON.

import { element } from "./dom.js";

export const raw = {
  title: "Ask in JSON",
  about:
    "This model has no description that the page knows. Write rows as the " +
    "REST interface takes them.",
  fields: () => [
    { name: "rows", label: "Rows: a list in JSON", kind: "text" },
  ],

  rows: ({ rows }) => JSON.parse(rows),

  check({ rows }) {
    const message = 'Write a list in JSON, like ["a text"].';
    try {
      return Array.isArray(JSON.parse(rows)) ? null : { field: "rows", message };
    } catch {
      return { field: "rows", message };
    }
  },

  show(predictions) {
    return {
      summary:
        predictions.length === 1
          ? "1 prediction"
          : `${predictions.length} predictions`,
      body: element(
        "pre",
        { tabindex: "0", role: "group", "aria-label": "Predictions" },
        JSON.stringify(predictions, null, 2),
      ),
    };
  },
};
