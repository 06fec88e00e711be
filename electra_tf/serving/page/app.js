// The page: the models, the form of one, what it answers.

import { loadedModels, PredictRequest, ServerError } from "./api.js";
import { classification } from "./classification.js";
import { cutNotice, cutTexts, readingRequest } from "./cut.js";
import { discriminator } from "./discriminator.js";
import { element, refill } from "./dom.js";
import { embeddings } from "./embeddings.js";
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
import { summarization } from "./summarization.js";
import { tagging } from "./tagging.js";
import { attachThemeButton } from "./theme.js";
import { modifierKey } from "./touch.js";

const WIDGETS = {
  classification, multilabel, regression, ranking, tagging, qa, seq2seq,
  summarization, discriminator, generator,
};

// Tasks that read a text of any length, piece by piece.
const READ_WHOLE = ["qa", "tagging", "summarization"];
const POLL = 3000; // milliseconds, while the server has no model to show
const LONG = 120; // characters of a headline that is a text
const ONE_CHOICE = 2000; // changes within it are one step of "back"

const at = (id) => document.getElementById(id);

function widgetOf({ task, signatures }) {
  const only = signatures && !("serving_default" in signatures);
  if (only) return "embed" in signatures ? embeddings : raw;
  return WIDGETS[task] ?? raw;
}

/** The version of a model that an address asks for; the newest where null. */
function versionOf(model, pinned) {
  if (pinned === null) return { ...model, served: true };
  const version = pinned.version ?? model.labels?.[pinned.label];
  const all = [model, ...(model.older ?? [])];
  const found = all.find((one) => one.version === version);
  const { description } = found ?? model;
  return { name: model.name, version, description, served: Boolean(found) };
}

/** A model on the page: what was written and answered stays with it. */
class Panel {
  /**
   * @param {Object} model of `versionOf`
   * @param {{version?: string, label?: string}|null} pinned what the address
   *   asks for; null: the newest version
   */
  constructor(model, pinned = null) {
    this.running = null; // an AbortController
    this.pinned = pinned;
    this.take(model);
  }

