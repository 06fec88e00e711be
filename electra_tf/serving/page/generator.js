// Words for each [MASK], of which one is chosen and read in its sentence.

import { bar } from "./bars.js";
import { element, freshId, refill } from "./dom.js";
import { percent } from "./numbers.js";

const MASK = "[MASK]";
const PAGE = 12; // masks shown at a time
const IN_SUMMARY = 4;

export const generator = {
  title: "What stands behind the mask?",
  about:
    `The model guesses the word at each ${MASK}. Choose one of its guesses ` +
    "to read it in the sentence.",
  fields: () => [
    { name: "text", label: "Text", kind: "text", insert: MASK },
  ],
  rows: ({ text }) => [text],

  /** What is wrong with the values, and in which field; null if nothing. */
  check({ text }) {
    if (text.includes(MASK)) return null;
    return {
      field: "text",
      message: `Write ${MASK} where a word is to be guessed.`,
    };
  },

  show([answer], { text }, { description, fill }) {
    const { tokens, probabilities, num_masks } = answer;
    const chosen = tokens.slice(0, num_masks).map((guesses) => guesses[0]);
    const pieces = text.split(MASK);
    const sentence = element("p", {
      class: "marked filled",
      lang: description.language,
      dir: "auto",
      "aria-live": "polite",
      "aria-label": "Text with the chosen words",
      role: "group",
      tabindex: "0", // it may scroll
    });
    const write = () => refill(sentence, ...filled(pieces, chosen));
    write();
    const choose = (mask, token) => {
      chosen[mask] = token;
      write();
    };
    const groups = chosen.map((_, mask) =>
      guesses(mask, tokens[mask], probabilities[mask], choose),
    );
    const left = pieces.length - 1 - chosen.length;
    return {
      summary: summary(chosen, probabilities),
      body: element(
        "section",
        {},
        sentence,
        left > 0
          ? element("p", { class: "note" }, "The text is longer than the " +
              `model reads: ${left} of its masks stand behind the end.`)
          : null,
        paged(groups),
        element(
          "button",
          {
            type: "button",
            class: "quiet",
            onclick: () =>
              fill({ text: filled(pieces, chosen).map(asText).join("") }),
          },
          "Keep this sentence as the text",
        ),
      ),
    };
  },
};

function summary(tokens, probabilities) {
  if (!tokens.length) return "No mask was read";
  const said = tokens
    .slice(0, IN_SUMMARY)
    .map((token, i) => `“${token}” ${percent(probabilities[i][0])}`);
  const more = tokens.length - said.length;
  return said.join(", ") + (more > 0 ? ` and ${more} more` : "");
}

/** The guesses, some masks at a time. */
function paged(groups) {
  const shown = element("div", { class: "guesses" });
  if (groups.length <= PAGE) {
    shown.append(...groups);
    return shown;
  }
  const said = element("p", { class: "note", role: "status" });
  let first = 0;
  const step = (label, by) =>
    element(
      "button",
      {
        type: "button",
        class: "quiet",
        onclick: () => {
          const next = first + by;
          if (next < 0 || next >= groups.length) return;
          first = next;
          turn();
        },
      },
      label,
    );
  const back = step("Masks before", -PAGE);
  const on = step("Masks after", PAGE);
  const turn = () => {
    const end = Math.min(first + PAGE, groups.length);
    refill(shown, ...groups.slice(first, end));
    said.textContent = `Masks ${first + 1} to ${end} of ${groups.length}`;
    // Not disabled: that would take the focus from them.
    back.setAttribute("aria-disabled", first === 0);
    on.setAttribute("aria-disabled", end === groups.length);
  };
  turn();
  return element(
    "div",
    {},
    element("div", { class: "pager" }, back, on, said),
    shown,
  );
}

/** Nodes and strings: the text with the chosen words in their places. */
function filled(pieces, chosen) {
  const parts = [pieces[0]];
  for (let i = 1; i < pieces.length; i += 1) {
    const token = chosen[i - 1];
    if (token === undefined) {
      parts.push(MASK, pieces[i]);
      continue;
    }
    // "##ing" goes on with the word before it.
    const goesOn = token.startsWith("##") && token.length > 2;
    if (goesOn) parts.push(trimmedEnd(parts.pop()));
    const word = goesOn ? token.slice(2) : token;
    parts.push(element("mark", { class: "mark answer" }, word), pieces[i]);
  }
  return parts;
}

function trimmedEnd(part) {
  return typeof part === "string" ? part.replace(/ $/, "") : part;
}

function asText(part) {
  return typeof part === "string" ? part : part.textContent;
}

/** The guesses for one mask: radio buttons with bars. */
function guesses(mask, tokens, probabilities, choose) {
  const name = freshId("guess");
  const row = (token, i) =>
    element(
      "label",
      { class: "guess" },
      element("input", {
        type: "radio",
        name,
        checked: i === 0,
        onchange: () => choose(mask, token),
      }),
      element("bdi", { class: "name" }, token),
      element("span", { class: "figure" }, percent(probabilities[i])),
      bar(probabilities[i]),
    );
  return element(
    "fieldset",
    {},
    element("legend", {}, `Mask ${mask + 1}`),
    ...tokens.map(row),
  );
}
