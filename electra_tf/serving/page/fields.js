// The fields of a form: a line, a text, or a list of texts that grows.
//
// A field's form is {name, label, kind: "line" | "text" | "list", insert?}:
// `insert` is a piece of text with a button that writes it at the cursor.

import { element, freshId } from "./dom.js";

/** Fields made of their forms; their values are strings or lists of them. */
export class Fields {
  constructor(forms, language) {
    const kinds = { line: OneField, text: OneField, list: ListField };
    this.parts = forms.map((form) => new kinds[form.kind](form, language));
    this.nodes = this.parts.map((part) => part.node);
  }

  /** {name: value}. */
  values() {
    return Object.fromEntries(
      this.parts.map((part) => [part.form.name, part.value()]),
    );
  }

  /** Writes {name: value}; a name that it lacks is emptied. */
  fill(values) {
    for (const part of this.parts) part.fill(values[part.form.name]);
  }

  /** Moves blank inputs of lists to their ends: answers count the others. */
  tidy() {
    for (const part of this.parts) part.tidy?.();
  }

  /** Fits the heights again, which nothing has while it is not on the page. */
  refit() {
    for (const node of this.nodes) {
      for (const input of node.querySelectorAll("textarea")) fit(input);
    }
  }

  /** The first field with nothing in it, or null; and marks it. */
  firstEmpty() {
    for (const part of this.parts) part.mark(false);
    const empty = this.parts.find((part) => part.isEmpty());
    empty?.mark(true);
    return empty ? empty.form : null;
  }

  /** Marks a field as the one to be changed and goes there. */
  pointAt(name) {
    const part = this.parts.find((part) => part.form.name === name);
    part.mark(true);
    part.focus();
  }
}

/** A label and an input. */
class OneField {
  constructor(form, language) {
    this.form = form;
    const id = freshId(form.name);
    this.input = textInput(form.kind === "line" ? 1 : 4, { id, language });
    this.node = element(
      "div",
      { class: "field" },
      element(
        "div",
        { class: "field-head" },
        element("label", { for: id }, form.label),
        form.insert ? this.insertButton(form.insert) : null,
      ),
      this.input,
    );
  }

  insertButton(piece) {
    const insert = () => {
      const { selectionStart, selectionEnd } = this.input;
      this.input.setRangeText(piece, selectionStart, selectionEnd, "end");
      fit(this.input);
      this.input.focus();
    };
    return element(
      "button",
      { type: "button", class: "quiet", onclick: insert },
      `Insert ${piece}`,
    );
  }

  value() {
    return this.input.value;
  }

  fill(value = "") {
    this.input.value = value;
    this.mark(false);
    fit(this.input);
  }

  isEmpty() {
    return !this.input.value.trim();
  }

  mark(wrong) {
    markInput(this.input, wrong);
  }

  focus() {
    this.input.focus();
  }
}

/** A numbered list of inputs, each with a button that takes it away. */
class ListField {
  constructor(form, language) {
    this.form = form;
    this.language = language;
    this.list = element("ol", { class: "text-list" });
    const add = element(
      "button",
      {
        type: "button",
        class: "quiet",
        onclick: () => this.append("").focus(),
      },
      `Add a ${form.label.toLowerCase()}`,
    );
    const id = freshId(form.name);
    this.node = element(
      "div",
      { class: "field", role: "group", "aria-labelledby": id },
      element(
        "div",
        { class: "field-head" },
        element("span", { id, class: "label" }, `${form.label}s`),
      ),
      this.list,
      add,
    );
    this.fill([]);
  }

  inputs() {
    return [...this.list.querySelectorAll("textarea")];
  }

  append(value) {
    const input = textInput(2, { language: this.language });
    input.value = value;
    const remove = element(
      "button",
      { type: "button", class: "quiet remove", onclick: () => this.drop(item) },
      "Remove",
    );
    const item = element("li", {}, input, remove);
    this.list.append(item);
    this.number();
    fit(input);
    return input;
  }

  drop(item) {
    const at = [...this.list.children].indexOf(item);
    item.remove();
    if (!this.list.children.length) this.append("");
    this.number();
    const inputs = this.inputs();
    inputs[Math.min(at, inputs.length - 1)].focus();
  }

  number() {
    const name = this.form.label;
    [...this.list.children].forEach((item, i) => {
      const [input, button] = item.children;
      input.setAttribute("aria-label", `${name} ${i + 1}`);
      button.setAttribute("aria-label", `Remove ${name.toLowerCase()} ${i + 1}`);
    });
  }

  value() {
    return this.inputs()
      .map((input) => input.value)
      .filter((text) => text.trim());
  }

  tidy() {
    const focused = document.activeElement;
    const blank = this.inputs().filter((input) => !input.value.trim());
    this.list.append(...blank.map((input) => input.parentElement));
    this.number();
    if (blank.includes(focused)) focused.focus(); // moving takes it away
  }

  fill(values = []) {
    this.list.replaceChildren();
    for (const value of values) this.append(value);
    while (this.list.children.length < 2) this.append("");
  }

  isEmpty() {
    return !this.value().length;
  }

  mark(wrong) {
    for (const input of this.inputs()) markInput(input, wrong);
  }

  focus() {
    this.inputs()[0].focus();
  }
}

function textInput(rows, { id, language }) {
  const input = element("textarea", {
    id,
    rows,
    lang: language,
    dir: "auto",
    spellcheck: "false",
    autocomplete: "off",
    "data-line": rows === 1,
    oninput: () => {
      markInput(input, false);
      fit(input);
    },
  });
  return input;
}

function markInput(input, wrong) {
  if (wrong) input.setAttribute("aria-invalid", "true");
  else input.removeAttribute("aria-invalid");
}

/** As high as its text, up to what the style sheet allows. */
function fit(input) {
  input.style.height = "auto";
  if (input.scrollHeight) {
    const borders = input.offsetHeight - input.clientHeight;
    input.style.height = `${input.scrollHeight + borders}px`;
  }
}
