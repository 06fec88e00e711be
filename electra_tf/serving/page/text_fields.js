// The fields of what reads a text, or a pair of texts.

/** Forms for fields.js by the description of a model. */
export function textFields({ pair }) {
  if (!pair) return [{ name: "text", label: "Text", kind: "text" }];
  return [
    { name: "text", label: "First text", kind: "text" },
    { name: "text_pair", label: "Second text", kind: "text" },
  ];
}

/** The rows of a request: a model with one input takes its bare value. */
export function textRows({ text, text_pair: pair }) {
  return [pair === undefined ? text : { text, text_pair: pair }];
}
