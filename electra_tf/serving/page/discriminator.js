// Words shaded by how likely something else stood in their place.

import { barList } from "./bars.js";
import { Characters } from "./characters.js";
import { element } from "./dom.js";
import { markedText } from "./marked_text.js";
import { percent } from "./numbers.js";

const LISTED = 5;
// Pieces of such characters that touch are one word.
const IN_WORD = /^[\p{L}\p{M}\p{N}]+$/u;
const ALONE = /[\p{Script=Han}\p{Script=Hiragana}\p{Script=Katakana}]/u;

export const discriminator = {
  title: "Which words were replaced?",
  about:
    "The model says of each word how likely it is that another stood there. " +
    "Change a word of a sentence and see whether it notices.",
  fields: () => [{ name: "text", label: "Text", kind: "text" }],
  rows: ({ text }) => [text],

  show([answer], { text }, { description, cuts }) {
    const words = wordsOf(text, answer);
    const suspects = words.filter(({ share }) => share >= 0.5).length;
    const { node } = markedText(text, words.map(shaded), {
      label: "Text, its words shaded by replaced-probability",
      language: description.language,
      unreadFrom: cuts[0]?.until,
    });
    const highest = [...words]
      .sort((a, b) => b.share - a.share)
      .slice(0, LISTED)
      .map((word) => ({ ...word, strong: word.share >= 0.5 }));
    return {
      summary: `${suspects || "None"} of ${counted(words.length)} ` +
        `${suspects === 1 ? "seems" : "seem"} replaced`,
      body: element(
        "section",
        {},
        node,
        scale(),
        element("h3", {}, "Highest probabilities"),
        element("div", { class: "suspects" }, barList(highest)),
      ),
    };
  },
};

function counted(words) {
  return words === 1 ? "1 word" : `${words} words`;
}

/** [{start, end, name, share}]: pieces joined to words, the highest share. */
function wordsOf(text, answer) {
  const characters = new Characters(text);
  const words = [];
  let inWord = false;
  for (let i = 0; i < answer.num_tokens; i += 1) {
    const start = answer.start_chars[i];
    const end = answer.end_chars[i];
    const share = answer.replaced_probability[i];
    if (start < 0 || end <= start) continue;
    const piece = characters.slice(start, end);
    const joins = IN_WORD.test(piece) && !ALONE.test(piece);
    const last = words.at(-1);
    const goesOn = inWord && joins && last.end === start;
    // Pieces of one character, which spells several letters, overlap.
    if (goesOn || start < last?.end) {
      last.end = Math.max(last.end, end);
      last.share = Math.max(last.share, share);
    } else {
      words.push({ start, end, share });
    }
    inWord = joins;
  }
  for (const word of words) word.name = characters.slice(word.start, word.end);
  return words;
}

function shaded({ start, end, share }) {
  return {
    start,
    end,
    reading: (piece) => `${piece}: ${percent(share)}`,
    node: (piece) => {
      const strong = share >= 0.5 ? " strong" : "";
      const node = element("span", { class: `mark shaded${strong}` }, piece);
      node.style.setProperty("--share", share);
      return node;
    },
  };
}

function scale() {
  return element(
    "p",
    { class: "scale", "aria-hidden": "true" },
    "0 %",
    element("span", { class: "ramp" }),
    "100 % replaced",
  );
}
