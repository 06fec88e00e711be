"""Small random models of every kind that can be exported, for tests."""

import dataclasses
import pathlib
from collections.abc import Sequence
from typing import Any

import fine_tuned_models
import hub_models
from capi import texts

from electra_tf.hub import directory
from electra_tf.models.config import ModelConfig
from electra_tf.tasks.registry import task_class
from electra_tf.tasks.seq2seq import pairs
from electra_tf.text.vocab import Vocab

SHAPE = {
    "embedding_size": 16, "hidden_size": 32, "num_layers": 2, "num_heads": 2,
    "intermediate_size": 64, "max_positions": 64,
}  # fmt: skip
LABELS = ("bad", "好", "so so")
TAGS = ("O", "B-PER", "I-PER", "B-LOC", "I-LOC")
# Kind -> task, options, state.
TASKS: dict[str, tuple[str, dict[str, Any], dict[str, Any]]] = {
    "classification": ("classification", {}, {"labels": LABELS}),
    "pairs": (
        "classification", {"text_pair_column": "other"}, {"labels": LABELS},
    ),
    "multilabel": (
        "classification",
        {"multi_label": True, "threshold": 0.4},
        {"labels": LABELS},
    ),
    "regression": ("regression", {}, {"offset": 3.0, "scale": 1.5}),
    "ranking": ("ranking", {"max_query_length": 12}, {}),
    "tagging": (
        "tagging",
        {},
        {"scheme": "bio", "learned": "bio", "labels": TAGS, "default": "O"},
    ),
    "qa": (
        "squad/v2.0",
        {"doc_stride": 16, "max_query_length": 12, "max_answer_length": 8},
        {"unanswerable": True, "null_threshold": 0.5},
    ),
    "seq2seq": (
        "translation",
        {"max_target_length": 12, "decoder_layers": 2, "beam_size": 2},
        {"spacing": [[".", ","], ["("]]},
    ),
    "summarization": (
        "extractive_summarization", {"num_sentences": 2}, {"ratio": 0.4},
    ),
}  # fmt: skip


def vocab_of(tokens: Sequence[str]) -> Vocab:
    """Returns `tokens` and the Chinese characters of the built-in texts."""
    characters = sorted(
        {c for text in texts.built_in() for c in text if "一" <= c <= "龥"}
    )
    return Vocab(tuple(dict.fromkeys([*tokens, *characters])))


def save(
    folder: pathlib.Path, kind: str, tokens: Sequence[str], seed: int = 0
) -> str:
    """Writes a model directory of that kind; returns its path."""
    vocab = vocab_of(tokens)
    shape = ModelConfig(vocab_size=len(vocab), **SHAPE)
    if kind == "discriminator":
        config = hub_models.directory_config(shape, token_lm_head=False)
    elif kind == "generator":
        config = hub_models.directory_config(
            None, shape, replaced_token_head=False
        )
    else:
        name, options, state = TASKS[kind]
        if kind == "seq2seq":
            state = {**state, "specials": pairs.specials(vocab)}
        cls = task_class(name)
        task = cls(name, cls.Options(max_seq_length=48, **options), None, state)
        about = fine_tuned_models.about(
            name, dataclasses.asdict(task.options), task.state
        )
        config = hub_models.directory_config(
            shape, replaced_token_head=False, token_lm_head=False,
            task=task.head(), fine_tuning=about,
        )  # fmt: skip
    directory.write(str(folder), hub_models.checkpoint(config, vocab, seed))
    return str(folder)
