// What was just asked: how long it took, the command that asks it again.

import { element, refill } from "./dom.js";
import { hint, modifierKey } from "./touch.js";

/** Shows a request in a host; nothing where there is none. */
export function showRequest(host, request, answer = {}) {
  host.hidden = !request;
  if (!request) return;
  const command = element(
    "pre",
    { tabindex: "0", role: "group", "aria-label": "curl command" },
    request.curl(),
  );
  const said = element("span", { role: "status", class: "note" });
  const copy = element(
    "button",
    {
      type: "button",
      class: "quiet",
      onclick: async () => {
        said.textContent = await copied(command);
      },
    },
    "Copy",
  );
  refill(
    host,
    element(
      "div",
      { class: "request-head" },
      element("h3", {}, "The same with curl"),
      said,
      copy,
    ),
    command,
    answer.predictions ? jsonAnswer(answer.predictions) : null,
  );
}

const LONGEST = 20_000;

function jsonAnswer(predictions) {
  const text = JSON.stringify({ predictions }, null, 1);
  const pre = element("pre", {
    tabindex: "0",
    role: "group",
    "aria-label": "Answer in JSON",
  });
  return element(
    "details",
    {
      // Written when it is opened: an answer can be long.
      ontoggle: () => {
        pre.textContent =
          text.length > LONGEST ? `${text.slice(0, LONGEST)}\n…` : text;
      },
    },
    element("summary", {}, "The answer in JSON"),
    pre,
  );
}

/** Copies a command, or selects it; what to tell. */
async function copied(command) {
  try {
    // Browsers have it for https and localhost only.
    await navigator.clipboard.writeText(command.textContent);
    return "Copied";
  } catch {
    getSelection().selectAllChildren(command);
    return hint("Selected: now copy it", `Selected: press ${modifierKey()}+C`);
  }
}
