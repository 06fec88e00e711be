// Entities, or a tag for each word, in colour over the text.

import { element } from "./dom.js";
import { markedText } from "./marked_text.js";
import { percent } from "./numbers.js";

const COLOURS = 8;
const SPAN_TAG = /^(?:O|[BIESLU]-.+)$/s;

export const tagging = {
  title: "Which tags do the words get?",
  about: "Words that make one entity, or one part, are marked together.",
  fields: () => [{ name: "text", label: "Text", kind: "text" }],
  rows: ({ text }) => [text],

  show([answer], { text }, { description }) {
    const spans = spansOf(answer, description.labels);
    const counts = new Map();
    for (const { type } of spans) {
      counts.set(type, (counts.get(type) ?? 0) + 1);
    }
    const colours = colourOfType(description.labels ?? [], counts);
    const { node } = markedText(
      text,
      spans.map((span) => marked(span, colours.get(span.type))),
      { label: "Tagged text", language: description.language },
    );
    return {
      summary: summary(counts, spans.length),
      body: element(
        "section",
        { class: "tagged" },
        legend(counts, colours, node),
        node,
      ),
    };
  },
};

/** [{start, end, type, probability}] in characters, in order. */
function spansOf(answer, labels) {
  const { tags, probabilities, start_chars, end_chars, num_tokens } = answer;
  const used = tags.slice(0, num_tokens);
  const spells = (labels ?? used).every((tag) => SPAN_TAG.test(tag));
  const spans = [];
  let open = null;
  used.forEach((tag, i) => {
    if (tag === "O") {
      open = null;
      return;
    }
    const letter = spells ? tag[0] : "S";
    const type = spells ? tag.slice(2) : tag;
    if (!open || open.type !== type || "BSU".includes(letter)) {
      open = { start: start_chars[i], type, probability: 1 };
      spans.push(open);
    }
    open.end = end_chars[i];
    open.probability = Math.min(open.probability, probabilities[i]);
    if ("ELSU".includes(letter)) open = null;
  });
  return spans;
}

/** The same colour for a type whatever the text: by its place in labels. */
function colourOfType(labels, counts) {
  const types = labels
    .filter((tag) => tag !== "O")
    .map((tag) => (SPAN_TAG.test(tag) ? tag.slice(2) : tag));
  const all = [...new Set([...types, ...counts.keys()])];
  return new Map(all.map((type, i) => [type, i % COLOURS]));
}

function marked({ start, end, type, probability }, colour) {
  return {
    start,
    end,
    node: (piece) =>
      element(
        "mark",
        { class: `mark entity colour-${colour}`, "data-type": type },
        piece,
        element("span", { class: "type" }, type),
      ),
    reading: (piece) =>
      `${piece}: ${type}, at least ${percent(probability)} at each word`,
  };
}

/** A button for each type, which hides its marks or shows them. */
function legend(counts, colours, text) {
  const button = ([type, count]) => {
    const node = element(
      "button",
      {
        type: "button",
        class: `key colour-${colours.get(type)}`,
        "aria-pressed": "true",
        onclick: () => {
          const on = node.getAttribute("aria-pressed") !== "true";
          node.setAttribute("aria-pressed", on);
          for (const mark of text.querySelectorAll(".entity")) {
            if (mark.dataset.type === type) mark.classList.toggle("off", !on);
          }
        },
      },
      type,
      element("span", { class: "count" }, count),
    );
    return node;
  };
  if (!counts.size) return null;
  return element(
    "div",
    { class: "legend", role: "group", "aria-label": "Legend: show or hide" },
    ...[...counts].sort((a, b) => b[1] - a[1]).map(button),
  );
}

function summary(counts, total) {
  if (!total) return "Nothing is tagged";
  const parts = [...counts].map(([type, count]) => `${count} ${type}`);
  return parts.length > 6 ? `${total} marked` : parts.join(", ");
}
