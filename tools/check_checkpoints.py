"""Reads Hugging Face checkpoints of about two hundred kinds and compares.

    python tools/check_checkpoints.py --python=/path/to/torch/env/bin/python

`transformers` makes them: classes, settings, ways to store weights, tokenizers,
damage; see tools/benchmarks/peers/hf_kinds.py. A kind is good if outputs and
ids equal the library's, or a warning names the difference, or an error names
the problem. --python may list several interpreters.
"""

import json
import os
import pathlib
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from absl import app, flags
from benchmarks.workers import Worker
from check_huggingface import (
    STRINGS,
    Outcome,
    awkward_strings,
    network,
    outputs,
    relative,
    show,
)


def kinds_peer(folder: pathlib.Path, python: str) -> Worker:
    """Starts a peer that makes checkpoints of many kinds."""
    golden = json.loads(STRINGS.read_text(encoding="utf-8"))
    file = folder / "vocab.txt"
    file.write_text("".join(f"{t}\n" for t in golden["vocab"]))
    return Worker("hf_kinds.py", {"vocab": str(file)}, python)


def compare_kinds(
    peer: Worker, folder: pathlib.Path, which: str = ""
) -> Iterator[Outcome]:
    """Compares checkpoints of many kinds, made by the library.

    Args:
      peer: of hf_kinds.py.
      folder: for files.
      which: only kinds with this in their names are compared.
    """
    pairs = [("the cat", "of it"), ("a", "b")]
    texts = [t for t in awkward_strings(220) if not _long(t)]
    texts.append(
        "a NASA nasa New York [E1] x[E1]y  [E1]\0the<x y> newword cats"
    )
    request = {"do": "make", "texts": texts, "pairs": pairs}
    # The library's character tables differ: leave out the texts concerned.
    other: set[int] = set()
    for number, name in enumerate(("as it comes", "cased")):
        path = folder / f"plain{number}"
        reply = peer.ask(
            {**request, "name": f"tokenizer/{name}", "directory": str(path)}
        )
        ids = _read_kind(path)[1](texts).to_list()
        other |= {
            i for i, ab in enumerate(zip(ids, reply["ids"])) if ab[0] != ab[1]
        }
    kept = [i for i in range(len(texts)) if i not in other]
    request["texts"] = [texts[i] for i in kept]
    for number, name in enumerate(peer.ask({"do": "list"})["names"]):
        if which not in name:
            continue
        path = folder / f"kind{number}"
        reply = peer.ask({**request, "name": name, "directory": str(path)})
        if "cannot" not in reply:
            yield _kind(name, path, reply, request["texts"], pairs)
        shutil.rmtree(path, ignore_errors=True)


def _long(text: str) -> bool:
    return max(map(len, text.split()), default=0) > 100


def _read_kind(path: pathlib.Path) -> tuple[Any, Any]:
    from electra_tf.hub import loading
    from electra_tf.text.tokenizer import Tokenizer

    checkpoint = loading.open_checkpoint(str(path))
    config, vocab = checkpoint.config, checkpoint.vocab
    if vocab is None:
        return checkpoint, None
    return checkpoint, Tokenizer(vocab, config.lower_case, config.strip_accents)


def _unanswered(path: pathlib.Path, task: Any) -> list[str]:
    """Returns what is wrong with a fine-tuned model's predictions."""
    from electra_tf.prediction import predictor

    asked = [("a", "the cat")] if task.kind == "span" else ["the cat", "of"]
    found = predictor.load(str(path)).predict(asked)
    wrong = [f"no answer: {a['error']}" for a in found if "error" in a]
    for answer in found:
        shares = answer.get("probabilities")
        if shares is not None and len(shares) != task.num_labels:
            wrong.append(f"{len(shares)} of {task.num_labels} labels")
    return wrong


def _kind(
    name: str, path: pathlib.Path, reference: Mapping, texts: list, pairs: list
) -> Outcome:
    from electra_tf.errors import UserError
    from electra_tf.hub import loading
    from electra_tf.hub.checkpoint import select

    expect, apart, problems = reference["expect"], 0.0, []
    try:
        checkpoint, tokenizer = _read_kind(path)
        part = "generator" if checkpoint.config.generator else "discriminator"
        checkpoint = select(checkpoint, part)
        model = network(checkpoint.config)
        report = loading.assign(model, checkpoint)
        result = " ".join([*report.assumed, *report.leftover])
        if "outputs" in reference:
            theirs = dict(np.load(reference["outputs"]))
            names = ("input_ids", "input_mask", "segment_ids")
            found = outputs(
                model, {n: theirs[n].astype("int32") for n in names}
            )
            for key, value in found.items():
                other = theirs.get(f"out_{key}", theirs.get("out_other"))
                apart = max(apart, relative(other, value))
        if tokenizer is not None and "ids" in reference:
            wrong = [
                t
                for t, a, b in zip(
                    texts, tokenizer(texts).to_list(), reference["ids"]
                )
                if a != b
            ]
            rows = tokenizer.encode(*zip(*pairs))
            mask = rows["input_mask"].numpy().astype(bool)
            joined = [
                [row[m].tolist() for row, m in zip(rows[k].numpy(), mask)]
                for k in ("input_ids", "segment_ids")
            ]
            if reference["segments"] is None:  # a class that returns none
                reference["segments"] = joined[1]
            if expect == "" and joined != [
                reference["pairs"],
                reference["segments"],
            ]:
                problems.append(f"pairs: {joined}")
            if expect == "" and wrong:
                problems.append(f"{len(wrong)} texts, as {wrong[-1][:40]!r}")
        if checkpoint.config.task is not None and tokenizer is not None:
            problems += _unanswered(path, checkpoint.config.task)
    except UserError as error:
        result = f"!{error}".replace(str(path), "")
        if expect == "" or "\n" in result:
            problems.append(result)
    refused = result.startswith("!") == expect.startswith("!")
    if expect not in ("", "?") and not (refused and expect[1:] in result):
        problems.append(f"expected {expect!r}, got {result[:300]!r}")
    return Outcome(f"{name} | {result[:200]}", apart, problems)


def main(_: list[str]) -> None:
    """Checks the kinds with every interpreter; prints the outcomes."""
    for python in FLAGS.python:
        with tempfile.TemporaryDirectory() as name:
            folder = pathlib.Path(name)
            peer = kinds_peer(folder, python)
            print(peer.facts["version"], flush=True)
            bad = 0
            try:
                for outcome in compare_kinds(peer, folder, FLAGS.which):
                    show(outcome)
                    bad += not outcome.good
            finally:
                peer.close()
            print(f"failed: {bad}")


if __name__ == "__main__":
    FLAGS = flags.FLAGS
    flags.DEFINE_list(
        "python", None, "Pythons with torch and transformers", required=True
    )
    flags.DEFINE_string("which", "", "part of the names of the kinds to check")
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    app.run(main)
