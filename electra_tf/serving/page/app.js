// The page: the models, the form of one, what it answers.

import { loadedModels, PredictRequest, ServerError } from "./api.js";
import { classification } from "./classification.js";
import { discriminator } from "./discriminator.js";
import { element, refill } from "./dom.js";
import { canExplain, explainPart } from "./explain.js";
import { Fields } from "./fields.js";
import { generator } from "./generator.js";
import { multilabel } from "./multilabel.js";
import { qa } from "./qa.js";
import { ranking } from "./ranking.js";
import { raw } from "./raw.js";
import { regression } from "./regression.js";
import { showRequest } from "./request_panel.js";
import { seq2seq } from "./seq2seq.js";
import { tagging } from "./tagging.js";
import { attachThemeButton } from "./theme.js";

const WIDGETS = {
  classification, multilabel, regression, ranking, tagging, qa, seq2seq,
  discriminator, generator,
};

const at = (id) => document.getElementById(id);

/** A model on the page: what was written and answered stays with it. */
class Panel {
  constructor(model) {
    this.running = null; // an AbortController
    this.take(model);
  }

  /** Is the model as the server has it; what was written stays in its form. */
  take({ name, version, description }) {
    const widget = WIDGETS[description?.task] ?? raw;
    this.name = name;
    this.version = version;
    this.description = description ?? {};
    const language = this.description.language;
    const forms = widget.fields(this.description);
    const form = JSON.stringify([description?.task, language, forms]);
    if (form === this.form) return;
    this.form = form;
    this.widget = widget;
    this.fields = new Fields(forms, language);
    this.memory = {}; // the widget's own, for this visit
    this.answer = null;
  }

  examples() {
    const rows = this.description.examples ?? [];
    return this.widget.examples ? this.widget.examples(rows) : rows;
  }

  /** "version 3 · glue/sst2 · English · up to 128 tokens". */
  facts() {
    const { task, task_name, language, max_seq_length } = this.description;
    const languages = { en: "English", zh: "Chinese" };
    return [
      `version ${this.version}`,
      task_name ?? task,
      languages[language],
      max_seq_length ? `reads up to ${max_seq_length} tokens` : null,
    ].filter(Boolean).join(" · ");
  }

  /** What is wrong with the values: {field, message}, or null. */
  fault(values) {
    const empty = this.fields.firstEmpty();
    if (empty) {
      const message = `Write something into “${empty.label}” first.`;
      return { field: empty.name, message };
    }
    return this.widget.check?.(values) ?? null;
  }
}

const panels = new Map(); // by the models' names
let panel = null;

/** Puts a model on the page. */
function open(next) {
  panel?.running?.abort();
  panel = next;
  at("model").value = panel.name;
  document.title = `${panel.name} · electra_tf`;
  at("news").textContent = "";
  showModel();
  refill(at("fields"), ...panel.fields.nodes);
  showAnswer(panel.answer);
  at("panel").hidden = false;
  panel.fields.refit();
}

/** What the page says of its model, which may be of another version now. */
function showModel() {
  at("title").textContent = panel.widget.title;
  at("about").textContent = panel.widget.about;
  at("facts").textContent = panel.facts();
  showExamples(panel.examples());
}

function showExamples(examples) {
  const button = (example) =>
    element(
      "button",
      {
        type: "button",
        class: "example",
        lang: panel.description.language,
        onclick: () => {
          panel.fields.fill(example);
          run();
        },
      },
      element("bdi", {}, Object.values(example).map(brief).join(" / ")),
    );
  refill(
    at("examples"),
    ...examples.map((example) => element("li", {}, button(example))),
  );
  at("examples-part").hidden = !examples.length;
}

function brief(value) {
  if (Array.isArray(value)) {
    return value.length === 1 ? "1 passage" : `${value.length} passages`;
  }
  return value.length > 90 ? `${value.slice(0, 88).trimEnd()}…` : value;
}

/** Asks the model on the page; a run before that still goes on is ended. */
async function run() {
  const asked = panel;
  asked.running?.abort();
  const values = asked.fields.values();
  const fault = asked.fault(values);
  if (fault) {
    asked.fields.pointAt(fault.field);
    showError(fault.message);
    return;
  }
  const request = new PredictRequest(asked.name, asked.widget.rows(values));
  const control = new AbortController();
  asked.running = control;
  at("news").textContent = "";
  setBusy(true);
  try {
    const answer = await request.send(control.signal);
    const shown = show(asked, values, answer);
    asked.answer = { ...shown, request, ...answer };
    if (panel === asked) showAnswer(asked.answer, true);
  } catch (error) {
    if (error.name === "AbortError") return;
    if (panel === asked) showError(error.message, request);
    if (!(error instanceof ServerError)) throw error;
  } finally {
    if (asked.running === control) {
      asked.running = null;
      if (panel === asked) setBusy(false);
    }
    refresh();
  }
}

