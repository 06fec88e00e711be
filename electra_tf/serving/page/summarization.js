// The sentences of a text that sum it up, where they stand in it.

import { element } from "./dom.js";
import { markedText } from "./marked_text.js";
import { percent } from "./numbers.js";
import { textFields, textRows } from "./text_fields.js";
import { hint } from "./touch.js";

export const summarization = {
  title: "Which sentences sum it up?",
  about:
    "The model takes the sentences that say most of the text, as they are. " +
    "They are marked below, each with how likely it belongs to a summary.",
  fields: textFields,
  rows: textRows,

  show([found], { text }, { description }) {
    const { summary, start_chars, end_chars, scores, num_sentences } = found;
    const parts = start_chars
      .slice(0, num_sentences)
      .map((start, i) => chosen(start, end_chars[i], scores[i]));
    const { node } = markedText(text, parts, {
      label: "Text with the chosen sentences marked",
      language: description.language,
      hint: hint(
        "Tap a marked sentence to read about it.",
        "Point at a marked sentence, or use the arrow keys.",
      ),
    });
    return {
      summary: summary || "No sentence was found",
      language: description.language,
      body: element(
        "section",
        { class: "chosen" },
        parts.length ? element("p", { class: "note" }, share(found, text)) : null,
        node,
      ),
    };
  },
};

function chosen(start, end, score) {
  return {
    start,
    end,
    node: (piece) =>
      element(
        "mark",
        { class: "mark answer" },
        piece,
        element("span", { class: "type" }, percent(score)),
      ),
    reading: () => `${percent(score)} likely to be part of a summary`,
  };
}

/** "2 sentences, 31.0 % of the text's characters". */
function share({ num_sentences: count, start_chars, end_chars }, text) {
  let taken = 0;
  for (let i = 0; i < count; i += 1) taken += end_chars[i] - start_chars[i];
  const sentences = `${count} sentence${count === 1 ? "" : "s"}`;
  const part = percent(taken / [...text].length);
  return `${sentences}, ${part} of the text’s characters`;
}
