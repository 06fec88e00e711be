"""Writes a classifier with random weights in every form to measure."""

import contextlib
import dataclasses
import json
import os
import pathlib
import random
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from typing import NamedTuple

NAME = "classifier"
LABELS = ("negative", "positive")


class Forms(NamedTuple):
    """Paths of one model's forms, and of its input texts."""

    run: str  # the model directory, as fine-tuning writes it
    export: str  # directory of its versions
    export_bf16: str  # bfloat16 products; empty if the CPU lacks support
    export_int8: str  # of LiteRT; empty where that is not installed
    huggingface: str
    texts: str  # a .json list


def read_texts(folder: str | None, text_file: str, count: int | None) -> list:
    """Returns the texts to classify.

    Args:
      folder: of SST-2's dev.tsv; where None, lines of `text_file` are used.
      text_file: a text.
      count: the greatest number of texts.
    """
    if folder is None:
        with open(text_file, encoding="utf-8") as source:
            lines = [line.strip() for line in source if line.strip()]
        # Shuffled, so that every batch has lines of all lengths.
        random.Random(0).shuffle(lines)
        return lines[: count or 872]
    path = pathlib.Path(folder) / "dev.tsv"
    try:
        lines = path.read_text(encoding="utf-8").splitlines()[1:]
        texts = [line.rsplit("\t", 1)[0].strip() for line in lines]
    except OSError as error:
        sys.exit(f"benchmark: {path} is not dev.tsv of SST-2: {error}")
    if not texts:
        sys.exit(f"benchmark: {path} is not dev.tsv of SST-2: it has no rows")
    return texts[:count]


@contextlib.contextmanager
def prepared(
    size: str,
    texts: list[str],
    vocab_file: str,
    max_seq_length: int,
    other_forms: bool,
) -> Iterator[Forms]:
    """Writes the model in all forms; yields their paths.

    Args:
      size: of the model.
      texts: the texts to classify.
      vocab_file: its vocabulary.
      max_seq_length: tokens of a text, specials included.
      other_forms: whether Hugging Face's form is needed.
    """
    import electra_tf  # not installed in a peer's environment
    from electra_tf import litert, processor

    with tempfile.TemporaryDirectory() as folder:
        place = pathlib.Path(folder)
        forms = Forms(
            str(place / "run"),
            str(place / NAME),
            str(place / "bf16" / NAME)
            if processor.bfloat16_instructions()
            else "",
            str(place / "int8" / NAME) if litert.installed() else "",
            str(place / "huggingface"),
            str(place / "texts.json"),
        )
        pathlib.Path(forms.texts).write_text(json.dumps(texts), "utf-8")
        _write_run(forms.run, size, vocab_file, max_seq_length)
        electra_tf.export(
            forms.run,
            forms.export,
            optimize=True,
            signatures="serving_default",
        )
        if forms.export_bf16:
            electra_tf.export(
                forms.run,
                forms.export_bf16,
                optimize=True,
                bfloat16=True,
                signatures="serving_default",
            )
        if forms.export_int8:
            electra_tf.export(
                forms.run,
                forms.export_int8,
                signatures="serving_default",
                litert=True,
                int8=True,
            )
        if other_forms:
            electra_tf.convert(forms.run, "huggingface", forms.huggingface)
        yield forms


def _write_run(
    path: str, size: str, vocab_file: str, max_seq_length: int
) -> None:
    import keras

    from electra_tf.hub import directory
    from electra_tf.models import task_networks
    from electra_tf.models.config import ModelConfig
    from electra_tf.models.task_heads import TaskHeadConfig
    from electra_tf.text.vocab import load_vocab

    vocab = load_vocab(vocab_file)
    # Hugging Face's head has a hidden layer.
    head = TaskHeadConfig("sequence", len(LABELS), LABELS, hidden_layer=True)
    keras.utils.set_random_seed(0)
    # Large weights, so that not all predictions are the same.
    config = dataclasses.replace(
        ModelConfig.of_size(size, vocab_size=len(vocab)), initializer_range=0.1
    )
    network = task_networks.task_network(config, head)
    network.build()
    about = {
        "task": "classification",
        "options": {"max_seq_length": max_seq_length, "hidden_layer": True},
        "state": {"labels": LABELS},
        "metrics": {},
        "settings": {},
    }
    directory.save(
        path,
        directory.DirectoryConfig(
            network.config, None, True, None, vocab.fingerprint(),
            replaced_token_head=False, token_lm_head=False,
            task=head, fine_tuning=about,
        ),
        [network],
        vocab,
    )  # fmt: skip


class Server(NamedTuple):
    """Describes a running process of `electra-tf serve`."""

    address: str  # host:port
    pid: int

    def cpu_seconds(self) -> float:
        """Returns the CPU time it has used; NaN where unknown."""
        try:
            with open(f"/proc/{self.pid}/stat", encoding="ascii") as handle:
                fields = handle.read().rpartition(")")[2].split()
        except OSError:
            return float("nan")
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@contextlib.contextmanager
def served(
    export: str, environment: dict[str, str], cores: int | None
) -> Iterator[Server]:
    """Runs `electra-tf serve` in a process of its own.

    Args:
      export: directory of the model's versions.
      environment: of the process.
      cores: number of cores it may use; all where None.
    """

    def limit() -> None:
        if cores and hasattr(os, "sched_setaffinity"):
            allowed = sorted(os.sched_getaffinity(0))
            os.sched_setaffinity(0, allowed[:cores])

    with tempfile.TemporaryFile() as errors:
        process = subprocess.Popen(
            [sys.executable, "-m", "electra_tf", "serve",
             f"--model={export}", "--port=0", "--poll_seconds=0"],
            stdout=subprocess.PIPE, stderr=errors, text=True, env=environment,
            preexec_fn=limit,
        )  # fmt: skip
        try:
            for line in process.stdout:
                found = re.search(r"http://([^/\s]+)", line)
                if found:
                    yield Server(found[1], process.pid)
                    return
            errors.seek(0)
            last = errors.read().decode("utf-8", "replace")[-1500:]
            sys.exit(f"benchmark: the server did not start: {last}")
        finally:
            process.terminate()
            process.wait()
            process.stdout.close()
