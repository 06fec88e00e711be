// The page: the models, the form of one, what it answers.

import { loadedModels, PredictRequest, ServerError } from "./api.js";
import { classification } from "./classification.js";
import { discriminator } from "./discriminator.js";
import { element, refill } from "./dom.js";
import { Fields } from "./fields.js";
import { generator } from "./generator.js";
import { multilabel } from "./multilabel.js";
import { qa } from "./qa.js";
import { ranking } from "./ranking.js";
import { raw } from "./raw.js";
import { regression } from "./regression.js";
import { showRequest } from "./request_panel.js";
import { tagging } from "./tagging.js";
import { attachThemeButton } from "./theme.js";

const WIDGETS = {
  classification, multilabel, regression, ranking, tagging, qa,
  discriminator, generator,
};

const at = (id) => document.getElementById(id);

/** A model on the page: what was written and answered stays with it. */
class Panel {
  constructor({ name, version, description }) {
    this.name = name;
    this.version = version;
    this.widget = WIDGETS[description?.task] ?? raw;
    this.description = description ?? {};
    this.memory = {}; // the widget's own, for this visit
    const language = this.description.language;
    this.fields = new Fields(this.widget.fields(this.description), language);
    this.answer = null;
    this.running = null; // an AbortController
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

let panel = null;

/** Puts a model on the page. */
function open(next) {
  panel?.running?.abort();
  panel = next;
  at("model").value = panel.name;
  document.title = `${panel.name} · electra_tf`;
  at("title").textContent = panel.widget.title;
  at("about").textContent = panel.widget.about;
  at("facts").textContent = panel.facts();
  refill(at("fields"), ...panel.fields.nodes);
  showExamples(panel.examples());
  showAnswer(panel.answer);
  at("panel").hidden = false;
  panel.fields.refit();
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
  }
}

/** The widget's view of an answer; a ServerError where it has other parts. */
function show(asked, values, { predictions }) {
  const fill = (filled) => {
    asked.fields.fill(filled);
    asked.fields.pointAt(Object.keys(filled)[0]);
  };
  const { description, memory } = asked;
  try {
    return asked.widget.show(predictions, values, {
      description, memory, fill,
    });
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
    const panels = new Map(models.map((model) => [model.name, new Panel(model)]));
    refill(
      at("model"),
      ...[...panels.keys()].map((name) => element("option", {}, name)),
    );
    const select = () => {
      open(panels.get(at("model").value));
      history.replaceState(null, "", `#${new URLSearchParams({ model: panel.name })}`);
    };
    at("model").addEventListener("change", select);
    const hash = new URLSearchParams(location.hash.slice(1));
    open(panels.get(hash.get("model")) ?? [...panels.values()][0]);
    at("loading").hidden = true;
  } catch (error) {
    at("loading").textContent = `${error.message} Load the page again.`;
    if (!(error instanceof ServerError)) throw error;
  }
}

start();
