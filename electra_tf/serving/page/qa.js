// The answer to a question, where it stands in its context.

import { element } from "./dom.js";
import { markedText } from "./marked_text.js";
import { decimal, percent } from "./numbers.js";

export const qa = {
  title: "What does the text answer?",
  about: "The model marks the words of the context that answer the question.",
  fields: () => [
    { name: "question", label: "Question", kind: "line" },
    { name: "context", label: "Context", kind: "text" },
  ],
  rows: ({ question, context }) => [{ question, context }],

  show([found], { context }, { description }) {
    const { answer, start, end, score, no_answer } = found;
    const parts = start < 0 || end <= start ? [] : [answered(start, end)];
    const { node, marks } = markedText(context, parts, {
      label: "Context with the answer marked",
      language: description.language,
      hint: null,
    });
    return {
      summary: parts.length ? answer : "No answer in this context",
      language: description.language,
      body: element(
        "section",
        {},
        element(
          "dl",
          { class: "figures" },
          parts.length
            ? figure("Share among the best spans", percent(score))
            : null,
          no_answer
            ? figure(
                "No-answer score",
                decimal(no_answer, 2),
                "log-odds; higher: likelier none",
              )
            : null,
        ),
        node,
      ),
      shown: () => marks[0]?.scrollIntoView({ block: "nearest" }),
    };
  },
};

function answered(start, end) {
  return {
    start,
    end,
    node: (piece) => element("mark", { class: "mark answer" }, piece),
    reading: (piece) => piece,
  };
}

function figure(name, value, note) {
  return element(
    "div",
    {},
    element("dt", {}, name),
    element(
      "dd",
      {},
      value,
      note ? element("span", { class: "note" }, ` (${note})`) : null,
    ),
  );
}