let refreshing = false;

/** Takes over what the server has loaded since it was last asked. */
async function refresh() {
  if (refreshing || !panel) return;
  refreshing = true;
  try {
    takeModels(await loadedModels());
  } catch (error) {
    // Whoever runs the model will be told.
    if (!(error instanceof ServerError)) throw error;
  } finally {
    refreshing = false;
  }
}

function takeModels(models) {
  for (const model of models) {
    const known = panels.get(model.name);
    if (!known) panels.set(model.name, new Panel(model));
    // One that runs is taken over when it has answered.
    if (!known || known.running || known.version === model.version) continue;
    const { form } = known;
    known.take(model);
    if (known !== panel) continue;
    if (known.form === form) showModel();
    else open(known);
    const again = known.answer ? " Run again for its answer." : "";
    at("news").textContent = `Version ${model.version} is loaded now.${again}`;
  }
  listModels();
}

/** Offers the models, if there are others than before. */
function listModels() {
  const names = [...panels.keys()];
  const offered = [...at("model").options].map((option) => option.value);
  if (names.join("\n") === offered.join("\n")) return;
  refill(at("model"), ...names.map((name) => element("option", {}, name)));
  if (panel) at("model").value = panel.name;
}

/** The widget's view of an answer; a ServerError where it has other parts. */
function show(asked, values, { predictions }) {
  const fill = (filled) => {
    asked.fields.fill(filled);
    asked.fields.pointAt(Object.keys(filled)[0]);
  };
  const { description, memory } = asked;
  try {
    const shown = asked.widget.show(predictions, values, {
      description, memory, fill,
    });
    if (!canExplain(description)) return shown;
    const part = explainPart(asked.name, description, values);
    return { ...shown, body: element("div", {}, shown.body, part) };
  } catch (error) {
    console.error(error);
    throw new ServerError(
      "The answer lacks parts that this page shows. Is the model exported " +
        "by the same release of electra_tf?",
    );
  }
}

function setBusy(busy) {
  at("answer").setAttribute("aria-busy", busy);
  at("run").textContent = busy ? "Running…" : "Run";
}

function showAnswer(answer, fresh = false) {
  setBusy(false);
  at("error").textContent = "";
  at("waiting").hidden = Boolean(answer);
  at("summary").textContent = answer?.summary ?? "";
  at("latency").textContent = answer ? latency(answer.milliseconds) : "";
  at("summary").lang = answer?.language ?? "";
  refill(at("body"), answer?.body);
  showRequest(at("request"), answer?.request, answer);
  if (!fresh) return;
  answer.shown?.();
  if (at("answer").getBoundingClientRect().top > innerHeight * 0.7) {
    at("answer").scrollIntoView({ block: "start" });
  }
}

function latency(milliseconds) {
  const figure = milliseconds.toFixed(milliseconds < 10 ? 1 : 0);
  return `${figure} ms to the server and back`;
}

function showError(message, request = null) {
  setBusy(false);
  at("waiting").hidden = true;
  at("summary").textContent = "";
  at("latency").textContent = "";
  refill(at("body"));
  showRequest(at("request"), request);
  at("error").textContent = message;
}

function attachKeys() {
  at("form").addEventListener("submit", (event) => {
    event.preventDefault();
    run();
  });
  document.addEventListener("keydown", (event) => {
    if (!panel) return;
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) {
      event.preventDefault();
      run();
    } else if (event.key === "Enter" && "line" in event.target.dataset) {
      event.preventDefault(); // a field of one line
      if (!event.isComposing) run();
    } else if (event.key === "Escape" && panel.running) {
      panel.running.abort();
      panel.running = null;
      showError("Stopped.");
    }
  });
}

async function start() {
  attachThemeButton(at("theme"));
  attachKeys();
  try {
    const models = await loadedModels();
    if (!models.length) throw new ServerError("The server has no model yet.");
    takeModels(models);
    const select = () => {
      open(panels.get(at("model").value));
      history.replaceState(null, "", `#${new URLSearchParams({ model: panel.name })}`);
    };
    at("model").addEventListener("change", select);
    const hash = new URLSearchParams(location.hash.slice(1));
    open(panels.get(hash.get("model")) ?? [...panels.values()][0]);
    at("loading").hidden = true;
    addEventListener("focus", refresh);
    document.addEventListener("visibilitychange", () => {
      if (!document.hidden) refresh();
    });
  } catch (error) {
    at("loading").textContent = `${error.message} Load the page again.`;
    if (!(error instanceof ServerError)) throw error;
  }
}

start();
