"""Compares models and tokenizers with Hugging Face `transformers`, both ways.

    python tools/check_huggingface.py --python=/path/to/torch/env/bin/python \\
        --vocabs=english.txt,chinese.txt

Random models of ELECTRA's six classes are saved by transformers and read
here, and the other way round; outputs on the same inputs are compared, and
missing and unexpected keys that transformers reports. The other environment
needs torch and transformers, of version 4.57 or 5, and for the last part
sentence-transformers; --python may list several interpreters. Sizes are tiny,
small and base, each with and without a projection of the embeddings.
"""

import dataclasses
import itertools
import json
import os
import pathlib
import random
import shutil
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from absl import app, flags
from benchmarks.workers import Worker

from electra_tf.errors import UserError

ROOT = pathlib.Path(__file__).resolve().parent.parent
STRINGS = ROOT / "tests" / "golden" / "tokenizer.json"
SPECIALS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
TOLERANCE = 1e-5
CLASSES = (
    "ElectraModel",
    "ElectraForPreTraining",
    "ElectraForMaskedLM",
    "ElectraForSequenceClassification",
    "ElectraForTokenClassification",
    "ElectraForQuestionAnswering",
)
STORES = (
    "safetensors", "sharded", "bin", "sharded_bin", "float16", "bfloat16",
)  # fmt: skip
# hidden, layers, heads, positions, vocabulary; then both embedding sizes.
SIZES = {
    "tiny": ((32, 2, 2, 24, 90), (16, 32)),
    "small": ((256, 12, 4, 512, 30522), (128, 256)),
    "base": ((768, 12, 12, 512, 30522), (768, 128)),
}


# Settings that change what a class computes, read at the smallest size.
VARIANTS = (
    {"hidden_act": "gelu_new"},
    {"tie_word_embeddings": False},
    {"type_vocab_size": 3, "layer_norm_eps": 1e-5},
)


class Outcome(NamedTuple):
    """Holds the result of one comparison."""

    name: str
    difference: float  # the largest, absolute
    problems: list[str]  # keys missing, unexpected and so on
    required: bool = True  # False: for information only

    @property
    def good(self) -> bool:
        """Whether the outcome is as expected, or only for information."""
        equal = self.difference <= TOLERANCE and not self.problems
        return equal or not self.required


def their_config(size: str, embedding: int, name: str) -> dict[str, Any]:
    """Returns the settings of a `transformers` model."""
    (hidden, layers, heads, positions, vocab), _ = SIZES[size]
    return {
        "vocab_size": vocab,
        "embedding_size": embedding,
        "hidden_size": hidden,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "intermediate_size": 4 * hidden,
        "max_position_embeddings": positions,
        "num_labels": 2 if name.endswith("QuestionAnswering") else 3,
    }


def our_config(size: str, embedding: int, name: str) -> Any:
    """Returns the settings of our model of the same size."""
    from electra_tf.hub.config import DirectoryConfig
    from electra_tf.models.config import ModelConfig
    from electra_tf.models.task_heads import TaskHeadConfig

    (hidden, layers, heads, positions, vocab), _ = SIZES[size]
    model = ModelConfig(
        vocab, embedding, hidden, layers, heads, 4 * hidden, positions
    )
    task = {
        CLASSES[3]: TaskHeadConfig("sequence", 3, hidden_layer=True),
        CLASSES[4]: TaskHeadConfig("token", 3, labels=("O", "B", "I")),
        CLASSES[5]: TaskHeadConfig("span"),
    }.get(name)
    generator = name == "ElectraForMaskedLM"
    return DirectoryConfig(
        None if generator else model,
        model if generator else None,
        lower_case=True,
        strip_accents=None,
        vocab_fingerprint="",
        replaced_token_head=name == "ElectraForPreTraining",
        task=task,
    )


def network(config: Any) -> Any:
    """Builds our network for `config`."""
    from electra_tf.models import encoder, networks, task_networks

    if config.discriminator is None:
        model = networks.Generator(config.generator)
    elif config.task is not None:
        model = task_networks.task_network(config.discriminator, config.task)
    elif config.replaced_token_head:
        model = networks.Discriminator(config.discriminator)
    else:
        model = encoder.ElectraEncoder(config.discriminator)
    model.build()
    return model


