// What a model did not read: texts that are longer than it takes. The export
// tells it in a signature of its own, which every kind of model may have.

import { PredictRequest } from "./api.js";
import { Characters } from "./characters.js";
import { element } from "./dom.js";

const SIGNATURE = "truncation";
const SHOWN = 70; // characters on either side of the cut

/** The request that tells what of the rows is read; null if none would. */
export function readingRequest(model, description, rows, pinned) {
  const inputs = Object.keys(
    description.signatures?.[SIGNATURE]?.inputs ?? {},
  );
  if (!inputs.length) return null;
  const named = rows.map((row) =>
    typeof row === "string" ? { [inputs[0]]: row } : row,
  );
  const columns = named.map((row) =>
    Object.fromEntries(inputs.map((name) => [name, row[name]])),
  );
  return new PredictRequest(model, columns, { pinned, signature: SIGNATURE });
}

/**
 * The texts that were cut, once each.
 * @returns {{name: string, row: number, tokens: number, read: number,
 *   text: string, until: number}[]} `until` in characters
 */
export function cutTexts(rows, predictions) {
  const found = [];
  predictions.forEach((told, row) => {
    for (const key of Object.keys(told)) {
      if (!key.endsWith("_tokens")) continue;
      const name = key.slice(0, -"_tokens".length);
      const [tokens, read] = [told[key], told[`${name}_tokens_read`]];
      const text = typeof rows[row] === "string" ? rows[row] : rows[row][name];
      const known = found.some((cut) => cut.name === name && cut.text === text);
      if (read >= tokens || known) continue;
      const until = told[`${name}_chars_read`];
      found.push({ name, row, tokens, read, text, until });
    }
  });
  return found;
}

/** Says what was cut and shows the places. */
export function cutNotice(cuts, fields, language) {
  const many = (name) => fields.find((form) => form.name === name);
  const place = ({ name, row, tokens, read, text, until }) => {
    const form = many(name);
    const label = form?.kind === "list" ? `${form.label} ${row + 1}`
      : form?.label ?? name;
    return element(
      "li",
      {},
      element(
        "p",
        {},
        element("strong", {}, label),
        `: ${read} of ${tokens} tokens were read.`,
      ),
      around(text, until, language),
    );
  };
  return [
    element(
      "h3",
      {},
      cuts.length === 1
        ? "The end of the text was not read"
        : `The ends of ${cuts.length} texts were not read`,
    ),
    element("ul", {}, ...cuts.slice(0, 5).map(place)),
    cuts.length > 5
      ? element("p", { class: "note" }, `and ${cuts.length - 5} more`)
      : null,
  ];
}

function around(text, until, language) {
  const characters = new Characters(text);
  const before = characters.slice(Math.max(0, until - SHOWN), until);
  const after = characters.slice(until, until + SHOWN);
  return element(
    "p",
    { class: "around", lang: language, dir: "auto" },
    until > SHOWN ? "…" : null,
    before,
    element("span", { class: "scissors", role: "img", "aria-label": "cut" }),
    element("s", {}, after),
    characters.slice(until + SHOWN, until + SHOWN + 1) ? "…" : null,
  );
}
