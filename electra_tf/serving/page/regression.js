// A number for a text, or for a pair of texts. It says little alone, so the
// numbers of this visit stand beneath it on one scale.

import { bar } from "./bars.js";
import { element } from "./dom.js";
import { decimal } from "./numbers.js";
import { textFields, textRows } from "./text_fields.js";

const KEPT = 8;

export const regression = {
  title: "What score does it get?",
  about:
    "The model gives a number on the scale that it was trained on. Run " +
    "several texts to compare them.",
  fields: textFields,
  rows: textRows,

  show([prediction], values, { description, memory }) {
    const score = prediction?.score ?? prediction;
    const name = Object.values(values).join(" / ");
    const before = (memory.scores ?? []).filter((run) => run.name !== name);
    memory.scores = [{ score, name }, ...before].slice(0, KEPT);
    return {
      summary: `Score ${decimal(score)}`,
      body: element(
        "section",
        {},
        element("p", { class: "note" }, scale(description)),
        memory.scores.length > 1 ? comparison(memory.scores) : null,
      ),
    };
  },
};

/** What the number is measured in, as far as the export knows. */
function scale({ score_mean: mean, score_spread: spread }) {
  if (mean === undefined || mean === null || !spread) {
    return "In the unit of the numbers that it was trained on.";
  }
  const [low, high] = [mean - 2 * spread, mean + 2 * spread];
  return (
    "In the unit of the numbers that it was trained on: " +
    `${decimal(mean, 2)} on average, most between ${decimal(low, 2)} and ` +
    `${decimal(high, 2)}.`
  );
}

function comparison(scores) {
  const values = scores.map(({ score }) => score);
  const low = Math.min(0, ...values);
  const span = Math.max(...values) - low || 1;
  const row = ({ score, name }, i) =>
    element(
      "li",
      { class: i === 0 ? "strong" : null },
      element("span", { class: "name" }, element("bdi", {}, name)),
      element("span", { class: "figure" }, decimal(score)),
      bar((score - low) / span),
    );
  return element(
    "section",
    {},
    element("h3", {}, "Beside the texts before"),
    element("ul", { class: "bars clipped" }, ...scores.map(row)),
  );
}