def outputs(model: Any, inputs: Mapping[str, np.ndarray]) -> dict:
    """Returns our network's outputs, by the names of `transformers`."""
    result = model(
        inputs["input_ids"], inputs["input_mask"], inputs["segment_ids"]
    )
    if hasattr(result, "spans"):
        return {
            "start_logits": result.spans.start_logits,
            "end_logits": result.spans.end_logits,
        }
    if hasattr(result, "logits"):
        return {"logits": result.logits}
    return {"last_hidden_state": result.sequence_output}


def random_inputs(size: str) -> dict[str, np.ndarray]:
    """Returns random rows, of which one has padding."""
    positions, vocab = SIZES[size][0][3:]
    length = min(positions, 48)
    rng = np.random.default_rng(0)
    ids = rng.integers(5, vocab, (3, length)).astype(np.int32)
    mask, segments = np.ones_like(ids), np.zeros_like(ids)
    mask[1, length // 2 :] = 0
    ids[1, length // 2 :] = 0
    segments[:, length // 3 :] = 1
    return {"input_ids": ids, "input_mask": mask, "segment_ids": segments}


def difference(ours: Mapping, theirs: Mapping) -> float:
    """Returns the largest absolute difference of outputs."""
    return max(
        float(np.abs(np.asarray(ours[key]) - theirs[key]).max()) for key in ours
    )


def compare(
    peer: Worker, folder: pathlib.Path, sizes: Sequence[str]
) -> Iterator[Outcome]:
    """Compares all classes, sizes, projections and directions."""
    number = 0
    for size in sizes:
        inputs = random_inputs(size)
        np.savez(folder / "inputs.npz", **inputs)
        for name in CLASSES:
            for embedding in SIZES[size][1]:
                case = f"{name} {size} E={embedding}"
                store = STORES[number % len(STORES)]
                number += 1
                request = {
                    "class": name,
                    "directory": str(folder / "model"),
                    "inputs": str(folder / "inputs.npz"),
                    "outputs": str(folder / "outputs.npz"),
                }
                for direction in (_from_theirs, _to_theirs):
                    shutil.rmtree(folder / "model", ignore_errors=True)
                    yield direction(
                        peer, request, case, inputs, store,
                        (size, embedding, name),
                    )  # fmt: skip


def compare_variants(peer: Worker, folder: pathlib.Path) -> Iterator[Outcome]:
    """Compares tiny models with unusual settings, from Hugging Face."""
    inputs = random_inputs("tiny")
    np.savez(folder / "inputs.npz", **inputs)
    for changes in VARIANTS:
        for name in CLASSES:
            shutil.rmtree(folder / "model", ignore_errors=True)
            request = {
                "class": name,
                "directory": str(folder / "model"),
                "inputs": str(folder / "inputs.npz"),
                "outputs": str(folder / "outputs.npz"),
            }
            yield _from_theirs(
                peer, request, f"{name} tiny {changes}", inputs, STORES[0],
                ("tiny", 16, name), changes,
            )  # fmt: skip


def _from_theirs(
    peer, request, case, inputs, store, which, changes=()
) -> Outcome:
    from electra_tf.hub import huggingface, loading

    config = their_config(*which) | dict(changes)
    peer.ask({**request, "do": "make", "config": config, "store": store})
    checkpoint = huggingface.read(request["directory"])
    model = network(checkpoint.config)
    report = loading.assign(model, checkpoint)
    theirs = np.load(request["outputs"])
    problems = [f"new: {n}" for n in report.new if "dropout_seed" not in n]
    problems += [f"left over: {n}" for n in report.leftover]
    return Outcome(
        f"{case} from Hugging Face ({store})",
        difference(outputs(model, inputs), theirs),
        problems,
    )


def _to_theirs(peer, request, case, inputs, store, which) -> Outcome:
    from electra_tf.hub import directory, huggingface
    from electra_tf.hub.checkpoint import Checkpoint

    config = our_config(*which)
    model = network(config)
    rng = np.random.default_rng(1)
    weights = {}
    for variable in model.trainable_variables:
        noise = rng.normal(0, 0.02, variable.shape).astype(np.float32)
        variable.assign_add(noise)
        weights[directory.weight_name(variable.path)] = variable.numpy()
    notes = huggingface.write(
        request["directory"], Checkpoint(config, weights, None)
    )
    reply = peer.ask({**request, "do": "load"})
    problems = [
        f"{key}: {reply[key]}"
        for key in ("missing_keys", "unexpected_keys", "mismatched_keys")
        if reply[key]
    ]
    problems += [note for note in notes if "tokenizer" not in note]
    return Outcome(
        f"{case} to Hugging Face",
        difference(outputs(model, inputs), np.load(request["outputs"])),
        problems,
    )


def awkward_strings(count: int) -> list[str]:
    """Returns recorded texts, and random ones of all kinds of characters."""
    golden = json.loads(STRINGS.read_text(encoding="utf-8"))
    texts = [case["text"] for case in golden["cases"]]
    rng = random.Random(0)
    blocks = [
        (0x20, 0x7F), (0xA0, 0x250), (0x300, 0x370), (0x370, 0x530),
        (0x590, 0x700), (0x900, 0xA00), (0xE00, 0xE80), (0x1E00, 0x2100),
        (0x2000, 0x2070), (0x3000, 0x3100), (0x4E00, 0x9FFF), (0xAC00, 0xD7A3),
        (0xFF00, 0xFFEF), (0x1F300, 0x1F700), (0x20000, 0x2A6DF),
        (0x2B820, 0x2CEAF), (0x31350, 0x323AF), (0x0, 0x20),
    ]  # fmt: skip
    while len(texts) < count:
        few = rng.sample(blocks, rng.randint(1, 3))
        length = rng.choice((3, 12, 40, 150))
        space = rng.choice((0.0, 0.15))
        texts.append(
            "".join(
                " "
                if rng.random() < space
                else chr(rng.randrange(*rng.choice(few)))
                for _ in range(length)
            )
        )
    # Ours reads special tokens in a text as text; theirs, as the tokens.
    return [t for t in texts if not any(s in t for s in SPECIALS)]


def compare_tokenizers(
    peer: Worker, folder: pathlib.Path, vocabs: Sequence[str] = ()
) -> Iterator[Outcome]:
    """Compares ids of awkward strings: our files there, their files here.

    Args:
      peer: the other environment.
      folder: for files.
      vocabs: vocabulary files; the recorded one is always used first.

    `difference` is the number of strings that differ. It must be 0 for the fast
    tokenizer on our files. On their own files it may not be, nor for the slow
    tokenizer: both have other character tables, and words up to 100 characters.
    """
    from electra_tf.hub import huggingface_tokenizer
    from electra_tf.text.tokenizer import Tokenizer
    from electra_tf.text.vocab import Vocab, load_vocab

    golden = json.loads(STRINGS.read_text(encoding="utf-8"))
    texts = awkward_strings(320)
    known = {"recorded": Vocab(tuple(golden["vocab"]))}
    known |= {pathlib.Path(path).stem: load_vocab(path) for path in vocabs}
    for (which, vocab), lower_case in itertools.product(
        known.items(), (True, False)
    ):
        ours = folder / f"tokenizer_{which}_{lower_case}"
        ours.mkdir()
        huggingface_tokenizer.write(str(ours), vocab, lower_case, None, 512)
        theirs = folder / f"tokenizer_{which}_theirs_{lower_case}"
        peer.ask(
            {
                "do": "save_tokenizer",
                "source": str(ours / "vocab.txt"),
                "directory": str(theirs),
                "lower_case": lower_case,
            }
        )
        for name, place in (("to", ours), ("from", theirs)):
            read = huggingface_tokenizer.read(str(place))
            tokenizer = Tokenizer(
                read.vocab, read.lower_case, read.strip_accents
            )
            expected = tokenizer(texts).to_list()
            reply = peer.ask(
                {"do": "tokenize", "directory": str(place), "texts": texts}
            )
            for kind in set(reply) & {"fast", "slow"}:
                wrong = [
                    repr(text)[:60]
                    for text, a, b in zip(texts, expected, reply[kind])
                    if a != b
                ]
                yield Outcome(
                    f"tokenizer {name} Hugging Face, {which}, lower_case "
                    f"{lower_case}, "
                    f"{reply[f'{kind}_class']}, {len(texts)} strings",
                    len(wrong),
                    wrong,
                    required=kind == "fast" and place == ours,
                )


TEXTS = ["the cat sat", "a house of cards!", "of"]
PAIRS = [("the cat", "a house"), ("of cards", "the cat sat on it")]
# Name of a task, its head, options and state.
MEANINGS = {
    "regression": (1, {}, {"offset": 70.0, "scale": 11.5}),
    "classification": (3, {}, {"labels": ["x", "y", "z"]}),
    "sets": (3, {"multi_label": True}, {"labels": ["x", "y", "z"]}),
    "ranking": (1, {}, {}),
}


def compare_meanings(peer: Worker, folder: pathlib.Path) -> Iterator[Outcome]:
    """Compares predictions of fine-tuned heads, and of CrossEncoders."""
    from electra_tf.hub import huggingface
    from electra_tf.prediction import predictor

    for name, (labels, options, state) in MEANINGS.items():
        path = str(folder / f"meaning_{name}")
        task = name.replace("sets", "classification")
        about = {"task": task, "options": options, "state": state}
        huggingface.write(path, _with_head(labels, state, about))
        ours = predictor.load(path)
        if name == "ranking":
            reply = peer.ask({"do": "score", "directory": path, "pairs": PAIRS})
            expected = [p["score"] for p in ours.predict(PAIRS)]
            found = reply["scores"]
        else:
            reply = peer.ask(
                {"do": "classify", "directory": path, "texts": TEXTS}
            )
            expected = _shares(ours.predict(TEXTS), state.get("labels"))
            found = [
                next(x["score"] for x in row if x["label"] == label)
                for row in reply["answers"]
                for label in state.get("labels") or ["LABEL_0"]
            ]
        yield Outcome(f"{name} to Hugging Face", relative(expected, found), [])
    for activation in ("Sigmoid", "Identity"):
        path = str(folder / f"scorer_{activation}")
        request = {"do": "save_scorer", "directory": path}
        source = str(folder / "meaning_ranking")
        peer.ask({**request, "source": source, "activation": activation})
        reply = peer.ask({"do": "score", "directory": path, "pairs": PAIRS})
        found = [p["score"] for p in predictor.load(path).predict(PAIRS)]
        yield Outcome(
            f"CrossEncoder with {activation} from sentence-transformers",
            relative(reply["scores"], found), [],
        )  # fmt: skip
    yield _embeddings(peer, folder)
    yield from _answers(peer, folder)


def _embeddings(peer: Worker, folder: pathlib.Path) -> Outcome:
    from electra_tf.hub import huggingface, pretrained

    path = str(folder / "encoder")
    huggingface.write(path, _with_head(0, {}, None))
    reply = peer.ask({"do": "embed", "directory": path, "texts": TEXTS})
    encoder = pretrained.Encoder.from_pretrained(path)
    rows = encoder.tokenizer.encode(TEXTS)
    hidden = encoder(rows).sequence_output.numpy()
    mask = rows["input_mask"].numpy()[..., None]
    means = (hidden * mask).sum(axis=1) / mask.sum(axis=1)
    return Outcome(
        "SentenceTransformer of an encoder, the mean of its tokens",
        relative(reply["vectors"], means), [],
    )  # fmt: skip


def _answers(peer: Worker, folder: pathlib.Path) -> Iterator[Outcome]:
    """Compares models that predict no answer by a head or by a threshold."""
    from electra_tf.hub import huggingface
    from electra_tf.hub.directory import write
    from electra_tf.prediction import predictor

    asked = [("the cat", "a house of cards sat on it"), ("of", "the")]
    inputs = random_inputs("tiny")
    np.savez(folder / "inputs.npz", **inputs)
    for name, answerability in (
        ("head", "head"), ("first token", "first_token"),
    ):  # fmt: skip
        theirs = str(folder / answerability)
        ours = f"{theirs}_ours"
        about = {
            "task": "squad",
            "options": {
                "head": "independent", "answerability": answerability,
                "max_seq_length": 24, "max_query_length": 8, "doc_stride": 4,
            },
            "state": {"unanswerable": True, "null_threshold": 0.25},
        }  # fmt: skip
        made = _with_head(2, {}, about, answerability)
        write(ours, made)
        notes = huggingface.write(theirs, made)
        reply = peer.ask(
            {
                "do": "load", "class": CLASSES[5], "directory": theirs,
                "inputs": str(folder / "inputs.npz"),
                "outputs": str(folder / "outputs.npz"),
            }
        )  # fmt: skip
        expected, found = (
            predictor.load(path).predict(asked) for path in (ours, theirs)
        )
        problems = [
            f"{k}: {reply[k]}" for k in reply if "keys" in k and reply[k]
        ]
        problems += ["no note"] * (bool(notes) != (answerability == "head"))
        problems += ["answers"] * (
            [a["answer"] for a in found] != [a["answer"] for a in expected]
        )
        yield Outcome(
            f"questions without an answer, predicted by the {name}",
            relative(
                [a["null_odds"] for a in expected],
                [a["null_odds"] for a in found],
            ),
            problems,
        )


def _with_head(
    labels: int, state: Mapping, about: Any, answerability: str | None = None
) -> Any:
    """Returns a random model; it has a head only if there are labels.

    With `answerability` its head answers questions, which may have no answer.
    """
    from electra_tf.hub import names
    from electra_tf.hub.checkpoint import Checkpoint
    from electra_tf.models.task_heads import TaskHeadConfig
    from electra_tf.text.vocab import Vocab

    golden = json.loads(STRINGS.read_text(encoding="utf-8"))
    vocab = Vocab(tuple(golden["vocab"]))
    config = our_config("tiny", 16, "ElectraModel")
    task = None
    if labels:
        listed = state.get("labels")
        task = TaskHeadConfig(
            "sequence", labels, tuple(listed) if listed else None
        )
    if answerability:
        task = TaskHeadConfig(
            "span", dropout=0.0, answerable=answerability == "head"
        )
    model = dataclasses.replace(config.discriminator, vocab_size=len(vocab))
    config = dataclasses.replace(
        config,
        discriminator=model,
        task=task,
        fine_tuning=about,
        vocab_fingerprint=vocab.fingerprint(),
    )
    rng = np.random.default_rng(3)
    weights = {
        name: rng.normal(0, 0.3, shape).astype(np.float32)
        for name, shape in names.shapes(config).items()
    }
    return Checkpoint(config, weights, vocab)


def _shares(answers: Sequence[Mapping], labels: Any) -> list[float]:
    if labels is None:
        return [answer["score"] for answer in answers]
    return [answer["probabilities"][n] for answer in answers for n in labels]


def relative(ours: Any, theirs: Any) -> float:
    """Returns the largest difference, relative to the largest number."""
    ours, theirs = np.asarray(ours), np.asarray(theirs)
    return float(np.abs(ours - theirs).max() / max(1, np.abs(ours).max()))


def main(_: list[str]) -> int:
    """Compares with every interpreter; prints the outcomes.

    Returns:
      The exit status: 1 if a required comparison failed, 2 for a wrong flag.
    """
    from electra_tf.text.vocab import load_vocab

    try:
        for path in FLAGS.vocabs:
            load_vocab(path)
    except UserError as error:
        print(f"--vocabs: {error}", file=sys.stderr)
        return 2
    return int(any([_check(python) for python in FLAGS.python]))


def _check(python: str) -> int:
    """Compares with one interpreter; returns how many comparisons failed."""
    count = 0

    def shown(outcome: Outcome) -> None:
        nonlocal count
        count += not outcome.good
        show(outcome)

    with tempfile.TemporaryDirectory() as folder:
        peer = Worker("hf_electra.py", {}, python)
        print(peer.facts["version"], flush=True)
        bad = worst = 0.0
        try:
            found = compare(peer, pathlib.Path(folder), FLAGS.sizes)
            for outcome in found:
                bad += not outcome.good
                worst = max(worst, outcome.difference)
                shown(outcome)
            print(f"largest difference {worst:.2e}, failed: {bad:.0f}")
            for outcome in compare_variants(peer, pathlib.Path(folder)):
                shown(outcome)
            for outcome in compare_tokenizers(
                peer, pathlib.Path(folder), FLAGS.vocabs
            ):
                shown(outcome)
            for outcome in compare_meanings(peer, pathlib.Path(folder)):
                shown(outcome)
        finally:
            peer.close()
    return count


def show(outcome: Outcome) -> None:
    """Prints an outcome and its problems."""
    mark = "ok  " if outcome.good else "BAD "
    if not outcome.required:
        mark = "note"
    print(mark, f"{outcome.difference:.2e}", outcome.name, flush=True)
    for problem in outcome.problems:
        print("     ", problem)


if __name__ == "__main__":
    FLAGS = flags.FLAGS
    flags.DEFINE_list(
        "python", None, "Pythons with torch and transformers", required=True
    )
    flags.DEFINE_list("vocabs", [], "vocabularies to tokenize with")
    flags.DEFINE_list(
        "sizes", ["small", "base"], f"sizes to check, of {', '.join(SIZES)}"
    )
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    app.run(main)