  /** Is the model as the server has it; what was written stays in its form. */
  take({ name, version, description, served }) {
    this.name = name;
    this.version = version;
    this.served = served;
    this.description = description ?? {};
    const widget = widgetOf(this.description);
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

  /** "version 3 · glue/sst2 · English · reads the first 128 tokens". */
  facts() {
    const { task, task_name, language, max_seq_length } = this.description;
    const languages = { en: "English", zh: "Chinese" };
    return [
      this.versionTold(),
      task_name ?? task,
      languages[language],
      max_seq_length && !READ_WHOLE.includes(task) ? this.reach() : null,
    ].filter(Boolean).join(" · ");
  }

  versionTold() {
    if (this.pinned === null) return `version ${this.version}`;
    const label = this.pinned.label;
    const asked = label === undefined ? "" : ` (${label})`;
    const told = this.version === undefined ? `version “${label}”`
      : `version ${this.version}${asked}`;
    return this.served ? `${told}, as the address asks`
      : `${told}, which is not served`;
  }

  /** How much of a text counts; [CLS] and [SEP] are none of its tokens. */
  reach() {
    const { max_seq_length: most, pair } = this.description;
    return pair
      ? `reads ${most - 3} tokens of both texts together`
      : `reads the first ${most - 2} tokens`;
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

const panels = new Map(); // by the models' names and what is pinned of them
let served = new Map(); // name -> model, as the server tells them
let panel = null;

/** A panel of a model, which may not be served any more. */
function panelOf(name) {
  return [...panels.values()].find((known) => known.name === name);
}

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
  const newest = panel.pinned === null ? null : element(
    "a", { href: address(panel.name) }, "use the newest",
  );
  refill(at("facts"), panel.facts(), newest ? " · " : null, newest);
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
      ...briefly(example),
    );
  refill(
    at("examples"),
    ...examples.map((example) => element("li", {}, button(example))),
  );
  at("examples-part").hidden = !examples.length;
}

/** "how long is the danube / 3 passages", each part in its direction. */
function briefly(example) {
  const part = ([name, value]) => {
    if (!Array.isArray(value)) {
      return value.length > 90 ? `${value.slice(0, 88).trimEnd()}…` : value;
    }
    const form = panel.fields.parts.find((part) => part.form.name === name);
    const label = form?.form.label.toLowerCase() ?? name;
    return `${value.length} ${label}${value.length === 1 ? "" : "s"}`;
  };
  return Object.entries(example).flatMap((entry, i) => [
    i ? " / " : null,
    element("bdi", {}, part(entry)),
  ]);
}

/** Asks the model on the page; a run before that still goes on is ended. */
async function run() {
  const asked = panel;
  asked.running?.abort();
  asked.fields.tidy();
  const values = asked.fields.values();
  const fault = asked.fault(values);
  if (fault) {
    asked.fields.pointAt(fault.field);
    showError(fault.message);
    return;
  }
  const rows = asked.widget.rows(values);
  const { pinned, description, widget } = asked;
  const signature = widget.signature ?? null;
  const request = new PredictRequest(asked.name, rows, { pinned, signature });
  const reading = readingRequest(asked.name, description, rows, pinned);
  const control = new AbortController();
  asked.running = control;
  at("news").textContent = "";
  setBusy(true);
  try {
    const told = reading?.send(control.signal).catch(() => null);
    const answer = await request.send(control.signal);
    const cuts = cutTexts(rows, (await told)?.predictions ?? []);
    const shown = show(asked, values, answer, cuts);
    asked.answer = { ...shown, request, ...answer, cuts };
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
  served = new Map(models.map((model) => [model.name, model]));
  for (const known of panels.values()) {
    // One that runs is taken over when it has answered.
    if (!served.has(known.name) || known.running) continue;
    const model = versionOf(served.get(known.name), known.pinned);
    const same = known.version === model.version;
    if (same && known.served === model.served) continue;
    const { form } = known;
    // Of a version that is gone, what is known of it stays.
    const { description } = known;
    known.take(model.served ? model : { ...model, description });
    if (known !== panel) continue;
    if (known.form === form) showModel();
    else open(known);
    const again = known.answer ? " Run again for its answer." : "";
    at("news").textContent = model.served
      ? `Version ${model.version} is loaded now.${again}`
      : "This version is not served any more.";
  }
  listModels();
}

/** Offers the models, if there are others than before. */
function listModels() {
  const names = [...served.keys()];
  if (panel && !served.has(panel.name)) names.push(panel.name);
  const offered = [...at("model").options].map((option) => option.value);
  if (names.join("\n") === offered.join("\n")) return;
  refill(at("model"), ...names.map((name) => element("option", {}, name)));
  if (panel) at("model").value = panel.name;
}

/** The widget's view of an answer; a ServerError where it has other parts. */
function show(asked, values, { predictions }, cuts) {
  const fill = (filled) => {
    asked.fields.fill(filled);
    asked.fields.pointAt(Object.keys(filled)[0]);
  };
  const { description, memory } = asked;
  try {
    const shown = asked.widget.show(predictions, values, {
      description, memory, fill, cuts,
    });
    if (asked.widget.signature || !canExplain(description)) return shown;
    const { name, pinned } = asked;
    const part = explainPart(name, pinned, description, values, cuts);
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
  at("summary").classList.toggle("long", (answer?.summary.length ?? 0) > LONG);
  at("latency").textContent = answer ? latency(answer.milliseconds) : "";
  at("summary").lang = answer?.language ?? "";
  showCuts(answer?.cuts ?? []);
  refill(at("body"), answer?.body);
  showRequest(at("request"), answer?.request, answer);
  if (!fresh) return;
  answer.shown?.();
  if (at("answer").getBoundingClientRect().top > innerHeight * 0.7) {
    at("answer").scrollIntoView({ block: "start" });
  }
}

function showCuts(cuts) {
  at("cut").hidden = !cuts.length;
  const forms = panel?.fields.parts.map((part) => part.form) ?? [];
  const { language } = panel?.description ?? {};
  refill(at("cut"), ...(cuts.length ? cutNotice(cuts, forms, language) : []));
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
  showCuts([]);
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

/** The address of a model on this page. */
function address(model) {
  return `#${new URLSearchParams({ model })}`;
}

/** What an address asks for beside a model; null: its newest version. */
function pinnedBy(hash) {
  const version = hash.get("version") ?? "";
  if (/^\d{1,18}$/.test(version)) return { version: String(BigInt(version)) };
  return hash.get("label") ? { label: hash.get("label") } : null;
}

/** Opens what the address names, or the first model. */
function openAddressed() {
  const hash = new URLSearchParams(location.hash.slice(1));
  const asked = hash.get("model");
  const known = served.has(asked) || Boolean(panelOf(asked));
  const name = known ? asked : panel?.name ?? [...served.keys()][0];
  const pinned = known ? pinnedBy(hash) : null;
  const key = JSON.stringify([name, pinned]);
  if (!panels.has(key)) {
    const model = served.get(name) ?? panelOf(name);
    panels.set(key, new Panel(versionOf(model, pinned), pinned));
  }
  if (panels.get(key) !== panel) open(panels.get(key));
  listModels();
  if (asked && !known) {
    at("news").textContent = `This server has no model “${asked}”.`;
  }
}

let chosenAt = -Infinity;

/** Goes to the model that the list shows. */
function choose() {
  // Arrow keys go through the list: a step of "back" is not each of them.
  const now = performance.now();
  const write = now - chosenAt < ONE_CHOICE ? "replaceState" : "pushState";
  chosenAt = now;
  history[write](null, "", address(at("model").value));
  openAddressed();
}

/** Shows the models as soon as the server tells them. */
async function load() {
  clearTimeout(load.timer);
  at("again").hidden = true;
  try {
    const models = await loadedModels();
    if (!models.length) throw new ServerError("The server has no model yet.");
    takeModels(models);
    openAddressed();
    at("loading").hidden = true;
    addEventListener("focus", refresh);
    addEventListener("hashchange", openAddressed);
    document.addEventListener("visibilitychange", () => {
      if (!document.hidden) refresh();
    });
  } catch (error) {
    const message = `${error.message} This page tries again by itself.`;
    if (at("loading-text").textContent !== message) {
      at("loading-text").textContent = message;
    }
    at("again").hidden = false;
    if (!(error instanceof ServerError)) throw error;
    load.timer = setTimeout(load, POLL);
  }
}

attachThemeButton(at("theme"));
attachKeys();
at("modifier").textContent = modifierKey();
at("model").addEventListener("change", choose);
at("again").addEventListener("click", load);
load();
