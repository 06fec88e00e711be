// What each token adds to an answer: the signature `explain`, on request.

import { PredictRequest, ServerError } from "./api.js";
import { barList } from "./bars.js";
import { element, freshId, refill } from "./dom.js";
import { markedText } from "./marked_text.js";
import { decimal, percent } from "./numbers.js";

const LISTED = 8;
const TOLERANCE = 0.05; // of the sum of the scores

/** Whether the model's answers can be explained. */
export function canExplain({ signatures }) {
  return Boolean(signatures?.explain);
}

/**
 * A button that asks for an explanation, and where it is drawn.
 * @param {string} model
 * @param {{version?: string, label?: string}|null} pinned null: the newest
 * @param {Object} description of the model
 * @param {{text: string, text_pair?: string}} values what was answered
 * @param {Object[]} cuts what of it was not read; see cut.js
 */
export function explainPart(model, pinned, description, values, cuts) {
  const shown = element("div", { "aria-live": "polite" });
  const choice = labelChoice(description);
  const button = element(
    "button",
    { type: "button", class: "quiet", "aria-expanded": "false" },
    "Explain",
  );
  const explain = async () => {
    button.disabled = true;
    button.textContent = "Explaining…";
    try {
      const row = choice.select ? { ...values, label: choice.select.value } : values;
      const asked = { pinned, signature: "explain" };
      const request = new PredictRequest(model, [row], asked);
      const { predictions: [answer] } = await request.send();
      refill(shown, ...drawn(answer, values, description, cuts));
      button.setAttribute("aria-expanded", "true");
      if (choice.node) choice.node.hidden = false;
      if (choice.select) choice.select.value = answer.label;
    } catch (error) {
      refill(shown, element("p", { role: "alert" }, error.message));
      if (!(error instanceof ServerError)) throw error;
    } finally {
      button.disabled = false;
      button.textContent = isOpen(button) ? "Hide explanation" : "Explain";
    }
  };
  button.addEventListener("click", () => {
    if (!isOpen(button)) return explain();
    button.setAttribute("aria-expanded", "false");
    button.textContent = "Explain";
    refill(shown);
    if (choice.node) choice.node.hidden = true;
  });
  choice.select?.addEventListener("change", explain);
  return element(
    "section",
    { class: "explain", "aria-label": "Explanation" },
    element("div", { class: "explain-head" }, button, choice.node),
    shown,
  );
}

function isOpen(button) {
  return button.getAttribute("aria-expanded") === "true";
}

/** {node, select}: which label is explained; nothing of a number. */
function labelChoice({ labels }) {
  if (!labels?.length) return {};
  const id = freshId("explained");
  const option = (label) => element("option", { value: label }, label);
  const select = element(
    "select",
    { id },
    element("option", { value: "", hidden: true }),
    ...labels.map(option),
  );
  const node = element(
    "span",
    { hidden: true },
    element("label", { for: id }, "of the label "),
    select,
  );
  return { node, select };
}

function drawn(answer, values, { language }, cuts) {
  const tokens = tokensOf(answer);
  const largest = Math.max(...tokens.map(({ score }) => Math.abs(score)), 1e-9);
  const texts = ["text", "text_pair"].map((name, segment) => {
    const text = values[name];
    if (text === undefined) return null;
    const parts = tokens
      .filter((token) => token.segment === segment)
      .map((token) => shaded(token, token.score / largest));
    return markedText(text, parts, {
      label: `${segment ? "Second text" : "Text"}, its tokens shaded by what each adds`,
      language,
      unreadFrom: cuts.find((cut) => cut.name === name)?.until,
    }).node;
  });
  const strongest = [...tokens]
    .sort((a, b) => Math.abs(b.score) - Math.abs(a.score))
    .slice(0, LISTED)
    .map(({ token, score }) => ({
      name: token,
      share: Math.abs(score) / largest,
      figure: signed(score),
      note: sideOf(score),
    }));
  return [
    ...texts,
    legend(),
    element("p", { class: "note" }, completeness(answer)),
    element("h3", {}, "Tokens that add the most"),
    barList(strongest),
  ];
}

/** [{token, score, start, end, segment}] of the tokens of the texts. */
function tokensOf(answer) {
  const found = [];
  for (let i = 0; i < answer.num_tokens; i += 1) {
    if (answer.start_chars[i] < 0) continue; // [CLS] and [SEP]
    found.push({
      token: answer.tokens[i],
      score: answer.scores[i],
      start: answer.start_chars[i],
      end: answer.end_chars[i],
      segment: answer.segments[i],
    });
  }
  return found;
}

function shaded({ start, end, score }, share) {
  return {
    start,
    end,
    reading: (piece) => `${piece}: ${signed(score)}, ${sideOf(score)}`,
    node: (piece) => {
      const side = score < 0 ? "against" : "for";
      const node = element("span", { class: `mark adds ${side}` }, piece);
      node.style.setProperty("--share", Math.sqrt(Math.abs(share)));
      return node;
    },
  };
}

function sideOf(score) {
  if (Math.abs(score) < 0.0005) return "no part";
  return score < 0 ? "against" : "for";
}

function legend() {
  return element(
    "p",
    { class: "scale", "aria-hidden": "true" },
    "against",
    element("span", { class: "ramp both" }),
    "for",
  );
}

/** Whether the scores add up to what they explain, in words. */
function completeness({ scores, output, baseline, error, label }) {
  const sum = scores.reduce((total, score) => total + score, 0);
  const what = label === undefined ? "The number" : `The score of “${label}”`;
  const rises =
    `${what} is ${signed(baseline)} without these tokens and ` +
    `${signed(output)} with them; theirs add up to ${signed(sum)}`;
  if (error <= TOLERANCE) return `${rises}, complete but for ${percent(error)}.`;
  return `${rises}, which is off by ${percent(error)}: read them with care.`;
}

function signed(value) {
  return value < 0 ? decimal(value) : `+${decimal(value)}`;
}
