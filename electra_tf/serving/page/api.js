// What the page says to the server: models, predictions, their time, and the
// same request as a curl command.

/** What went wrong, in words for the person at the page. */
export class ServerError extends Error {}

/**
 * The models of the server: [{name, version, description, older, labels}], of
 * the newest version. `older` are {version, description} of others that are
 * served, if any; `labels` tells the versions that have names.
 */
export async function loadedModels() {
  const { answer } = await speak("v1/models");
  return answer.models ?? [];
}

/** A request for predictions, ready to send or to be shown as a command. */
export class PredictRequest {
  /**
   * @param {string} model
   * @param {Array} rows
   * @param {{pinned?: {version?: string, label?: string}|null,
   *   signature?: string|null}} options the newest version and the model's
   *   main signature where null.
   */
  constructor(model, rows, { pinned = null, signature = null } = {}) {
    const of = pinned === null ? ""
      : pinned.label === undefined ? `/versions/${pinned.version}`
      : `/labels/${encodeURIComponent(pinned.label)}`;
    const path = `v1/models/${encodeURIComponent(model)}${of}:predict`;
    const named = signature === null ? {} : { signature_name: signature };
    this.url = new URL(path, document.baseURI).href;
    this.body = JSON.stringify({ ...named, instances: rows }, wellFormed);
  }

  /** {predictions, milliseconds}; a ServerError where there are none. */
  async send(signal) {
    const { answer, milliseconds } = await speak(this.url, {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      body: this.body,
      signal,
    });
    if (!Array.isArray(answer.predictions)) {
      throw new ServerError("The server's answer holds no predictions.");
    }
    return { predictions: answer.predictions, milliseconds };
  }

  /** The command that sends the same bytes from a POSIX shell. */
  curl() {
    const start =
      `curl ${quoted(this.url)} \\\n` +
      "  -H 'Content-Type: application/json' \\\n";
    const argument = quoted(this.body);
    if (argument.length < MAX_ARGUMENT) return `${start}  -d ${argument}`;
    return `${start}  --data-binary @- <<'END'\n${this.body}\nEND`;
  }
}

// Linux takes no argument of more than 128 KiB.
const MAX_ARGUMENT = 100_000;

/** A word that a POSIX shell takes as this text. */
function quoted(text) {
  return `'${text.replaceAll("'", "'\\''")}'`;
}

/** U+FFFD for half a surrogate pair, which no server could take. */
function wellFormed(_, value) {
  return typeof value === "string" && value.toWellFormed
    ? value.toWellFormed()
    : value;
}

async function speak(url, options = {}) {
  const start = performance.now();
  let response, text;
  try {
    response = await fetch(url, options);
    text = await response.text();
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new ServerError(
      "The server cannot be reached. Is it still running?",
    );
  }
  const milliseconds = performance.now() - start;
  const answer = parsed(text);
  if (!response.ok) throw new ServerError(inWords(response.status, answer));
  if (answer === null || typeof answer !== "object") {
    throw new ServerError("The server's answer is no JSON object.");
  }
  return { answer, milliseconds };
}

/** JSON, in which the numbers that it has not become texts; null if none. */
function parsed(text) {
  for (const read of [(json) => json, withoutInfinity]) {
    try {
      return JSON.parse(read(text));
    } catch {
      // The other way, or none.
    }
  }
  return null;
}

/** The REST interface writes NaN, Infinity and -Infinity as they stand. */
function withoutInfinity(json) {
  return json.replace(/"(?:[^"\\]|\\.)*"|-?Infinity|NaN/g, (part) =>
    part.startsWith('"') ? part : `"${part}"`,
  );
}

const MEANINGS = {
  400: "The server did not accept the request.",
  404: "The server has no such model (any more).",
  413: "The text is larger than this server takes.",
  429: "The server is busy. Try again in a moment.",
  503: "The server is busy or stopping. Try again in a moment.",
  504: "The answer took longer than this server allows.",
};

function inWords(status, answer) {
  const meaning =
    MEANINGS[status] ?? `The server failed to answer (status ${status}).`;
  const detail = answer?.error;
  return detail ? `${meaning} It says: ${detail}` : meaning;
}
