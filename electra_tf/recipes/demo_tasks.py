"""The demo's second half: fills blanks, fine-tunes, exports and serves."""

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator

from electra_tf import files
from electra_tf.errors import UserError
from electra_tf.recipes import commands_shown

_PACKAGE = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
_AUTHORS = os.path.join(_PACKAGE, "sample_tasks", "authors")
_BLANK = "She opened the [MASK] and looked out into the garden."
_QUESTIONS = (
    "It is very kind of you to call upon my sister, Mr. Knightley.",
    "The machine glowed green as it sank into the red sand.",
)
_LISTENING = "listening on "


def run(output: str, model: str, num_train_epochs: int) -> None:
    """Shows what a pre-trained model is for, on the labelled set that ships.

    Fills a blank; fine-tunes the model to tell three authors apart, and the
    same network from random weights; exports the first, starts the server and
    asks it.

    Args:
      output: the demo's folder.
      model: a pre-trained model: a path, or the name of one that ships.
      num_train_epochs: passes over the training sentences.

    Raises:
      UserError: a step fails.
    """
    from electra_tf.recipes.export import export
    from electra_tf.recipes.fill import fill

    commands_shown.run(fill, model=model, text=_BLANK)
    tuned = _accuracy(output, "authors", model, num_train_epochs, False)
    if tuned is None:
        return  # stopped by a signal
    random = _accuracy(output, "authors_random", model, num_train_epochs, True)
    if random is None:
        return
    print("\nWho wrote a sentence of another book: Austen, Doyle or Wells?")
    for name, value in (
        (f"fine-tuned from {model}", tuned),
        ("fine-tuned from random weights", random),
        ("always the same author", 100 / 3),
    ):
        print(f"  {name:<40} {value:5.1f} % correct")
    served = files.join(output, "served", "authors")
    if not files.exists(served):
        commands_shown.run(
            export, model=files.join(output, "authors"), output=served
        )
    _ask(served)


def _accuracy(
    output: str, name: str, model: str, num_train_epochs: int, random: bool
) -> float | None:
    """Fine-tunes; returns the accuracy in percent, None if interrupted."""
    from electra_tf.recipes.finetune import finetune

    start = {"random_weights": True} if random else {}
    found = commands_shown.run(
        finetune,
        task="classification",
        model=model,
        **start,
        data=_AUTHORS,
        output=files.join(output, name),
        num_trials=1,
        overrides=(
            "options.label_column=author",
            f"train.num_train_epochs={num_train_epochs}",
        ),
    )
    return found.metrics["validation"]["accuracy"] if found.finished else None


def _ask(served: str) -> None:
    """Starts the server, asks it, prints where its page was, and stops it."""
    from electra_tf.recipes.client import client

    with _server(served) as url:
        for text in _QUESTIONS:
            commands_shown.run(client, url=url, text=text)
        print(f"\nThe page for trying the model was at {url} until now.")
    print(f"To open it again: electra-tf serve --model={served}")


@contextlib.contextmanager
def _server(served: str) -> Iterator[str]:
    """Serves a model on a free port; yields the address."""
    words = ["serve", f"--model={served}", "--port=0"]
    print(f"\n$ electra-tf {' '.join(words)}", flush=True)
    process = subprocess.Popen(
        [sys.executable, "-m", "electra_tf", *words],
        stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stdout is not None
    try:
        for line in process.stdout:
            print(line, end="", flush=True)
            if line.startswith(_LISTENING):
                yield line.removeprefix(_LISTENING).strip()
                return
        raise UserError("serve: it ended at once; see its message above")
    finally:
        process.terminate()
        process.wait()
        process.stdout.close()
